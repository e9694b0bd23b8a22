"""`python -m sdft_exp.sweep` where no Slurm is needed: sweeps of this machine, and folders that are none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdft_exp.sweep import main


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local sweep called `ratios`, at work: nothing but Hydra's note of it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "ratios"
    folder.mkdir(parents=True)
    overrides = {"hydra": ["hydra.mode=MULTIRUN"], "task": ["seed=0,1", "plan=true"]}
    note = {"hydra": {"overrides": overrides, "runtime": {"cwd": str(tmp_path)}}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump(note))
    return folder


def test_status_of_a_local_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "ratios"]) == 0
    assert "at work, or was killed" in capsys.readouterr().out
    lines = [
        {"stage": "train", "label": "seed 0", "status": "ran", "reason": ""},
        {"stage": "train", "label": "seed 1", "status": "failed", "reason": "no memory"},
    ]
    (sweep / "stages.json").write_text(json.dumps(lines))
    assert main(["status", str(sweep)]) == 1
    told = "ratios: 2 stages: 1 done, 1 failed\n  failed   train    seed 1: no memory\n"
    assert capsys.readouterr().out == told


def test_resume_runs_the_command_again_where_it_was_given(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def run(words: list[str], cwd: str) -> subprocess.CompletedProcess[str]:
        ran.append((words[1:], cwd))
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["resume", "ratios"]) == 3
    ((words, cwd),) = ran
    assert Path(words[0]).name == "main.py"
    assert words[1:] == ["hydra.mode=MULTIRUN", "seed=0,1"]  # a look at the plan is not what is to be resumed
    assert cwd == str(sweep.parents[1])


def test_a_command_that_held_a_secret_cannot_be_run_again(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "multirun.yaml").write_text((sweep / "multirun.yaml").read_text().replace("seed=0,1", "a=[redacted]"))
    assert main(["resume", "ratios"]) == 1
    assert "its command held a secret, which is not written down; give the command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nothing"], "nothing: no such folder, neither here nor under outputs/; name the sweep's folder"),
        (["resume", "outputs"], "outputs: is no sweep's folder (it has no multirun.yaml)"),
        (["cancel", "ratios"], "nothing of it was submitted to Slurm; a sweep of this machine is ended by Ctrl-C"),
    ],
)
@pytest.mark.usefixtures("sweep")
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
