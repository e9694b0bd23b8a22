"""`python -m analysis.report SWEEP [--serve]`: write the page of a finished run or sweep, or follow one at work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis.report import write_page
from analysis.report.serve import serve
from analysis.report.source import find
from sdft_exp.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or serve the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="The page of a run or a sweep.")
    parser.add_argument("sweep", help="its folder, or its name under outputs/")
    parser.add_argument("--serve", action="store_true", help="follow the sweep in a page on the loopback, until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="of --serve (default: a free one)")
    chosen = parser.parse_args(arguments)
    try:
        folder = find(chosen.sweep)
        if chosen.serve:
            serve(folder, chosen.port)
        else:
            print(write_page(folder))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
