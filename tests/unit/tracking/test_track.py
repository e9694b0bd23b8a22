"""W&B: what an offline run holds, that no secret gets out, and that a tracker that fails or hangs harms nothing."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.bench_tracker import server
from sdft_exp.config import TrackerConfig
from sdft_exp.tracking.handing import TrackedRun, Tracking
from sdft_exp.tracking.mode import choose_mode
from tests.unit.tracking.artifacts import job_of_store, write_store
from tests.wandb_server import healthy

KEY = "0" * 20 + "c0ffee" + "0" * 14


def tracker(**changed: Any) -> TrackerConfig:
    usual = {"name": "wandb", "project": "p", "entity": None, "mode": "auto", "tags": [], "notes": None}
    return TrackerConfig(**usual | {"samples": 2, "upload_mb": 200.0, "timeout": 60.0} | changed)


def track(settings: TrackerConfig, runs: list[TrackedRun], folder: Path) -> str | None:
    with Tracking(settings, folder, folder.parent / "store") as tracking:
        for run in runs:
            tracking.log(run)
        return tracking.end()


def records(logged: Path) -> list[dict[str, Any]]:
    """All records of an offline run, as W&B's own reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(logged)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def offline_runs(folder: Path) -> list[Path]:
    return list((folder / "wandb").glob("offline-run-*"))


def table(logged: Path, name: str) -> list[list[Any]]:
    (file,) = (logged / "files/media/table").glob(f"{name}_*.table.json")
    rows: list[list[Any]] = json.loads(file.read_text())["data"]
    return rows


def services(folder: Path) -> list[str]:
    """Ids of W&B's service processes for runs in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = b"wandb-core" in (process / "cmdline").read_bytes()
            if named and os.fsencode(folder) in (process / "environ").read_bytes():
                found.append(process.name)
    return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a job and a report were logged offline, and what was said."""
    folder = tmp_path_factory.mktemp("logged")
    write_store(folder / "store")
    job = job_of_store()
    report = TrackedRun("fedcba9876543210", "report", "my_sweep", "report", {}, report="report/r", runs=(job.key,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_SERVICE_TOKEN", "CANARYenvironment0123456789")
        return folder / "out", str(track(tracker(), [job, report], folder / "out"))


@pytest.fixture(scope="module")
def job(logged: tuple[Path, str]) -> Path:
    (folder,) = logged[0].glob("wandb/offline-run-*-0123456789abcdef")
    return folder


@pytest.fixture(scope="module")
def found(job: Path) -> list[dict[str, Any]]:
    return records(job)


def together(found: list[dict[str, Any]], kind: str, part: str) -> dict[str, Any]:
    """All values of the records of a kind, the last one of each name."""
    values: dict[str, Any] = {}
    for record in found:
        values |= record.get(kind, {}).get(part, {})
    return values


def artifacts(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {record["artifact"]["name"]: record["artifact"] for record in found if record["type"] == "artifact"}


@pytest.mark.integration
def test_an_offline_run_holds_id_group_config_tags_and_notes(found: list[dict[str, Any]]) -> None:
    run = next(record["run"] for record in found if record["type"] == "run")
    assert (run["run_id"], run["run_group"], run["job_type"]) == ("0123456789abcdef", "my_sweep", "sdft")
    assert run["tags"] == ["micro_math", "mine"]
    assert run["notes"].startswith("SDFT against the seed LM: target +66.7")
    assert run["config"]["update"]["generation"] == {"batch_tokens": 4096}
    assert run["config"]["update"]["judge"]["api_key"] == "[redacted]"


@pytest.mark.integration
def test_it_holds_the_curves_over_their_own_step(found: list[dict[str, Any]]) -> None:
    history = [record["history"]["item"] for record in found if record["type"] == "history"]
    steps = [row for row in history if "train/loss" in row]
    assert [(row["train/step"], row["train/loss"]) for row in steps] == [(1, 1), (2, 0.5), (3, 1 / 3)]
    assert [row["train/tokens_per_second"] for row in steps] == [100, 200, 300]
    assert {"train/grad_norm", "train/learning_rate"} <= set(steps[0])
    metrics = [record["metric"] for record in found if record["type"] == "metric"]
    assert any(m.get("glob_name") == "train/*" and m["step_metric"] == "train/step" for m in metrics)


@pytest.mark.integration
def test_it_holds_metrics_with_intervals_and_what_was_forgotten(found: list[dict[str, Any]]) -> None:
    summary = together(found, "summary", "update")
    assert summary["eval/math/accuracy"] == 1
    assert summary["seed_eval/math/accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert 0 <= summary["seed_eval/math/accuracy_low"] < 1 / 3 < summary["seed_eval/math/accuracy_high"] <= 1
    assert (summary["measure/target"], summary["rewrites/acceptance_rate"]) == (1, 0.5)
    assert summary["shift/update/update_norm"] == summary["measure/update_norm"] == 1.5
    assert "eval/update/update_norm" not in summary
    assert summary["change/target"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.integration
def test_it_holds_answers_side_by_side_and_rejected_rewrites_as_many_as_asked_for(job: Path) -> None:
    assert table(job, "samples/math") == [
        ["q0", "What is 0?", "0", "s0", "v0", "t0"],
        ["q1", "What is 1?", "1", "s1", "v1", "t1"],
    ]
    assert table(job, "rewrites/rejected") == [["b", "say b", "b", "c", "answer_differs"]]


@pytest.mark.integration
def test_it_holds_data_adapter_and_report_and_what_each_was_made_of(
    found: list[dict[str, Any]], logged: tuple[Path, str]
) -> None:
    own = artifacts(found)
    assert own["adapter-0123456789abcdef"]["type"] == "model"
    trained_on = json.loads(own["adapter-0123456789abcdef"]["metadata"])["trained_on"]
    assert own[trained_on]["type"] == "dataset"
    assert json.loads(own[trained_on]["metadata"])["made_of"] == ["dataset/d", "select/s", "mix/0123456789"]
    files = {Path(entry["path"]).name: Path(entry["local_path"]) for entry in own[trained_on]["manifest"]["contents"]}
    assert set(files) == {"selected.jsonl", "stats.json", "train.jsonl"} and all(map(Path.is_file, files.values()))
    (of_report,) = logged[0].glob("wandb/offline-run-*-fedcba9876543210")
    (report,) = artifacts(records(of_report)).values()
    assert (report["name"], report["type"]) == ("report-fedcba9876543210", "report")
    assert json.loads(report["metadata"]) == {"runs": ["0123456789abcdef"]}
    assert sorted(entry["path"] for entry in report["manifest"]["contents"]) == ["figure.png", "summary.json"]


@pytest.mark.integration
def test_lm_evals_own_layout_is_there(job: Path, found: list[dict[str, Any]]) -> None:
    """The names that lm_eval.loggers.WandbLogger gives: its dashboards look for them."""
    history = together(found, "history", "item")
    assert (history["math/accuracy"], history["math/accuracy_stderr"]) == (1, 0.25)
    assert table(job, "evaluation/eval_results") == [["math", 1, "none", 0, "accuracy", "1.0", "0.2500"]]
    assert [row[:2] for row in table(job, "math_eval_results")] == [[0, "What is 0?"], [1, "What is 1?"]]


@pytest.mark.integration
def test_no_secret_is_in_any_file_and_one_line_says_how_to_sync(logged: tuple[Path, str]) -> None:
    folder, message = logged
    assert message == f"W&B: logged offline; to upload: wandb sync {folder}/wandb/offline-run-*"
    for path in folder.rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path


@pytest.mark.integration
def test_whatever_happens_a_run_is_logged_once_under_its_id(run: TrackedRun, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with Tracking(tracker(), folder, tmp_path / "store") as tracking:
        tracking.log(run)
        assert tracking._child is not None
        wait_for(lambda: bool(offline_runs(folder) and services(tmp_path)))
        os.kill(tracking._child.pid, signal.SIGKILL)
        message = tracking.end()
    assert message is not None and message.startswith("warning: W&B did not log everything") and "\n" not in message
    wait_for(lambda: not services(tmp_path))
    time.sleep(1.1)  # W&B's folders are named by the second

    assert "wandb sync" in str(track(tracker(), [run], folder))  # the next command
    (logged,) = offline_runs(folder)
    assert logged.name.endswith(run.key)
    assert "wandb sync" in str(track(tracker(), [run], folder))  # nothing is new
    assert offline_runs(folder) == [logged]
    time.sleep(1.1)
    track(tracker(), [replace(run, config=run.config | {"seed": 2})], folder)
    (changed,) = offline_runs(folder)
    assert changed != logged and changed.name.endswith(run.key)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("get", "post", "told"),
    [
        (None, None, "127.0.0.1 cannot be reached"),  # it hangs
        (500, 500, "127.0.0.1 answers with an error (500)"),
        (200, None, "the server did not take a run"),  # it hangs later
    ],
    ids=["hangs", "500", "hangs later"],
)
def test_a_server_that_is_down_means_offline_with_one_line(
    get: int | None,
    post: int | None,
    told: str,
    run: TrackedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with server(get, post) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        started = time.monotonic()
        message = track(tracker(mode="online", timeout=32), [run], tmp_path / "out")
        assert time.monotonic() - started < 36
    assert message is not None and "\n" not in message
    assert message.startswith("warning: W&B: ") and told in message and "wandb sync" in message
    (logged,) = offline_runs(tmp_path / "out")
    assert any(record["type"] == "exit" for record in records(logged))
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    wait_for(lambda: not services(tmp_path))


@pytest.mark.integration
def test_a_healthy_server_gets_config_curve_figures_and_what_each_was_made_of(
    run: TrackedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with healthy() as (address, told):
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert track(tracker(mode="online"), [run], tmp_path / "out") == "W&B: 1 run logged online"
        assert told.unknown == []
        first = told.history(run.key)
        changed = replace(run, config=run.config | {"seed": 2})
        assert track(tracker(mode="online"), [changed], tmp_path / "out") == "W&B: 1 run logged online"
    assert list(told.runs) == [run.key] and told.exits == {run.key: 0}
    assert told.keys == {"Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()}
    upserted = told.runs[run.key]
    assert (upserted["groupName"], upserted["jobType"]) == ("my_sweep", "sdft")
    config = told.config(run.key)
    assert (config["generation"], config["seed"]) == ({"batch_tokens": 4096}, 2)
    assert config["judge"]["api_key"] == "[redacted]"
    curve = [(row["train/step"], row["train/loss"]) for row in first if "train/loss" in row]
    assert curve == [(1, 1), (2, 0.5), (3, pytest.approx(1 / 3))]
    again = [row["train/step"] for row in told.history(run.key) if "train/loss" in row]
    assert again == [1, 2, 3]  # logged twice, it is one curve
    summary = told.summary(run.key)
    assert (summary["eval/math/accuracy"], summary["change/target"]) == (1, pytest.approx(2 / 3, abs=1e-6))
    assert (told.artifacts["adapter-0123456789abcdef"]["type"], told.artifacts["results"]["state"]) == (
        "model",
        "COMMITTED",
    )
    (taken,) = set(told.used)
    assert taken.startswith("training-set-micro_math-")  # an input of the run, from which the adapter descends
    rows = json.loads(next(told.files[path] for path in told.files if path.endswith("samples/math.table.json")))
    assert rows["data"][0] == ["q0", "What is 0?", "0", "s0", "v0", "t0"]
    assert not offline_runs(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    wait_for(lambda: not services(tmp_path))


@pytest.mark.integration
def test_nobody_waits_longer_than_the_time_out(
    run: TrackedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with server(None, None) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        started = time.monotonic()
        message = track(tracker(timeout=1), [run], tmp_path / "out")
        assert time.monotonic() - started < 4
    assert message is not None and "took longer than tracker.timeout=1 s" in message and "\n" not in message
    assert not list((tmp_path / "out/wandb").glob(".payload-*"))


@pytest.mark.integration
def test_a_full_queue_leaves_a_run_out_and_says_so(run: TrackedRun, tmp_path: Path) -> None:
    with Tracking(tracker(timeout=1), tmp_path / "out", tmp_path / "store") as tracking:
        tracking.start()
        child = tracking._child
        assert child is not None and child.stdin is not None
        os.kill(child.pid, signal.SIGSTOP)
        fcntl.fcntl(child.stdin.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        started = time.monotonic()
        for _ in range(100):
            tracking.log(run)
        assert time.monotonic() - started < 5
        assert "too many runs were waiting" in str(tracking.end())


@pytest.mark.integration
def test_an_artifact_that_is_gone_is_one_line(run: TrackedRun, tmp_path: Path) -> None:
    message = track(tracker(), [replace(run, vanilla={"math": "score/gone"}, mix="mix/gone")], tmp_path / "out")
    assert message is not None and "mix/gone" in message and "\n" not in message


def test_a_folder_that_cannot_be_written_is_one_line(run: TrackedRun, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    message = track(tracker(), [run], tmp_path / "out")
    assert message is not None and message.startswith("warning: W&B did not log everything (NotADirectoryError")


def test_none_logs_nothing(run: TrackedRun, tmp_path: Path) -> None:
    assert track(tracker(name="none"), [run], tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


def test_the_mode_goes_by_key_and_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with server(404, None) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert choose_mode("auto") == ("offline", None)
        mode, remark = choose_mode("online")
        assert mode == "offline" and remark is not None and "no key" in remark
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert choose_mode("auto") == ("online", None)
        assert choose_mode("offline") == ("offline", None)
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert choose_mode("auto") == ("offline", None)


def test_a_server_that_refuses_or_does_not_speak_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("sdft_exp.tracking.mode._ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert choose_mode("online") == ("offline", "127.0.0.1 cannot be reached")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert choose_mode("online") == ("offline", "127.0.0.1 cannot be reached")
