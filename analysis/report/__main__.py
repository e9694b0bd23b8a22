"""`python -m analysis.report SWEEP`: write the page of a finished run or sweep again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis.report import write_page
from analysis.report.source import find
from sdft_exp.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="The page of a run or a sweep.")
    parser.add_argument("sweep", help="its folder, or its name under outputs/")
    chosen = parser.parse_args(arguments)
    try:
        print(write_page(find(chosen.sweep)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
