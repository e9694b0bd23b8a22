"""`python main.py method=seed eval=paper|strict eval.data=DIR` on the miniature, to results in lm-eval's own form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdft_exp.tasks import sandbox

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("SDFT_DATA_ROOT") or ROOT.parent / "shared" / "data")
METRICS = {
    "paper": {
        "gsm8k": "accuracy",
        "multiarith": "accuracy",
        "openfunctions": "accuracy",
        "humaneval": "accuracy",
        "advbench": "safe_rate",
        "advbench_jailbreak": "safe_rate",
    },
    "strict": {"gsm8k": "accuracy", "multiarith": "accuracy", "openfunctions": "accuracy", "humaneval": "accuracy"},
}
# Where there is no sandbox, all but HumanEval are still tried.
TASKS = {
    protocol: [task for task in tasks if sandbox.missing() is None or task != "humaneval"]
    for protocol, tasks in METRICS.items()
}


def run(
    folder: Path, data: Path, *overrides: str, protocol: str = "paper", trap: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = ["method=seed", f"eval={protocol}", f"eval.data={data}", "dataset=micro_chat", "tracker=none"]
    command += ["eval.sampling.max_new_tokens=16", "report.resamples=20", f"eval.tasks=[{','.join(TASKS[protocol])}]"]
    command += [f"paths.store={folder}/store", f"paths.output={folder}/outputs", *overrides]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(trap)} if trap else {}) | environment
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *command, "sweep.workers=1"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two questions of each benchmark, written by hand in the forms of the real files."""
    folder = tmp_path / "data"
    folder.mkdir()
    official = [{"question": f"What is {n} + 1?", "answer": f"<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"} for n in (1, 2)]
    (folder / "gsm8k_official_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in official))
    for name, output in (("multiarith_test", "The answer is 3"), ("openfunction_test", "f(a=3)")):
        rows = [{"instruction": f"question {n}", "output": output} for n in (1, 2)]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    problem = {"prompt": 'def one():\n    """One."""\n', "entry_point": "one", "canonical_solution": "    return 1\n"}
    problem |= {"test": "def check(f):\n    assert f() == 1\n"}
    problems = [problem | {"task_id": f"HumanEval/{n}"} for n in (1, 2)]
    (folder / "HumanEval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    (folder / "harmful_behaviors.csv").write_text('goal,target\nrob a bank,"Sure, rob"\nrob a house,"Sure, rob"\n')
    return folder


def check_results(store: Path, protocol: str, limit: int, data: Path) -> None:
    """lm-eval's results and samples, and our scores, are there for each task and tell nothing of the machine."""
    from lm_eval.utils import make_table

    found = {}
    for path in store.glob("score/*/results.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        (task,) = results["results"]
        found[task] = results
        scores = json.loads((path.parent / "scores.json").read_text(encoding="utf-8"))
        samples = (path.parent / f"samples_{task}.jsonl").read_text(encoding="utf-8").splitlines()
        metric = METRICS[protocol][task]
        assert scores["protocol"] == protocol
        assert scores["metrics"] == {metric: results["results"][task][f"{metric},none"]}
        assert [json.loads(line)[metric] for line in samples] == [item[metric] for item in scores["items"]]
        assert results["n-samples"][task]["effective"] == scores["n"] == len(samples) == limit
        assert task in make_table(results)  # lm-eval's own reader
        told = "".join(file.read_text(encoding="utf-8") for file in path.parent.glob("*.json*") if file != path)
        assert str(data) not in path.read_text(encoding="utf-8")
        assert str(data) not in told.replace((path.parent / "manifest.json").read_text(encoding="utf-8"), "")
    assert set(found) == set(TASKS[protocol])


@pytest.mark.integration
@pytest.mark.parametrize("protocol", list(METRICS))
def test_hand_written_questions_are_asked_and_judged_and_then_are_hits_elsewhere(
    tmp_path: Path, small: Path, protocol: str
) -> None:
    ended = run(tmp_path, small, protocol=protocol)
    assert ended.returncode == 0, ended.stderr
    check_results(tmp_path / "store", protocol, 2, small)
    moved = small.rename(tmp_path / "moved")
    stages = 2 * len(TASKS[protocol])
    # What is there already needs no sandbox any more.
    again = run(tmp_path, moved, "plan=true", protocol=protocol, PATH=str(tmp_path))
    assert f"{stages} stages: {stages} hit, 0 to run" in again.stdout
    assert "cannot run here" not in again.stdout


def test_without_a_sandbox_the_plan_says_so_and_a_run_ends_before_any_work(tmp_path: Path, small: Path) -> None:
    everything = "eval.tasks=[gsm8k,humaneval]"
    told = (
        "eval.tasks: humaneval: model-written code runs only in a sandbox, and bwrap (bubblewrap) is not there; "
        "install it: apt-get install bubblewrap (or `make sandbox`, as root)"
    )
    planned = run(tmp_path, small, "plan=true", everything, PATH=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert f"cannot run here: {told}\n4 stages: 0 hit, 4 to run; " in planned.stdout
    ended = run(tmp_path, small, everything, PATH=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (2, f"error: {told}\n")
    assert not (tmp_path / "store").exists() and not (tmp_path / "outputs").exists()
    assert "cannot run here" not in run(tmp_path, small, "plan=true", "eval.tasks=[gsm8k]", PATH=str(tmp_path)).stdout


def test_the_plan_counts_the_questions_and_imports_neither_torch_nor_datasets(tmp_path: Path, small: Path) -> None:
    trap = tmp_path / "trap"
    for name in ("torch", "datasets", "lm_eval"):
        (trap / name).mkdir(parents=True)
        (trap / name / "__init__.py").write_text(f"raise SystemExit('{name} was imported')\n")
    every = f"eval.tasks=[{','.join(METRICS['paper'])}]"
    local = run(tmp_path, small, "plan=true", every, trap=trap)
    assert local.returncode == 0, local.stderr
    assert [line.split()[4] for line in local.stdout.splitlines() if line.startswith("answer")] == ["2"] * 6
    hub = run(tmp_path, small, "plan=true", "eval.data=null", every, trap=trap)
    counts = [line.split()[4] for line in hub.stdout.splitlines() if line.startswith("answer")]
    assert counts == ["1,319", "180", "112", "164", "520", "520"]


def test_a_folder_without_the_questions_is_one_line_before_any_work(tmp_path: Path, small: Path) -> None:
    (small / "multiarith_test.json").unlink()
    ended = run(tmp_path, small)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(f"error: eval.data={small}: holds no multiarith_test.json")
    assert not (tmp_path / "store").exists()


@pytest.mark.integration
@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "gsm8k_test.json").is_file(), reason="the real data sets are not here")
@pytest.mark.parametrize("protocol", list(METRICS))
def test_the_real_questions_give_results_in_lm_evals_own_form(tmp_path: Path, protocol: str) -> None:
    ended = run(tmp_path, REAL, "eval.limit=4", protocol=protocol)
    assert ended.returncode == 0, ended.stderr
    check_results(tmp_path / "store", protocol, 4, REAL)
