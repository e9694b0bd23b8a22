"""`python main.py eval=knowledge eval.data=DIR` on the miniature: lm-eval's own tasks from plan to table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"mmlu": 57, "truthfulqa": 1, "ai2_arc": 2, "hellaswag": 1, "winogrande": 1}  # questions at eval.limit=1


def run(folder: Path, *overrides: str, trap: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = ["eval=knowledge", "dataset=micro_chat", "tracker=none", "report.resamples=20"]
    command += [f"paths.store={folder}/store", f"paths.output={folder}/outputs", *overrides]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": f"{folder}/datasets"}
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *command, "sweep.workers=1"],
        cwd=folder,
        env=env | ({"PYTHONPATH": str(trap)} if trap else {}),
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.integration
def test_all_five_are_asked_and_judged_and_are_the_other_tasks_of_the_table(
    tmp_path: Path, knowledge_sets: Path
) -> None:
    ended = run(tmp_path, f"eval.data={knowledge_sets}", "eval.limit=1", "method=seed")
    assert ended.returncode == 0, ended.stderr
    found = {}
    for path in (tmp_path / "store").glob("score/*/scores.json"):
        scores = json.loads(path.read_text(encoding="utf-8"))
        found[scores["task"]] = scores
        results = (path.parent / "results.json").read_text(encoding="utf-8")
        assert str(knowledge_sets) not in results and str(tmp_path) not in results
    assert {task: scores["n"] for task, scores in found.items()} == TASKS
    (summary,) = (tmp_path / "outputs").glob("*/summary.json")
    (group,) = json.loads(summary.read_text(encoding="utf-8"))["groups"]
    values = [scores["metrics"]["acc"] for scores in found.values()]
    assert group["rows"][0]["measures"]["other"]["mean"] == pytest.approx(sum(values) / 5, abs=1e-6)


def test_the_plan_counts_the_questions_and_imports_nothing_heavy(tmp_path: Path, knowledge_sets: Path) -> None:
    trap = tmp_path / "trap"
    for name in ("torch", "datasets"):
        (trap / name).mkdir(parents=True)
        (trap / name / "__init__.py").write_text(f"raise SystemExit('{name} was imported')\n")

    def counts(*overrides: str) -> list[str]:
        planned = run(tmp_path, "method=seed", "plan=true", *overrides, trap=trap)
        assert planned.returncode == 0, planned.stderr
        return [line.split()[4] for line in planned.stdout.splitlines() if line.startswith("answer")]

    assert counts() == ["14,042", "1,634", "3,548", "10,042", "1,267"]
    assert counts("eval.limit=2", f"eval.data={knowledge_sets}") == ["114", "4", "4", "2", "2"]
