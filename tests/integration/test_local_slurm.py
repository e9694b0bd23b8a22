"""The Slurm of launchers/local_slurm.sh does what its head says: an urgent job preempts, and the other runs again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.local_slurm import state_of_slurm

pytestmark = pytest.mark.integration

# Gives way when the signal comes; its second start ends at once.
GIVES_WAY = """#!/bin/bash
trap 'echo signalled; scontrol requeue $SLURM_JOB_ID' USR2
echo "start ${SLURM_RESTART_COUNT:-0}"
[[ -n $SLURM_RESTART_COUNT ]] && exit 0
for i in $(seq 600); do sleep 0.1 & wait; done
"""


def submit(folder: Path, script: str, *options: str) -> str:
    told = subprocess.run(
        ["sbatch", "--parsable", f"--output={folder}/log", "--open-mode=append", *options],
        input=script,
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return told.stdout.strip()


def wait_for(text: str, log: Path) -> None:
    for _ in range(600):
        if log.is_file() and text in log.read_text():
            return
        time.sleep(0.1)
    found = repr(log.read_text()) if log.is_file() else "a log that is not there"
    raise AssertionError(f"no {text!r} in {found}\n{state_of_slurm()}")


@pytest.mark.usefixtures("needs_slurm")
def test_an_urgent_job_signals_and_requeues_one_of_main(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    job = submit(low, GIVES_WAY, "--requeue", "--signal=B:USR2@5", "--exclusive")
    try:
        wait_for("start 0", low / "log")
        submit(high, "#!/bin/bash\necho urgent\n", "--partition=urgent", "--exclusive")
        wait_for("signalled", low / "log")
        wait_for("urgent", high / "log")
        wait_for("start 1", low / "log")
        words = [line for line in (low / "log").read_text().splitlines() if line.startswith(("start", "signalled"))]
        assert words == ["start 0", "signalled", "start 1"]
        assert (high / "log").read_text().strip() == "urgent"
    finally:
        subprocess.run(["scancel", job], check=False)
