"""The page in a real browser: every click, no error, and no request to anywhere but the file itself."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis.bench_page import made_up
from analysis.report import write_page
from analysis.report.serve import server
from analysis.report.source import read_finished
from tests.conftest import faultless

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 runs, 40 samples."""
    return write_page(made_up(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 runs, 20,000 samples."""
    return write_page(made_up(tmp_path_factory.mktemp("big"), ranks=100, seeds=1, questions=5000))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with faultless(browser) as opened:
        yield opened


def _open(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.locator(".sample").first.wait_for()


def _count(page: Page, samples: str) -> None:
    """Wait until so many samples are chosen."""
    page.locator("#count").get_by_text(re.compile(f"^{samples} of ")).wait_for()


def _first_column(page: Page) -> list[str]:
    headings = page.locator("#results table").first.locator("tbody th")
    return [text.removesuffix("seeds 0, 1").strip() for text in headings.all_inner_texts()]


def _column(page: Page, place: int) -> list[float]:
    cells = page.locator("#results table").first.locator(f"tbody td:nth-child({place})")
    return [float(cell.get_attribute("data-sort") or "nan") for cell in cells.all()]


def test_a_heading_sorts_its_table_and_says_so(page: Page, small: Path) -> None:
    _open(page, small)
    heading = page.locator("#results table").first.locator("thead th").nth(1)
    assert [name.split()[0] for name in _first_column(page)] == ["seed", "vanilla", "SDFT"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert _column(page, 2) == sorted(_column(page, 2), reverse=True)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert _column(page, 2) == sorted(_column(page, 2))


def test_samples_are_searched_and_chosen(page: Page, small: Path) -> None:
    _open(page, small)
    count = page.locator("#count")
    assert count.inner_text() == "40 of 40 samples"
    page.get_by_label("Search").fill("question 7 MICRO_TEXT")
    _count(page, "1")
    card = page.locator(".sample")
    assert "<b>fish</b>" in card.inner_text()  # a text, not a tag
    assert card.locator(".answers > div").count() == 3
    assert card.locator("strong").all_inner_texts()[0].startswith("seed LM")
    page.get_by_label("Search").fill("nowhere to be found")
    _count(page, "0")
    page.get_by_label("Search").fill("")
    _count(page, "40")
    page.locator("#task").select_option(index=1)
    assert count.inner_text() == "10 of 40 samples"
    page.locator("#which").select_option("lost")
    lost = page.locator(".sample").all()
    assert len(lost) < 10
    for each in lost:
        marks = [block.inner_text() for block in each.locator(".answers > div").all()]
        assert "good" in marks[0] and "bad" in marks[2]


def test_the_reader_chooses_the_seed(page: Page, small: Path) -> None:
    _open(page, small)
    page.get_by_label("Search").fill("question 7 micro_text")
    _count(page, "1")
    card = page.locator(".sample")
    assert "sdft 1 0 says" in card.inner_text() and "(seed 0)" in card.inner_text()
    page.locator("#seed").select_option("seed 1")
    assert "sdft 1 1 says" in card.inner_text() and "vanilla 1 1 says" in card.inner_text()
    assert "seed LM says" in card.inner_text()  # which has no training seed
    page.get_by_label("Search").fill("question 7 micro_text sdft 1 0 says")
    _count(page, "0")  # what is not shown is not found
    page.locator("#seed").select_option("seed 0")
    _count(page, "1")
    page.locator(".sample").click()
    assert "sdft 1 0 says" in page.locator("#whole-text").inner_text()


def test_dark_mode_follows_the_system_and_the_button_and_is_kept(page: Page, small: Path) -> None:
    _open(page, small)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="dark", pressed=True).click()
    assert page.evaluate(paper) == light
    page.reload()
    assert page.evaluate(paper) == light
    page.get_by_role("button", name="dark", pressed=False).click()
    assert page.evaluate(paper) == dark


def test_everything_is_reached_by_keyboard(page: Page, small: Path) -> None:
    _open(page, small)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#results")
    page.locator("#list").focus()
    for key in ("ArrowDown", "ArrowDown", "PageDown", "End", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.place") == "38"
    page.keyboard.press("Enter")
    assert page.locator("dialog[open]").count() == 1
    assert "It is " in page.locator("#whole-text").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.place") == "38"
    summary = page.locator("#results summary").last
    summary.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("Significance marks stand for one comparison each").is_visible()


def test_a_phone_shows_it_without_scrolling_sideways(page: Page, small: Path) -> None:
    page.set_viewport_size({"width": 375, "height": 667})
    _open(page, small)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.locator(".sample").first.click()
    assert page.locator("dialog[open]").evaluate("dialog => dialog.getBoundingClientRect().right") <= 375


def test_on_paper_there_are_no_controls_and_no_dark(page: Page, small: Path) -> None:
    _open(page, small)
    page.emulate_media(media="print", color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible() and not page.locator("#search").is_visible()
    assert page.locator("#results svg").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_200_runs_and_20000_samples_are_few_elements(page: Page, big: Path) -> None:
    _open(page, big)
    assert page.locator("#results table").first.locator("tbody tr").count() == 201
    assert page.locator("#count").inner_text() == "20,000 of 20,000 samples"
    assert not page.locator("#seed").is_visible()  # of one seed there is nothing to choose
    assert page.locator(".sample").count() < 20
    assert page.evaluate("document.querySelectorAll('*').length") < 15_000
    page.locator("#list").focus()
    page.keyboard.press("End")
    page.locator("[data-place='19999']").wait_for()
    assert page.locator(".sample").count() < 20
    page.get_by_label("Search").fill("micro_jailbreak-4321")
    _count(page, "1")
    assert "Question 4321 of micro_jailbreak" in page.locator(".sample").inner_text()
    heading = page.locator("#results table").first.locator("thead th").nth(2)
    heading.get_by_role("button").click()
    assert _column(page, 3) == sorted(_column(page, 3), reverse=True)


def test_a_served_page_follows_a_sweep_and_asks_its_own_server_alone(page: Page, tmp_path: Path) -> None:
    sweep = made_up(tmp_path)
    source = read_finished(sweep)
    last = source.store.path(source.jobs[-1].train or "")
    stages = (sweep / "stages.json").read_text()
    (sweep / "stages.json").unlink()
    shutil.move(last, last.with_name("elsewhere"))
    serving = server(sweep)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        page.goto(f"http://127.0.0.1:{serving.server_address[1]}/")
        page.locator("#live").get_by_text("3 of 4 jobs have their results").wait_for()
        page.locator("#search").fill("question 7")
        assert page.locator("#results tbody").first.get_by_text("seed 1").count() == 0
        shutil.move(last.with_name("elsewhere"), last)
        page.locator("#live").get_by_text("4 of 4 jobs").wait_for()
        (sweep / "stages.json").write_text(stages)
        page.locator("#live").get_by_text("finished: ").wait_for()
        page.locator("#results tbody").first.get_by_text("seeds 0, 1").nth(1).wait_for()
        _count(page, "4")  # the search stands
    finally:
        page.close()  # before the server: a poll that nobody answers is an error of the browser's
        serving.shutdown()
        serving.server_close()
