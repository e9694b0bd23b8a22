"""`python -m analysis.token_shift RUN [--out FILE]`: write the page of tokens of a run or a sweep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.report.source import find
from analysis.token_shift import write_page
from sdft_exp.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.token_shift",
        description="The tokens of a run or a sweep that fine-tuning has shifted.",
    )
    parser.add_argument("run", help="its folder, or its name under outputs/")
    parser.add_argument("--out", type=Path, help="the file to write (default: token_shift.html in its folder)")
    chosen = parser.parse_args(arguments)
    try:
        print(write_page(find(chosen.run), chosen.out))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
