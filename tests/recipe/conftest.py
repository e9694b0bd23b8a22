"""Whole runs of `main.py` on the miniature at their smallest size, in a folder and a store of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The smallest job that still goes through every stage.
SMALL = ["dataset.max_samples=16", "tuning.epochs=1", "eval.limit=4", "eval.sampling.max_new_tokens=12"]
SMALL += ["report.resamples=50", "tracker=none", "sweep.workers=1", "generation.sampling.max_new_tokens=24"]
BY_TWO = [word.replace("sweep.workers=1", "sweep.workers=2") for word in SMALL]


@dataclass
class Bench:
    """A place to run `main.py` in."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"SDFT_STORE": str(self.store), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def command(self, arguments: list[str]) -> list[str]:
        return [sys.executable, str(ROOT / "main.py"), *arguments, f"paths.output={self.folder}/outputs"]

    def run(
        self, *arguments: str, env: dict[str, str] | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            self.command([*arguments]),
            cwd=self.folder,
            env=env or self.env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr  # control codes are for terminals
        return ended

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command([*arguments]),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def result(self) -> Path:
        """The one folder of results."""
        (folder,) = (self.folder / "outputs").iterdir()
        return folder

    def stages(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = json.loads((self.result() / "stages.json").read_text())
        return lines

    def count(self) -> Counter[tuple[str, str]]:
        """How many stages of each name ended with each status."""
        return Counter((line["stage"], line["status"]) for line in self.stages())

    def summary(self) -> bytes:
        return (self.result() / "summary.json").read_bytes()


def kill_main(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of the main process alone: its workers have to notice."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def no_torch(bench: Bench) -> dict[str, str]:
    """The bench's environment, with an import of torch ending the process loudly."""
    trap = bench.folder / "trap"
    (trap / "torch").mkdir(parents=True)
    (trap / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')\n")
    return bench.env | {"PYTHONPATH": str(trap)}
