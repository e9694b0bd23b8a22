"""The page of a run or a sweep, `report.html` in its folder: one file, no network. `python -m analysis.report SWEEP`.

It is made after the report stage, out of the run's folder and the store: it names times, commands and costs, which the
stage's files hold none of. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path


def write_page(folder: Path) -> Path:
    """Write the page of a finished run or sweep into its folder; returns where it lies.

    Raises:
        DataError: no run or sweep has finished there.
    """
    from analysis.report.page import render
    from analysis.report.source import read_finished
    from sdft_exp.results import PAGE

    page = folder / PAGE
    beside = page.with_suffix(".part")
    beside.write_text(render(read_finished(folder)), encoding="utf-8")
    beside.rename(page)
    return page
