"""The page of tokens, `token_shift.html`: what tuned models answered, each token marked by how far it has shifted.

`python -m analysis.token_shift RUN`. One file, no network, made from a run's folder and the store. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run or a sweep into its folder, or to `out`; returns where it lies.

    Raises:
        DataError: the run measured no tokens, or nothing of what it measured is in the store.
    """
    from analysis.token_shift.page import render
    from analysis.token_shift.source import read
    from sdft_exp.errors import DataError
    from sdft_exp.results import TOKEN_PAGE

    page = out or folder / TOKEN_PAGE
    text = render(read(folder))
    beside = page.with_name(f"{page.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.rename(page)
    except OSError as error:
        raise DataError(f"{page}: cannot be written ({error.strerror}); name another file, --out FILE") from None
    return page
