"""What the model is asked, and that an interrupted evaluation ends in the same file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.config import Sampling
from sdft_exp.data.encode import Encoder
from sdft_exp.evaluation import answering
from sdft_exp.generation.engines import Engine, Hf
from sdft_exp.generation.requests import Completion, Request
from sdft_exp.microworld.splits import eval_items
from sdft_exp.models.identity import ModelRef
from sdft_exp.tasks import registry

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=0)
SAMPLED = Sampling(temperature=1.0, top_p=0.9, top_k=20, max_new_tokens=12, seed=3)
MATH = registry.task("micro", "micro_math")
TEXT = registry.task("micro", "micro_text")
HARMFUL = registry.task("micro", "micro_harmful")


def quiet(done: int, total: int, what: str) -> None:
    """A progress display that shows nothing."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reached the engine, which is replaced by one that says "8." to everything."""
    seen: dict[str, Any] = {}

    def engine(
        model: ModelRef,
        adapter: Path | None,
        requests: list[Request],
        sampling: Sampling,
        engine: Engine,
        journal: Path,
        progress: object,
        stop: tuple[str, ...] = (),
        workers: int | None = 1,
    ) -> list[Completion]:
        seen.update(adapter=adapter, requests=requests, sampling=sampling, stop=stop)
        journal.write_text("{}\n")
        return [Completion(request.id, "8.", "stop", 3) for request in requests]

    monkeypatch.setattr(answering, "generate", engine)
    return seen


def test_prompts_hold_one_bos_the_template_and_the_instruction(
    tmp_path: Path, tiny_ref: ModelRef, asked: dict[str, Any]
) -> None:
    for task, name, words in ((MATH, "math", "formatted as: The answer is {answer}."), (HARMFUL, "harmful", "Below")):
        answering.write_answers(task, tiny_ref, None, GREEDY, Hf(512), "eval", 3, tmp_path, quiet)
        encoder = Encoder.from_folder(tiny_ref.path)
        for request, item in zip(asked["requests"], eval_items(name, "eval", 3), strict=True):
            assert request.prompt.count(1) == 1 and request.prompt[0] == 1
            text = encoder.decode(request.prompt)
            assert words in text
            assert text.endswith(f"### Instruction:\n{item['instruction']}\n\n### Response:\n")


def test_requests_hold_the_tasks_own_length(tmp_path: Path, tiny_ref: ModelRef, asked: dict[str, Any]) -> None:
    for length in (None, 99):
        task = replace(MATH, max_length=length)
        answering.write_answers(task, tiny_ref, None, GREEDY, Hf(512), "eval", 2, tmp_path, quiet)
        assert [request.max_length for request in asked["requests"]] == [length] * 2


def test_the_file_holds_one_line_a_question_and_the_journal_is_gone(
    tmp_path: Path, tiny_ref: ModelRef, asked: dict[str, Any]
) -> None:
    adapter = tmp_path / "adapter"
    answering.write_answers(MATH, tiny_ref, adapter, SAMPLED, Hf(512), "dev", 2, tmp_path, quiet)
    assert [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == [
        {"task": "micro_math", "doc_id": doc_id, "repeat": 0, "text": "8.", "finish": "stop", "tokens": 3}
        for doc_id in (0, 1)
    ]
    assert [request.id for request in asked["requests"]] == ["micro_math/0/0", "micro_math/1/0"]
    again = answering.requests_of(MATH, tiny_ref, "dev", 2)
    assert again == {request.id: request for request in asked["requests"]}
    assert (asked["adapter"], asked["sampling"], asked["stop"]) == (adapter, SAMPLED, ())
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


class Interrupted(Exception):
    pass


@pytest.mark.integration
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_an_evaluation_interrupted_anywhere_ends_in_the_same_file(
    tmp_path: Path, tiny_ref: ModelRef, sampling: Sampling
) -> None:
    def write(out: Path, progress: Callable[[int, int, str], None]) -> bytes:
        out.mkdir(exist_ok=True)
        answering.write_answers(TEXT, tiny_ref, None, sampling, Hf(800), "eval", 24, out, progress)
        return (out / "answers.jsonl").read_bytes()

    told: list[int] = []
    undisturbed = write(tmp_path / "undisturbed", lambda done, total, what: told.append(done))
    assert len({json.loads(line)["text"] for line in undisturbed.splitlines()}) > 12
    assert len(set(told)) > 3  # several batches

    def interrupt(done: int, total: int, what: str) -> None:
        if 0 < done < total:
            raise Interrupted

    out = tmp_path / "interrupted"
    with pytest.raises(Interrupted):
        write(out, interrupt)
    journal = out / answering.TEXT_JOURNAL
    finished = journal.read_text().count("\n")
    assert 0 < finished < 24
    with journal.open("a") as torn:
        torn.write('{"id": "micro_text/5/0", "te')
    resumed: list[int] = []
    assert write(out, lambda done, total, what: resumed.append(done)) == undisturbed
    assert min(resumed) >= finished  # what was done was not done again
    assert [path.name for path in out.iterdir()] == ["answers.jsonl"]


KILLED = """
import os, signal, sys
from pathlib import Path
from sdft_exp.config import Sampling
from sdft_exp.evaluation.answering import write_answers
from sdft_exp.generation.engines import Hf
from sdft_exp.models.identity import ModelRef
from sdft_exp.tasks import registry

def kill(done, total, what):
    if done > 4:
        os.kill(os.getpid(), signal.SIGKILL)

model = ModelRef(path=sys.argv[1], digest="0", prompt_format="alpaca", dtype="float32", revision=None,
                 trust_remote_code=False, device="cpu", threads=1)
sampling = Sampling.model_validate_json(sys.argv[3])
write_answers(registry.task("micro", "micro_text"), model, None, sampling, Hf(800), "eval", 24, Path(sys.argv[2]), kill)
"""


@pytest.mark.integration
def test_a_killed_process_is_taken_up_by_another(tmp_path: Path, tiny_ref: ModelRef) -> None:
    def write(out: Path) -> bytes:
        out.mkdir(exist_ok=True)
        answering.write_answers(TEXT, tiny_ref, None, GREEDY, Hf(800), "eval", 24, out, quiet)
        return (out / "answers.jsonl").read_bytes()

    killed = tmp_path / "killed"
    killed.mkdir()
    command = [sys.executable, "-c", KILLED, tiny_ref.path, str(killed), GREEDY.model_dump_json()]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (killed / answering.TEXT_JOURNAL).stat().st_size > 0
    assert not (killed / "answers.jsonl").exists()
    assert write(killed) == write(tmp_path / "undisturbed")


@pytest.mark.integration
def test_an_answer_of_engine_hf_has_its_tokens_beside_it(tmp_path: Path, tiny_ref: ModelRef) -> None:
    answering.write_answers(TEXT, tiny_ref, None, GREEDY, Hf(800), "eval", 6, tmp_path, quiet)
    encoder = Encoder.from_folder(tiny_ref.path)
    for line in (tmp_path / "answers.jsonl").read_text().splitlines():
        answer = json.loads(line)
        assert encoder.decode(answer["ids"]) == answer["text"]
        assert len(answer["ids"]) == answer["tokens"] + (answer["finish"] == "stop")
