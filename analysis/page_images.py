"""Pictures of the demo's pages for README.md and docs/: `make demo`, `python -m analysis.page_images outputs/demo`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from analysis.token_shift import write_page
from sdft_exp.results import PAGE

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
_SIZE = (1100, 760)  # pixels


def main(folder: str) -> None:
    """Take a light picture of table and figures, a dark one of the samples, a light one of the first shifted token."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        sys.exit("error: no chromium here; make browser installs it")
    page = (Path(folder) / PAGE).resolve()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme, part in (("light", "#results article table"), ("dark", "#samples")):
            opened = browser.new_page(reduced_motion="reduce", viewport={"width": _SIZE[0], "height": _SIZE[1]})
            opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
            opened.goto(page.as_uri())
            opened.locator(".sample").first.wait_for()
            opened.locator(part).first.evaluate("part => part.scrollIntoView()")
            opened.screenshot(path=IMAGES / f"page_{scheme}.png")
            print(IMAGES / f"page_{scheme}.png")
        opened = browser.new_page(reduced_motion="reduce", viewport={"width": 1300, "height": 980})
        opened.goto(write_page(Path(folder)).resolve().as_uri())
        opened.locator(".text .token").first.wait_for()
        opened.locator("#task").select_option(label="micro_chat on micro: micro_harmful")
        opened.locator("h2", has_text="micro_harmful").wait_for()
        opened.get_by_role("button", name="next shifted token").click()
        opened.locator(".token[aria-selected='true']").wait_for()
        opened.screenshot(path=IMAGES / "tokens.png")
        print(IMAGES / "tokens.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
