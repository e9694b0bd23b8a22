"""Killed, damaged, doubled: the final summary is the undisturbed one's, byte for byte."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import shlex
import shutil
import subprocess
import termios
import time

import pytest

from tests.recipe.conftest import BY_TWO, Bench, kill_main

pytestmark = pytest.mark.recipe

JOB = [*BY_TWO, "eval.tasks=[micro_math,micro_jailbreak]"]


def undisturbed(bench: Bench) -> tuple[bytes, float]:
    started = time.time()
    bench.run(*JOB, f"paths.store={bench.folder}/undisturbed")
    seconds = time.time() - started
    summary = bench.summary()
    shutil.rmtree(bench.result())
    return summary, seconds


def check_kills(bench: Bench, times: int) -> None:
    """Kill the main process of a fresh run at a random moment, `times` times; each goes on to the same summary."""
    summary, seconds = undisturbed(bench)
    moments = random.Random(0)
    for number in range(times):
        own = f"paths.store={bench.folder}/killed-{number}"
        kill_at(bench, moments.uniform(0.05, 0.9) * seconds, own)
        bench.run(*JOB, own)
        assert bench.summary() == summary
        assert {line["status"] for line in bench.stages()} <= {"ran", "hit", "waited"}
        shutil.rmtree(bench.result())


def kill_at(bench: Bench, moment: float, store: str) -> None:
    """Start the job on a store of its own and kill it `moment` seconds later, or earlier if it was done by then."""
    process = bench.start(*JOB, store)
    time.sleep(moment)
    kill_main(process)
    if list(bench.folder.glob("outputs/*/summary.json")):
        shutil.rmtree(store.removeprefix("paths.store="))
        shutil.rmtree(bench.result())
        kill_at(bench, 0.8 * moment, store)


def test_kill_9_at_some_moment(bench: Bench) -> None:
    check_kills(bench, 1)


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_kill_9_at_twenty_moments(bench: Bench) -> None:
    check_kills(bench, 20)


def test_a_damaged_artifact_is_repaired(bench: Bench) -> None:
    bench.run(*JOB)
    summary = bench.summary()
    (adapter,) = bench.store.glob("train/*/adapter/adapter_model.safetensors")
    content = bytearray(adapter.read_bytes())
    content[-1] ^= 1
    adapter.write_bytes(content)
    (rewrites,) = bench.store.glob("distill/*/completions.jsonl")
    os.truncate(rewrites, rewrites.stat().st_size // 2)
    bench.run(*JOB)
    count = bench.count()
    assert count["train", "repaired"] == 1
    assert count["distill", "repaired"] == 1
    assert {status for _, status in count} == {"repaired", "hit"}
    assert bench.summary() == summary


@pytest.mark.slow  # in CI three processes share one store, in tests/chaos
def test_two_processes_started_at_once_share_the_work(bench: Bench) -> None:
    summary, _ = undisturbed(bench)
    first, second = bench.start(*JOB, "sweep.name=first"), bench.start(*JOB, "sweep.name=second")
    assert first.wait(600) == 0
    assert second.wait(600) == 0
    statuses: dict[str, list[str]] = {}
    for name in ("first", "second"):
        for line in json.loads((bench.folder / "outputs" / name / "stages.json").read_text()):
            statuses.setdefault(line["stage"] + line["key"], []).append(line["status"])
        told = json.loads((bench.folder / "outputs" / name / "summary.json").read_bytes())
        assert told["groups"] == json.loads(summary)["groups"]
    # Every stage was made by one of the two; the other waited for it or found it.
    shared = {key: sorted(pair) for key, pair in statuses.items() if len(pair) == 2}
    assert all("ran" in pair and pair != ["ran", "ran"] for pair in shared.values()), shared
    assert any("waited" in pair for pair in shared.values())


def test_ctrl_c_in_a_terminal_leaves_a_checkpoint_and_says_how_to_go_on(bench: Bench) -> None:
    long = [word for word in JOB if word != "tuning.epochs=1"] + ["method=vanilla", "tuning.epochs=5000"]
    arguments = ["-m", *long, "tuning.batch_size=1", "tuning.checkpoint_steps=1000000", "seed=0"]
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        bench.command(arguments),
        cwd=bench.folder,
        env=bench.env | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # ^C on it is SIGINT to all that it runs
    )
    os.close(theirs)
    said, pressed = b"", False
    while True:
        try:
            said += os.read(ours, 1 << 16)
        except OSError:  # the last who had it open is gone
            break
        if not pressed and re.search(rb"\d+/\d+ steps, [\d.]+ steps/s, about \d+ \w+.* left", said):
            os.write(ours, b"\x03")
            pressed = True
    os.close(ours)
    assert running.wait() == 130
    shown = said.decode()
    assert "\x1b[?25l" in shown and "\x1b[?25h" in shown  # drawn anew in place, and the cursor is there again
    assert "loading the model, 4.1 MB" in shown
    assert "Traceback" not in shown
    last, again = shown.splitlines()[-1], shlex.join([*arguments, f"paths.output={bench.folder}/outputs"])
    assert "train at work; saving what there is" in shown
    assert last.endswith(f"interrupted: to go on from here, run the same command again: python main.py {again}")
    assert len(list(bench.store.glob(".partial/train-*/checkpoints/*/whole.json"))) == 1
