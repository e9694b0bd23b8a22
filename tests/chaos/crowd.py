"""Many processes on one store: short sweeps that share most of their stages, killed at random moments and run again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.machine import children
from tests.chaos.trial import Trial

_KILLS = 2  # of one sweep at most: then it is left alone, so that all of them end


@dataclass
class Crowd:
    """What came of it.

    Attributes:
        kills: processes killed.
        made: how often a run said of a stage, by address, that it made it.
    """

    kills: int
    made: Counter[str]


def crowd(folder: Path, processes: int, sweeps: int, seed: int = 0) -> str:
    """Run `sweeps` sweeps by `processes` processes at a time on one store and compare with undisturbed runs.

    Raises:
        AssertionError: an artifact lost, doubled or different, a wrong result, a store that is not clean.
    """
    started = time.monotonic()
    chance = random.Random(seed)
    drawn = _draw(sweeps, max(2, sweeps // 8), chance)
    alone = Trial(folder, folder / "undisturbed", folder / "alone")
    summaries = {}
    for kind in sorted(set(drawn)):
        ended = alone.start(alone.command(*_arguments(kind))).end()
        assert ended.code == 0, ended.out + ended.err
        summaries[kind] = alone.results().summary
    undisturbed = time.monotonic() - started

    with ThreadPoolExecutor(processes) as pool:
        tasks = [
            pool.submit(_sweep, Trial(folder, folder / "shared", folder / f"sweep-{number}"), kind, chance.random())
            for number, kind in enumerate(drawn)
        ]
        outcomes = [task.result() for task in tasks]

    shared = Trial(folder, folder / "shared", folder / "alone")
    for number, kind in enumerate(drawn):
        summary = (folder / f"sweep-{number}" / "job" / "summary.json").read_bytes()
        assert summary == summaries[kind], f"sweep {number} ({_arguments(kind)}) ended with another result"
    assert shared.results().artifacts == alone.results().artifacts
    made = sum((outcome.made for outcome in outcomes), Counter[str]())
    doubled = [address for address, times in made.items() if times > 1]
    assert not doubled, f"made more than once: {doubled}"
    shared.verify()
    kills = sum(outcome.kills for outcome in outcomes)
    artifacts = len(shared.results().artifacts)
    together = time.monotonic() - started - undisturbed
    return (
        f"{sweeps} sweeps by {processes} processes, {kills} kills: {artifacts} artifacts, "
        f"none lost, doubled or damaged; every result right ({undisturbed:.0f} s alone, {together:.0f} s together)"
    )


def _draw(sweeps: int, kinds: int, chance: random.Random) -> list[int]:
    """The kind of each sweep: every other one is of the newest kind, which several then want at once."""
    newest = [number * kinds // sweeps for number in range(sweeps)]
    return [kind if number % 2 else chance.randint(0, kind) for number, kind in enumerate(newest)]


def _arguments(kind: int) -> list[str]:
    """A sweep of two jobs: it shares each of them with another kind, and the first stages with all."""
    return ["-m", f"seed={kind // 3},{kind // 3 + 1}", f"method.mix_ratio={('0', '0.5', '1')[kind % 3]}"]


def _sweep(trial: Trial, kind: int, luck: float) -> Crowd:
    """Run one sweep until it ends well; one in two is killed on the way, once or twice."""
    chance = random.Random(luck)
    outcome = Crowd(0, Counter())
    while True:
        (trial.outputs / "job" / "stages.json").unlink(missing_ok=True)
        running = trial.start(trial.command(*_arguments(kind)))
        if outcome.kills < _KILLS and chance.random() < 0.5:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(chance.uniform(0.2, 12))
            outcome.kills += _kill_one(running.pid, chance)
        ended = running.end()
        with contextlib.suppress(FileNotFoundError):
            for line in json.loads((trial.outputs / "job" / "stages.json").read_text()):
                if line["status"] == "ran":
                    outcome.made[f"{line['stage']}/{line['key']}"] += 1
        if ended.code == 0:
            return outcome
        # Killed, or the stage failed whose worker was; nothing else may go wrong.
        killed = ended.code == -signal.SIGKILL or "killed by signal 9" in ended.error()
        assert killed and outcome.kills, ended.out + ended.err


def _kill_one(main: int, chance: random.Random) -> int:
    """kill -9 of the main process or of one of its workers; 1, or 0 when there was none any more."""
    try:
        os.kill(chance.choice([main, *children(main)]), signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1
