"""Many processes on one store: short sweeps that share most of their stages, killed at random moments and run again."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.attempts import attempts
from tests.chaos.machine import children, kill
from tests.chaos.trial import Trial

_KILLS = 2  # of one sweep at most: then it is left alone, so that all of them end


def crowd(folder: Path, processes: int, sweeps: int, seed: int = 0) -> str:
    """Run `sweeps` sweeps by `processes` processes at a time on one store and compare with undisturbed runs.

    Raises:
        AssertionError: an artifact lost, different, made twice, or worked on by two living processes at once; a wrong
            result; a store that is not clean; nobody was killed.
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

    with attempts(folder / "shared") as tried, ThreadPoolExecutor(processes) as pool:
        tasks = [
            pool.submit(_sweep, Trial(folder, folder / "shared", folder / f"sweep-{number}"), kind, chance.random())
            for number, kind in enumerate(drawn)
        ]
        kills = sum(task.result() for task in tasks)
    assert kills, "nobody was killed"

    shared = Trial(folder, folder / "shared", folder / "alone")
    for number, kind in enumerate(drawn):
        summary = (folder / f"sweep-{number}" / "job" / "summary.json").read_bytes()
        assert summary == summaries[kind], f"sweep {number} ({_arguments(kind)}) ended with another result"
    assert shared.results().artifacts == alone.results().artifacts
    assert not tried.doubled, f"two at work on one artifact at once: {tried.doubled}"
    artifacts = {f"{path.parent.name}-{path.name}" for path in shared.store.glob("[a-z]*/*")}
    assert tried.made == dict.fromkeys(artifacts, 1), "not each artifact was made once"
    shared.verify()
    together = time.monotonic() - started - undisturbed
    return (
        f"{sweeps} sweeps by {processes} processes, {kills} kills: {len(artifacts)} artifacts, each "
        f"made once, none lost or damaged; every result right ({undisturbed:.0f} s alone, {together:.0f} s together)"
    )


def _draw(sweeps: int, kinds: int, chance: random.Random) -> list[int]:
    """The kind of each sweep: every other one is of the newest kind, which several then want at once."""
    newest = [number * kinds // sweeps for number in range(sweeps)]
    return [kind if number % 2 else chance.randint(0, kind) for number, kind in enumerate(newest)]


def _arguments(kind: int) -> list[str]:
    """A sweep of two jobs: it shares each of them with another kind, and the first stages with all."""
    return ["-m", f"seed={kind // 3},{kind // 3 + 1}", f"method.mix_ratio={('0', '0.5', '1')[kind % 3]}"]


def _sweep(trial: Trial, kind: int, luck: float) -> int:
    """Run one sweep until it ends well; one in two is killed on the way, once or twice. Returns how often."""
    chance = random.Random(luck)
    kills = 0
    while True:
        running = trial.start(trial.command(*_arguments(kind)))
        if kills < _KILLS and chance.random() < 0.5:
            try:
                running.process.wait(chance.uniform(0.2, 12))
            except subprocess.TimeoutExpired:
                kills += kill(chance.choice([running.pid, *children(running.pid)]))
        ended = running.end()
        if ended.code == 0:
            return kills
        # Killed, or the stage failed whose worker was; nothing else may go wrong.
        killed = ended.code == -signal.SIGKILL or "killed by signal 9" in ended.error()
        assert killed and kills, ended.out + ended.err
