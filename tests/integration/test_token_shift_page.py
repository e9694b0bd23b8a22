"""The page of tokens in a real browser: by pointer, key and address; no error, and no request but for the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from analysis.bench_tokens import TASK, made_up
from analysis.token_shift import write_page
from sdft_exp.results import PLAN
from tests.conftest import faultless

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.integration

LONGEST_WAIT = 10_000  # milliseconds; a page that rendered all of 1,000 responses would take minutes
DEEP = f"#task={TASK}&seed=0&show=shifted&order=share&of=vanilla&search=fish&id={TASK}-4&row=vanilla&token=3"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows, two tasks of which the seed LM was asked one, two seeds."""
    return made_up(tmp_path_factory.mktemp("small"), seeds=2, tasks=(TASK, "micro_text"))


@pytest.fixture(scope="module")
def small(run: Path) -> Path:
    """Responses 4 and 6 have a fish in their prompts; their second tokens of vanilla are odd ones."""
    for method, lines in ((method, _lines(run, method)) for method in ("vanilla", "sdft")):
        for number, piece in ((4, "</script>"), (6, "")):
            lines[number]["prompt"] += " fish"
            lines[number]["pieces"][1] = piece
            lines[number]["classes"][2] = "shifted"
        folder = _folder(run, method)
        (folder / "tokens.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return write_page(run)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 questions, two responses of 100 tokens to each."""
    return write_page(made_up(tmp_path_factory.mktemp("big"), questions=1000, tokens=100))


def _folder(run: Path, method: str) -> Path:
    plan = json.loads((run / PLAN).read_text())
    jobs = [job["report"] for job in plan["jobs"]]
    job = next(job for job in jobs if job["row"]["method"] == method and job["seed"] == 0)
    return Path(plan["store"]) / job["shifts"][f"token_shift/{TASK}"]


def _lines(run: Path, method: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_folder(run, method) / "tokens.jsonl").read_text().splitlines()]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with faultless(browser, viewport={"width": 1300, "height": 800}) as opened:
        yield opened


def _open(page: Page, path: Path, address: str = "") -> None:
    page.goto(path.as_uri() + address)
    page.locator(".text .token").first.wait_for()


def _where(page: Page, text: str) -> None:
    page.locator("#where").get_by_text(re.compile(f"^{re.escape(text)}")).wait_for(timeout=LONGEST_WAIT)


def _named(page: Page, number: int) -> None:
    """Wait until the answers to this question are shown."""
    page.locator("#name").get_by_text(f"{TASK} · {TASK}-{number}", exact=True).wait_for(timeout=LONGEST_WAIT)


def _address(page: Page, **named: str) -> None:
    """Wait until the address names these."""
    wanted = {name: [value] for name, value in named.items()}
    page.wait_for_url(lambda url: wanted.items() <= parse_qs(url.partition("#")[2]).items(), timeout=LONGEST_WAIT)


def _tokens(page: Page, row: int) -> Locator:
    return page.locator(f".token[data-row='{row}']")


def _told(page: Page) -> str:
    return page.locator("#told").inner_text()


def test_seed_vanilla_and_sdft_stand_side_by_side_with_their_shares(page: Page, small: Path, run: Path) -> None:
    _open(page, small)
    columns = page.locator("#side article")
    assert columns.locator("h3").all_inner_texts() == ["seed LM", "vanilla", "SDFT"]
    assert "The seed LM says no to number 0." in columns.nth(0).inner_text()
    assert columns.nth(0).locator(".token").count() == 0
    line = _lines(run, "vanilla")[0]
    assert columns.nth(1).locator(".text").text_content() == "".join(line["pieces"])
    assert [name.split()[1] for name in _classes(_tokens(page, 0))] == line["classes"]
    stats = json.loads((_folder(run, "vanilla") / "stats.json").read_text())
    for place, name in enumerate(("unshifted", "marginal", "shifted")):
        own = f"{100 * line['classes'].count(name) / 20:.1f} %"
        shown = columns.nth(1).locator(".shares tbody tr").nth(place).locator("td").all_inner_texts()
        assert shown == [own, f"{100 * stats[name]:.1f} %"]
    assert page.locator("#prompt").inner_text() == "Question 0: <b>how</b>?"  # a text, not a tag


def _classes(tokens: Locator) -> list[str]:
    found: list[str] = tokens.evaluate_all("all => all.map((each) => each.className)")
    return found


def test_pointing_at_a_token_tells_of_it(page: Page, small: Path, run: Path) -> None:
    _open(page, small)
    line = _lines(run, "sdft")[0]
    _tokens(page, 1).nth(6).hover()
    terms = page.locator("#told dt").all_inner_texts()
    told = dict(zip(terms, page.locator("#told dd").all_inner_texts(), strict=True))
    assert told["rank to the seed LM, from 1"] == str(line["base_rank"][6])
    for term, name in (
        ("probability, seed LM", "base_probability"),
        ("probability, tuned", "tuned_probability"),
        ("KL(seed ‖ tuned), nats", "kl_base_tuned"),
        ("KL(tuned ‖ seed), nats", "kl_tuned_base"),
    ):
        assert float(told[term]) == pytest.approx(line[name][6], rel=1e-3)
    assert "token 7 of 20 of SDFT" in _told(page) and line["classes"][6] in _told(page)
    for place, name in enumerate(("top_base", "top_tuned")):
        rows = page.locator("#tops table").nth(place).locator("tbody tr")
        values = [float(text) for text in rows.locator("td").all_inner_texts()]
        assert values == pytest.approx([probability for _, probability in line[name][6]], rel=1e-3)
        ids = rows.locator("th").evaluate_all("all => all.map((each) => each.title)")
        assert ids == [f"id {token}" for token, _ in line[name][6]]
    assert page.locator("#tops table").nth(1).locator(".own").count() == 1
    page.locator("h1").hover()
    assert "Point at a token" in _told(page)
    _tokens(page, 1).nth(2).click()
    page.locator("h1").hover()
    assert "token 3 of 20 of SDFT" in _told(page)  # what was chosen stays


def test_all_of_it_by_keyboard(page: Page, small: Path) -> None:
    _open(page, small)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.token')"):
            break
    assert page.evaluate("[document.activeElement.dataset.row, document.activeElement.dataset.place]") == ["0", "0"]
    assert page.locator("#told[aria-live='polite']").get_by_text("token 1 of 20 of vanilla").is_visible()
    for key, place in (
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("ArrowLeft", 2),
        ("End", 20),
        ("ArrowRight", 20),
        ("Home", 1),
    ):
        page.keyboard.press(key)
        assert f"token {place} of 20 of vanilla" in _told(page)
        assert page.locator(".text [tabindex='0']").count() == 2  # one an answer, in the order of Tab
    _address(page, row="vanilla", token="1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert "token 1 of 20 of SDFT" in _told(page)
    page.keyboard.press("Shift+Tab")
    assert "token 2 of 20 of vanilla" in _told(page)
    page.keyboard.press("n")
    _where(page, "response 2 of 12")
    page.keyboard.press("ArrowRight")
    _where(page, "response 3 of 12")
    page.keyboard.press("p")
    _where(page, "response 2 of 12")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    _where(page, "response 1 of 12. This is the first one.")
    page.get_by_label("Search").fill("n")
    page.get_by_label("Search").press("ArrowRight")  # is the field's
    page.locator("h1").click()
    page.keyboard.press("n")
    _where(page, "response 2 of 12")
    _named(page, 1)


def test_responses_are_chosen_searched_and_put_in_order(page: Page, small: Path, run: Path) -> None:
    _open(page, small)
    lines = _lines(run, "sdft")
    with_shifted = [line["doc_id"] for line in lines if "shifted" in line["classes"]]
    assert 0 < len(with_shifted) < 12
    page.locator("#show").select_option("shifted")
    _where(page, f"response 1 of {len(with_shifted)} (of 12)")
    page.locator("#order").select_option("kl")
    by_kl = sorted(with_shifted, key=lambda number: -sum(lines[number]["kl_base_tuned"]))
    for place, number in enumerate(by_kl):
        _named(page, number)
        _where(page, f"response {place + 1} of {len(by_kl)} (of 12)")
        page.get_by_role("button", name="next →").click()
    _where(page, f"response {len(by_kl)} of {len(by_kl)} (of 12). This is the last one.")
    page.locator("#show").select_option("")
    page.locator("#order").select_option("share")
    page.locator("#of").select_option("vanilla")
    shares = [line["classes"].count("shifted") for line in _lines(run, "vanilla")]
    _named(page, shares.index(max(shares)))
    page.get_by_label("Search").fill("FISH")
    _where(page, "response 1 of 2 (of 12)")
    page.get_by_label("Search").fill("nowhere to be found")
    _where(page, "No response is chosen by this; there are 12")
    assert page.locator("#side article").count() == 0
    page.get_by_label("Search").fill("")
    _where(page, "response 1 of 12")


def test_the_next_shifted_token_is_found_across_answers_and_responses(page: Page, small: Path, run: Path) -> None:
    _open(page, small)
    rows = [_lines(run, method) for method in ("vanilla", "sdft")]
    expected = [
        (number, row, place)
        for number in range(4)
        for row in (0, 1)
        for place, found in enumerate(rows[row][number]["classes"])
        if found == "shifted"
    ]
    for number, row, place in expected:
        page.keyboard.press("s")
        page.locator(f".token[data-row='{row}'][data-place='{place}'][aria-selected='true']").wait_for()
        _named(page, number)
    for number, row, place in reversed(expected[:-1]):
        page.keyboard.press("Shift+S")
        page.locator(f".token[data-row='{row}'][data-place='{place}'][aria-selected='true']").wait_for()
        _named(page, number)
    page.keyboard.press("Shift+S")
    _where(page, "response 1 of 12. No shifted token comes before this.")


def test_an_address_shows_just_that_and_back_goes_back(page: Page, small: Path) -> None:
    _open(page, small, DEEP)
    page.locator(".token[data-row='0'][data-place='2'][aria-selected='true']").wait_for()
    assert page.locator("#name").inner_text() == f"{TASK} · {TASK}-4"
    assert page.evaluate("document.activeElement.dataset.place") == "2"
    assert "token 3 of 20 of vanilla" in _told(page) and "shifted" in _told(page)
    for name, value in (("show", "shifted"), ("order", "share"), ("search", "fish"), ("of", "0")):
        assert page.locator(f"#{name}").input_value() == value
    assert page.locator("#where").inner_text().endswith("of 2 (of 12)")
    _open(page, small)
    page.get_by_role("button", name="next →").click()
    _address(page, id=f"{TASK}-1")
    _tokens(page, 1).nth(4).click()
    _address(page, id=f"{TASK}-1", row="SDFT", token="5")
    here = page.url
    page.locator("#task").select_option("micro_text")
    _address(page, task="micro_text", id="micro_text-0")
    assert "not among this run's eval.tasks" in page.locator("#side article").first.inner_text()
    page.locator("#seed").select_option("1")
    _address(page, task="micro_text", seed="1")
    page.go_back()
    _address(page, task="micro_text", seed="0")
    page.go_back()
    _address(page, id=f"{TASK}-1")
    assert page.url == here
    page.locator(".token[data-row='1'][data-place='4'][aria-selected='true']").wait_for()
    page.go_back()
    _where(page, "response 1 of 12")
    page.go_forward()
    _where(page, "response 2 of 12")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("#task=nothing", "What the address names is not on this page."),
        (f"#task={TASK}&id=nothing", "There is no “nothing” here."),
        (f"#task={TASK}&row=nothing&token=2", "There is no row “nothing” here."),
        (f"#task={TASK}&row=SDFT&token=999&show=bad&seed=x", "What the address names is not on this page."),
        (f"#task={TASK}&id={TASK}-4&search=number", "response 5 of 12"),  # the search would hide it
    ],
)
def test_an_address_of_nothing_is_said_to_be_one(page: Page, small: Path, address: str, said: str) -> None:
    _open(page, small, address)
    assert said in page.locator("#where").inner_text()
    assert page.locator("#side article").count() == 3


def test_odd_texts_are_texts(page: Page, small: Path) -> None:
    _open(page, small, f"#task={TASK}&id={TASK}-4&row=vanilla&token=2")
    assert _tokens(page, 0).nth(1).inner_text() == "</script>"
    assert "</script>" in _told(page)
    _open(page, small, f"#task={TASK}&id={TASK}-6&row=vanilla&token=2")
    page.get_by_text("“▯”").wait_for()
    assert _tokens(page, 0).nth(1).evaluate("each => each.getBoundingClientRect().width") > 0


def test_classes_are_told_apart_in_both_themes_and_without_colour(page: Page, small: Path) -> None:
    """Contrast by WCAG 2.2: 4.5 for text on its paper, 3 for an underline against the page's."""
    _open(page, small, f"#task={TASK}&id={TASK}-4")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for theme in ("dark", "light"):
        if theme == "light":
            page.get_by_role("button", name="dark", pressed=True).click()
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        looks = {name: _look(page, name) for name in ("unshifted", "marginal", "shifted")}
        assert [look["style"] for look in looks.values()] == ["solid", "dotted", "solid"]
        assert looks["unshifted"]["line"] == "rgba(0, 0, 0, 0)"  # nothing is to be seen of it
        for name in ("marginal", "shifted"):
            assert _contrast(looks[name]["ink"], looks[name]["paper"]) >= 4.5
            assert _contrast(looks[name]["line"], looks[name]["body"]) >= 3
            assert _contrast(looks[name]["line"], looks[name]["paper"]) >= 3


def _look(page: Page, name: str) -> dict[str, str]:
    found: dict[str, str] = page.locator(f".shares .token.{name}").first.evaluate(
        "each => { const own = getComputedStyle(each); return {ink: own.color, paper: own.backgroundColor, "
        "line: own.borderBottomColor, style: own.borderBottomStyle, "
        "body: getComputedStyle(document.body).backgroundColor}; }"
    )
    return found


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(colour) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_shows_it_without_scrolling_sideways(page: Page, small: Path) -> None:
    page.set_viewport_size({"width": 375, "height": 667})
    _open(page, small)
    page.get_by_role("button", name="next shifted token").click()
    chosen = page.locator(".token[aria-selected='true']")
    chosen.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    pane, token = page.locator("#details").bounding_box(), chosen.bounding_box()
    assert pane and token and token["y"] >= 0 and token["y"] + token["height"] <= pane["y"]  # nothing covers it
    assert pane["y"] + pane["height"] <= 667


def test_on_paper_there_are_no_controls_and_no_dark(page: Page, small: Path) -> None:
    _open(page, small)
    page.emulate_media(media="print", color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#search").is_visible() and not page.locator("#next").is_visible()
    assert _tokens(page, 0).first.is_visible()
    assert _contrast(_look(page, "shifted")["line"], "rgb(255, 255, 255)") >= 3
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.slow
def test_1000_responses_are_few_elements_and_a_few_megabytes(page: Page, big: Path) -> None:
    assert big.stat().st_size < 25_000_000
    _open(page, big)
    assert page.evaluate("document.querySelectorAll('*').length") < 2_500  # 1,000 of them packed responses
    assert page.locator(".text .token").count() == 200
    for place in range(2, 12):
        page.keyboard.press("n")
        _where(page, f"response {place} of 1,000")
    assert page.locator(".text .token").count() == 200
    assert page.evaluate("unpackedQuestions.size") <= 16
    page.locator("#order").select_option("kl")
    page.get_by_label("Search").fill(f"{TASK}-987")
    _where(page, "response 1 of 1 (of 1,000)")
    _named(page, 987)
    assert page.locator("#notes").get_by_text("the 3 likeliest of 10 are here").is_visible()
