"""A server of ours: started with model and adapter, asked, and ended whatever becomes of us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.config import Sampling
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.generation import Completion, Request, generate, server
from sdft_exp.generation.engines import Asking, Command, Vllm
from sdft_exp.generation.journal import read
from sdft_exp.models import load
from sdft_exp.models.identity import ModelRef

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=0)
SCRIPT = Path(__file__).with_name("completions_server.py")
ROOT = Path(__file__).resolve().parents[3]
proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")


@pytest.fixture
def ref(tiny_tokenizer: Path) -> ModelRef:
    """A model whose tokenizer and context are there, and no weights: none are read here."""
    (tiny_tokenizer / "config.json").write_text('{"max_position_embeddings": 40}')
    return ModelRef("d", "alpaca", "float32", str(tiny_tokenizer), None, False, "cpu", 1)


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Servers' own folders lie below the test's, where `left` looks."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    yield
    server.end()


def engine(record: Path, *more: str, adapter: bool = True, startup: float = 30.0) -> Vllm:
    arguments = (str(SCRIPT), "--port", "{port}", "--model", "{model}", "--record", str(record), *more)
    command = Command(
        program=Path(sys.executable).name,
        arguments=arguments,
        adapter_arguments=("--adapter", "{name}={adapter}={rank}") if adapter else None,
        executable=sys.executable,
        health="/health",
        startup=startup,
    )
    return Vllm(Asking("ids", "vllm", concurrency=1, timeout=20.0, retries=0), command)


def requests(count: int = 3) -> list[Request]:
    return [Request(f"r/{number}", (1, 5 + number)) for number in range(count)]


def made(ref: ModelRef, engine: Vllm, journal: Path, adapter: Path | None = None, count: int = 3) -> list[Completion]:
    return generate(ref, adapter, requests(count), GREEDY, engine, journal, lambda *_: None)


def starts(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def gone(start: dict[str, Any]) -> bool:
    return not any(runs(pid) for pid in start["pids"])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").iterdir())


def write_adapter(folder: Path, rank: int = 12, weights: bytes = b"w") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


@proc
def test_one_server_serves_all_that_is_asked_of_a_model_and_ends_for_the_next(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    one = engine(record)
    assert [done.text for done in made(ref, one, tmp_path / "a")] == [f"{ref.path}|[1, {n}]" for n in (5, 6, 7)]
    assert len(made(ref, one, tmp_path / "b")) == 3
    (first,) = starts(record)
    assert not gone(first)

    adapter = write_adapter(tmp_path / "adapter")
    texts = [done.text for done in made(ref, one, tmp_path / "c", adapter)]
    _, second = starts(record)
    assert gone(first) and len(left(tmp_path)) == 1
    name, path, rank = second["arguments"][-1].split("=")
    assert name.startswith("tuned-") and (path, rank) == (str(adapter), "16")  # 12, as vLLM takes them
    assert texts == [f"{name}|[1, {n}]" for n in (5, 6, 7)]

    (adapter / "adapter_model.safetensors").write_bytes(b"trained again")
    made(ref, one, tmp_path / "d", adapter)
    third = starts(record)[2]
    assert gone(second) and not gone(third)
    load.release()  # whoever loads a model needs the memory
    assert gone(third) and left(tmp_path) == []


@proc
def test_a_full_journal_starts_no_server(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    whole = made(ref, engine(record), tmp_path / "a")
    server.end()
    assert made(ref, engine(record), tmp_path / "a") == whole and len(starts(record)) == 1


@pytest.mark.integration
def test_a_server_that_loads_no_adapter_gets_the_merged_model(tiny_ref: ModelRef, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from sdft_exp.models.adapter import save_adapter, with_adapter
    from sdft_exp.models.load import read_model
    from sdft_exp.training.settings import Lora

    tuned = with_adapter(read_model(tiny_ref), Lora(2, 8.0, 0.0, ("v_proj",)), seed=0)
    with torch.no_grad():
        for name, part in tuned.named_parameters():
            if "lora_" in name:
                part.fill_(0.5)
    save_adapter(tuned, tmp_path / "adapter", "tiny")
    texts = made(tiny_ref, engine(tmp_path / "record", adapter=False), tmp_path / "j", tmp_path / "adapter")
    merged = Path(texts[0].text.partition("|")[0])
    assert merged.parent.parent == tmp_path / "tmp"
    seed = load_file(Path(tiny_ref.path) / "model.safetensors")
    own = load_file(merged / "model.safetensors")
    for name, weights in seed.items():
        # alpha / rank times B A, whose every entry is 2 x 0.5 x 0.5: 4 x 0.5.
        expected = weights + 2.0 if "v_proj" in name else weights
        torch.testing.assert_close(own[name], expected)
    assert (merged / "tokenizer.json").read_bytes() == (Path(tiny_ref.path) / "tokenizer.json").read_bytes()
    server.end()
    assert left(tmp_path) == []


@proc
def test_a_server_that_ends_before_it_can_be_asked(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(UserError, match=r"exit code 3.*scripted server starts \| no kernel image is available$"):
        made(ref, engine(record, "--broken"), tmp_path / "j")
    assert gone(starts(record)[0]) and left(tmp_path) == []


def test_a_program_that_is_not_there(ref: ModelRef, tmp_path: Path) -> None:
    from dataclasses import replace

    lost = engine(tmp_path / "record")
    lost = replace(lost, command=replace(lost.command, executable="/nowhere/vllm"))
    with pytest.raises(UserError, match=r"/nowhere/vllm: No such file or directory"):
        made(ref, lost, tmp_path / "j")


@proc
def test_a_server_that_is_never_ready(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(UserError, match=r"generation.startup=3: .* at /health within.*scripted server starts"):
        made(ref, engine(record, "--deaf", startup=3.0), tmp_path / "j")
    assert gone(starts(record)[0]) and left(tmp_path) == []


@proc
def test_a_server_that_dies_in_the_middle(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(
        UserError, match=r"what was written is kept; the server ended with exit code 9.*out of patience"
    ):
        made(ref, engine(record, "--dies-after", "4"), tmp_path / "j", count=6)
    assert len(read(tmp_path / "j")) == 4
    assert gone(starts(record)[0]) and left(tmp_path) == []
    assert len(made(ref, engine(record), tmp_path / "j", count=6)) == 6


def test_a_place_that_nobody_knows(ref: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\{gpus\} has a place that is none of \{model\}, \{port\}, \{dtype\}"):
        made(ref, engine(tmp_path / "record", "--gpus={gpus}"), tmp_path / "j")
    assert left(tmp_path) == []


@proc
def test_a_guard_that_was_killed_leaves_its_work_to_us(ref: ModelRef, tmp_path: Path) -> None:
    record = tmp_path / "record"
    made(ref, engine(record), tmp_path / "j")
    server._kept["served"].guard.kill()
    server.end()
    wait_for(lambda: gone(starts(record)[0]), seconds=10)
    assert left(tmp_path) == []


PROGRAM = """
import sys, tempfile
from pathlib import Path
from sdft_exp.models.identity import ModelRef
from tests.unit.generation.test_server import engine, made

folder, how = Path(sys.argv[1]), sys.argv[2]
tempfile.tempdir = str(folder / "tmp")
ref = ModelRef("d", "alpaca", "float32", sys.argv[3], None, False, "cpu", 1)
seconds, count = ("0", 3) if how == "end" else ("0.2", 9999)
made(ref, engine(folder / "record", "--seconds", seconds), folder / "j", count=count)
"""


@proc
@pytest.mark.integration
@pytest.mark.parametrize("how", ["end", "SIGKILL", "SIGINT", "SIGTERM"])
def test_no_end_of_ours_leaves_a_server(ref: ModelRef, tmp_path: Path, how: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), how, ref.path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    if how != "end":
        wait_for(lambda: (tmp_path / "j").exists() and (tmp_path / "j").stat().st_size)
        process.send_signal(signal.Signals[how])
    _, said = process.communicate(timeout=60)
    expected = {"end": 0, "SIGKILL": -9, "SIGINT": -2, "SIGTERM": -15}
    assert process.returncode == expected[how], said
    wait_for(lambda: gone(starts(tmp_path / "record")[0]) and not left(tmp_path), seconds=20)
    assert read(tmp_path / "j")
