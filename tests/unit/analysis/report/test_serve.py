"""How a sweep at work is told of, and the server of its page. tests/integration/test_page.py looks at that page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.bench_page import made_up
from analysis.report import live
from analysis.report.__main__ import main
from analysis.report.serve import server
from analysis.report.source import read_finished
from sdft_exp.owner import claim
from sdft_exp.slurm import queue
from sdft_exp.slurm.state import Ledger, Submitted
from sdft_exp.store import Store


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return made_up(tmp_path)


def _unmake(sweep: Path, job: int) -> Path:
    """Take back the training of a job, as before it was made; returns where it lay."""
    source = read_finished(sweep)
    trained = source.jobs[job].train
    assert trained
    (sweep / "stages.json").unlink()
    path = source.store.path(trained)
    shutil.move(path, path.with_name("elsewhere"))
    return path


def test_a_sweep_at_work_tells_what_is_done_and_shows_what_has_finished(sweep: Path) -> None:
    path = _unmake(sweep, job=3)
    attempt = path.parents[1] / ".partial" / f"train-{path.name}-01234567"
    attempt.mkdir(parents=True)
    claim(attempt)
    found = live.state(sweep)
    assert found.told == ("at work: 24 of 25 stages done, at work on train ; 3 of 4 jobs have their results")
    (group,) = live.source(sweep, found).summary["groups"]
    assert [row["seeds"] for row in group["rows"]] == [[], [0, 1], [0]]
    (attempt / "owner.json").unlink()
    assert "none at work just now" in live.state(sweep).told


def test_the_version_changes_with_each_job_and_with_the_report(sweep: Path) -> None:
    path = _unmake(sweep, job=0)
    first = live.state(sweep)
    shutil.move(path.with_name("elsewhere"), path)
    second = live.state(sweep)
    (sweep / "stages.json").write_text(json.dumps([{"status": "failed"}, {"status": "hit"}]))
    third = live.state(sweep)
    assert third.told == "finished: 2 stages, 1 failed"
    assert len({first.version, second.version, third.version}) == 3
    assert live.state(sweep).version == third.version


def test_nothing_finished_is_a_page_all_the_same(sweep: Path) -> None:
    (sweep / "stages.json").unlink()
    shutil.rmtree(sweep.parent / "store")
    found = live.state(sweep)
    assert found.told.startswith("at work: 0 of 25 stages done")
    assert live.source(sweep, found).summary["groups"] == []


def test_on_slurm_the_ledger_tells(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _unmake(sweep, job=0)
    address = f"train/{path.name}"
    stages = {address: {"label": "seed 0", "inputs": []}}
    ledger = Ledger(str(sweep.parent / "store"), stages, [Submitted("7", "train", [address], [])])
    ledger.save(sweep)
    monkeypatch.setattr(queue, "in_queue", lambda: {"7": queue.Queued("7", "RUNNING", "None")})
    assert "0 of 1 stages done, at work on train seed 0;" in live.state(sweep).told


@pytest.fixture
def address(sweep: Path) -> Iterator[str]:
    serving = server(sweep)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_address[1]}/"
    serving.shutdown()
    serving.server_close()


def test_the_server_gives_the_page_and_its_state_and_nothing_else(address: str, sweep: Path) -> None:
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    assert "connect-src &#39;self&#39;" in page
    with urllib.request.urlopen(f"{address}state") as answer:
        state = json.load(answer)
    assert f'data-version="{state["version"]}"' in page
    for path in ("plan.json", "../plan.json", "state/x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)


def test_a_page_from_elsewhere_is_not_answered(address: str) -> None:
    asked = urllib.request.Request(address, headers={"Host": "example.org:80"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked)


def test_a_port_that_is_taken_is_one_line(address: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = address.strip("/").rpartition(":")[2]
    assert main([str(sweep), "--serve", "--port", port]) == 2
    assert capsys.readouterr().err.startswith(f"error: --port {port}: cannot be had")


def test_ctrl_c_ends_it_cleanly(sweep: Path) -> None:
    command = [sys.executable, "-m", "analysis.report", str(sweep), "--serve"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    url = running.stdout.readline().split()[0]
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200
    os.kill(running.pid, signal.SIGINT)
    out, error = running.communicate(timeout=30)
    assert (running.returncode, out, error) == (0, "ended\n", "")


def test_what_is_being_made_is_known_by_live_owners(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = "a" * 64
    for name in (f"train-{key}-01234567", f"answer-{key}-01234567", "stranger"):
        (tmp_path / ".partial" / name).mkdir(parents=True)
    claim(tmp_path / ".partial" / f"train-{key}-01234567")
    assert store.at_work() == [f"train/{key}"]
