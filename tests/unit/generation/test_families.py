"""Every prompt of the paper through the engine, on random tiny Llamas with tokenizers of both families' kinds.

Neither family names a padding token, so that rows are padded on the left with the token that ends an answer.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sdft_exp.config import Sampling
from sdft_exp.data.templates import TEMPLATES
from sdft_exp.generation import Request, generate
from sdft_exp.generation.engines import Hf
from sdft_exp.models.identity import ModelRef
from tests.unit.families import write_llama2, write_llama3, write_model

pytestmark = pytest.mark.integration

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=10, seed=0)
SAMPLED = Sampling(temperature=0.95, top_p=0.7, top_k=50, max_new_tokens=10, seed=0)


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module", params=["llama2", "llama3"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder: Path = tmp_path_factory.mktemp(request.param)
    {"llama2": write_llama2, "llama3": write_llama3}[request.param](folder)
    write_model(folder)
    return ModelRef(
        digest=str(folder),
        prompt_format=request.param,
        dtype="float32",
        path=str(folder),
        revision=None,
        trust_remote_code=False,
        device="cpu",
        threads=1,
    )


def prompts(ref: ModelRef) -> list[Request]:
    """Every template with a short and a long question: lengths that differ, so that rows are padded."""
    from sdft_exp.models.load import load

    _, encoder = load(ref)
    questions = ["1+1?", "Why? " * 12]
    return [
        Request(f"{template}-{number}", tuple(encoder.prompt(template, ref.prompt_format, question, reference="two")))
        for template in TEMPLATES
        for number, question in enumerate(questions)
    ]


def test_left_padding_changes_no_greedy_answer(family: ModelRef, tmp_path: Path) -> None:
    import torch

    from sdft_exp.models.load import load

    model, encoder = load(family)
    requests = prompts(family)
    assert encoder.pad_id in encoder.eos_ids and len({len(request.prompt) for request in requests}) > 8
    together = generate(family, None, requests, GREEDY, Hf(10**6), tmp_path / "together", silent)
    assert generate(family, None, requests, GREEDY, Hf(1), tmp_path / "alone", silent) == together
    for request, done in zip(requests, together, strict=True):
        ids = torch.tensor([request.prompt])  # the library's own, with no padding at all
        own = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10, pad_token_id=encoder.pad_id
        )
        assert done.text == encoder.decode(own[0, len(request.prompt) :].tolist()), request.id
    assert len({done.text for done in together}) > len(requests) // 2


def test_sampled_texts_do_not_depend_on_batch_order_or_a_kill(family: ModelRef, tmp_path: Path) -> None:
    requests = prompts(family)
    alone = generate(family, None, requests, SAMPLED, Hf(1), tmp_path / "alone", silent)
    shuffled = random.Random(0).sample(requests, len(requests))
    together = generate(family, None, shuffled, SAMPLED, Hf(10**6), tmp_path / "together", silent)
    assert {done.id: done for done in together} == {done.id: done for done in alone}
    lines = (tmp_path / "alone").read_bytes().splitlines(keepends=True)
    (tmp_path / "torn").write_bytes(b"".join(lines[:5]) + lines[5][:9])
    assert generate(family, None, requests, SAMPLED, Hf(1500), tmp_path / "torn", silent) == alone
    assert len({done.text for done in alone}) > len(requests) // 2
