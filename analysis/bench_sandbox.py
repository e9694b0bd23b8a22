"""The part of `analysis.bench` that runs programs in the sandbox, against the same Python without one."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analysis.bench import Measure, paired
from sdft_exp.tasks import sandbox

PROGRAMS = 48
# Of the size of a HumanEval problem with its tests.
PROGRAM = """\
from typing import List


def has_close_elements(numbers: List[float], threshold: float) -> bool:
    ordered = sorted(numbers)
    return any(after - before < threshold for before, after in zip(ordered, ordered[1:]))


def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3)
    assert not candidate([1.0, 2.0, 3.0], 0.5)


check(has_close_elements)
"""


def sandboxed(folder: Path, rounds: int) -> list[Measure]:
    """Programs judged in the sandbox against plain processes of the same Python, as many at once."""
    lacking = sandbox.missing()
    if lacking:
        print(f"bench: sandbox left out: {lacking}", file=sys.stderr)
        return []
    programs = [PROGRAM] * PROGRAMS
    workers = len(os.sched_getaffinity(0))
    seconds: list[float] = []

    def ours() -> None:
        started = time.perf_counter()
        outcomes = sandbox.run_many(programs, workers)
        seconds.append(time.perf_counter() - started)
        assert all(outcome.passed for outcome in outcomes)

    def plain() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_run_plainly, programs))

    ratios = paired(ours, plain, rounds)
    rate = PROGRAMS / statistics.median(seconds)
    what = f"sandbox, {rate:.0f} programs a second, {workers} at once"
    return [Measure(what, "plain processes of the same Python", "time", ratios)]


def _run_plainly(program: str) -> None:
    subprocess.run([sandbox.PYTHON, "-I", "-S", "-"], input=program.encode(), check=True, timeout=60)
