"""`make chaos`: every fault, and a table of how it ended. `python -m tests.chaos [part of a fault's name]`"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.crowd import crowd
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.machine import NotHere
from tests.chaos.trial import Trial

CROWD: dict[str, Fault] = {"eight processes on one store": lambda trial, _: crowd(trial.folder, 8, 200)}


def main(part: str = "") -> int:
    """Print the table; the exit code is 1 when a fault was not survived, or could not be tried here."""
    bad = 0
    chosen = {title: fault for title, fault in (FAULTS | CROWD).items() if part in title}
    with tempfile.TemporaryDirectory() as name:
        base = Trial.at(Path(name) / "undisturbed")
        ended = base.run()
        assert ended.code == 0, ended.out + ended.err
        undisturbed = base.results()
        width = max(map(len, chosen), default=0)
        for number, (title, fault) in enumerate(chosen.items()):
            trial = Trial.at(Path(name) / str(number))
            started = time.monotonic()
            try:
                outcome = fault(trial, undisturbed)
            except NotHere as error:
                outcome, bad = f"NOT RUN: {error}", bad + 1
            except Exception:
                traceback.print_exc()
                outcome, bad = "NOT SURVIVED", bad + 1
            print(f"{title:{width}}  {outcome}  ({time.monotonic() - started:.0f} s)", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
