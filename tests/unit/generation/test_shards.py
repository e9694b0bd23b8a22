"""Several processes for one generation: the same texts as one process's, whatever befalls them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sdft_exp import shards
from sdft_exp.config import Sampling
from sdft_exp.data.encode import load_encoder
from sdft_exp.errors import ConfigError
from sdft_exp.generation import generate
from sdft_exp.generation.engines import Hf
from sdft_exp.generation.journal import read
from sdft_exp.generation.requests import Completion, Request
from sdft_exp.models import load
from sdft_exp.models.identity import ModelRef

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=0)
SAMPLED = Sampling(temperature=0.95, top_p=0.7, top_k=50, max_new_tokens=12, seed=0)
BATCH = 96


def requests(ref: ModelRef, count: int = 14) -> list[Request]:
    encoder = load_encoder(ref.path)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "ate", "fish"]
    texts = [" ".join(words[: 2 + number % 7]) for number in range(count)]
    return [Request(f"r/{n}", tuple(encoder.prompt("alpaca", "alpaca", text))[-40:]) for n, text in enumerate(texts)]


def made(
    ref: ModelRef, asked: Sequence[Request], folder: Path, workers: int, sampling: Sampling = SAMPLED
) -> list[Completion]:
    folder.mkdir(exist_ok=True)
    return generate(ref, None, asked, sampling, Hf(BATCH, workers), folder / "journal", lambda *_: None)


def test_two_processes_write_what_one_writes_and_leave_one_journal(tiny_ref: ModelRef, tmp_path: Path) -> None:
    asked = requests(tiny_ref)
    one = made(tiny_ref, asked, tmp_path / "one", 1)
    seen: list[tuple[int, int, str]] = []
    (tmp_path / "two").mkdir()
    two = generate(
        tiny_ref, None, asked, SAMPLED, Hf(BATCH, 2), tmp_path / "two" / "j", lambda *told: seen.append(told)
    )
    assert two == one
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["j"]
    assert len({completion.text for completion in one}) > 3
    assert [seen[0], seen[-1]] == [(0, 14, "prompts"), (14, 14, "prompts")]
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)


def test_what_a_killed_attempt_left_in_its_shards_is_not_made_again(tiny_ref: ModelRef, tmp_path: Path) -> None:
    asked = requests(tiny_ref)
    whole = made(tiny_ref, asked, tmp_path / "whole", 1)
    torn = tmp_path / "torn"
    torn.mkdir()
    from sdft_exp.generation.journal import append

    changed = [Completion(one.id, "kept", "stop", 1) for one in whole]
    append(torn / "journal", changed[:1])
    append(torn / "journal.shard-000", changed[:9])  # the first stands in both
    with (torn / "journal.shard-001").open("ab") as file:
        file.write(b'{"id": "torn')
    found = made(tiny_ref, asked, torn, 2)
    assert [path.name for path in torn.iterdir()] == ["journal"]
    kept = [one.text == "kept" for one in found]
    assert any(kept)
    # A batch that was torn is made again as a whole; every other one is as it was.
    assert [one for one, old in zip(found, kept, strict=True) if not old] == [
        one for one, old in zip(whole, kept, strict=True) if not old
    ]


def test_an_error_of_a_process_is_the_callers(tiny_ref: ModelRef, tmp_path: Path) -> None:
    too_long = GREEDY.model_copy(update={"max_new_tokens": 300})
    with pytest.raises(ConfigError, match="max_new_tokens=300"):
        made(tiny_ref, requests(tiny_ref), tmp_path / "x", 2, too_long)


class Odd(Exception):
    """Nobody's mistake: a fault of the program's, or of a library's."""


def meets_a_fault(pieces: Sequence[int], journal: Path, done: Callable[[int], None]) -> None:
    raise Odd(f"device-side assert at {pieces[0]}")


def test_a_fault_of_a_process_is_told_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(Odd, match=r"device-side assert at \d") as met:
        shards.spread(2, "cpu", meets_a_fault, [0, 1], tmp_path / "journal", "id", lambda count: None)
    assert "in meets_a_fault" in str(met.value.__cause__)


def does_nothing(pieces: Sequence[int], journal: Path, done: Callable[[int], None]) -> None:
    pass


def test_what_this_process_holds_is_given_up_before_others_need_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[str] = []
    monkeypatch.setattr(load, "at_release", [lambda: given_up.append("server")])
    shards.spread(1, "cpu", does_nothing, [0], tmp_path / "journal", "id", lambda count: None)
    assert given_up == []
    shards.spread(2, "cpu", does_nothing, [0, 1], tmp_path / "journal", "id", lambda count: None)
    assert given_up == ["server"]


def test_a_file_that_cannot_be_written_is_told_as_such(tiny_ref: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "journal.shard-000").mkdir()  # so that a child cannot open its own
    with pytest.raises(IsADirectoryError):
        made(tiny_ref, requests(tiny_ref), tmp_path / "x", 2)


def test_worker_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert shards.worker_count(None, "auto") == 2
    assert shards.worker_count(None, "cpu") == 1
    assert shards.worker_count(5, "auto") == 5
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert shards.worker_count(None, "auto") == 1


SCRIPT = """
import pathlib, sys
from sdft_exp.generation import generate
from sdft_exp.generation.engines import Hf
from tests.unit.generation.test_shards import GREEDY, requests
from tests.unit.conftest import _ref

if __name__ == "__main__":
    ref = _ref(pathlib.Path(sys.argv[1]))
    slow = GREEDY.model_copy(update={"max_new_tokens": 200})
    generate(ref, None, requests(ref, 400), slow, Hf(512, 2), pathlib.Path(sys.argv[2]), lambda *_: None)
"""


def children_of(parent: int) -> list[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def start(tiny_llama: Path, folder: Path) -> subprocess.Popen[str]:
    """A generation by two processes that takes far longer than the test, once both have finished a batch."""
    (folder / "script.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, str(folder / "script.py"), str(tiny_llama), str(folder / "journal")],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len([one for one in folder.glob("journal.shard-*") if one.stat().st_size]) == 2)
    return process


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_a_killed_process_is_one_line_ends_the_others_and_loses_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    process = start(tiny_llama, tmp_path)
    workers = [
        child for child in children_of(process.pid) if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert "UserError: one of its processes was killed by signal 9" in said
    assert not [child for child in workers if Path(f"/proc/{child}").exists()]
    assert [path.name for path in tmp_path.glob("journal*")] == ["journal"]
    assert len(read(tmp_path / "journal")) > 1


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_processes_end_with_a_killed_parent(tiny_llama: Path, tmp_path: Path) -> None:
    process = start(tiny_llama, tmp_path)
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not [child for child in workers if Path(f"/proc/{child}").exists()], seconds=20)
    shards.gather(tmp_path / "journal", "id")
    assert len(read(tmp_path / "journal")) > 1
