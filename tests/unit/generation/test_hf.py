from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from sdft_exp.config import Sampling
from sdft_exp.data.encode import load_encoder
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.generation import Request, generate
from sdft_exp.generation.engines import Hf

pytestmark = pytest.mark.integration

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=0)
SAMPLED = Sampling(temperature=0.95, top_p=0.7, top_k=50, max_new_tokens=12, seed=0)


def silent(done: int, total: int, what: str) -> None:
    pass


def prompts(count: int) -> list[Request]:
    draw = random.Random(0)
    return [Request(f"row-{i}", (1, *draw.choices(range(3, 300), k=draw.randrange(1, 40)))) for i in range(count)]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_batch_size_and_order_change_no_text(tiny_ref, tmp_path, sampling):
    requests = prompts(24)
    alone = generate(tiny_ref, None, requests, sampling, Hf(1), tmp_path / "alone", silent)
    shuffled = random.Random(1).sample(requests, len(requests))
    together = generate(tiny_ref, None, shuffled, sampling, Hf(10**6), tmp_path / "together", silent)
    assert [done.id for done in together] == [request.id for request in shuffled]
    assert {done.id: done for done in together} == {done.id: done for done in alone}
    assert len({done.text for done in alone}) > 12


def test_greedy_is_the_models_own_generate(tiny_ref, tmp_path):
    import torch

    from sdft_exp.models.load import load

    model, encoder = load(tiny_ref)
    requests = prompts(8)
    for request, done in zip(
        requests, generate(tiny_ref, None, requests, GREEDY, Hf(300), tmp_path / "j", silent), strict=True
    ):
        ids = torch.tensor([request.prompt])
        own = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert done.text == encoder.decode(own[0, len(request.prompt) :].tolist())
        assert done.ids == tuple(own[0, len(request.prompt) :].tolist())


def test_the_models_own_decoding_settings_are_not_taken(tiny_ref, tmp_path):
    from sdft_exp.models.load import load

    requests = prompts(4)
    plain = generate(tiny_ref, None, requests, GREEDY, Hf(300), tmp_path / "plain", silent)
    model, _ = load(tiny_ref)
    own = model.generation_config.to_dict()
    model.generation_config.update(do_sample=True, temperature=0.6, repetition_penalty=5.0, max_length=20)
    try:
        assert generate(tiny_ref, None, requests, GREEDY, Hf(300), tmp_path / "penalised", silent) == plain
    finally:
        model.generation_config.update(**own)


def test_an_adapter_writes_its_own_texts_and_leaves_the_seed_lms(tiny_ref, tmp_path):
    import torch

    from sdft_exp.models.adapter import save_adapter, with_adapter
    from sdft_exp.models.load import read_model
    from sdft_exp.training.settings import Lora

    tuned = with_adapter(read_model(tiny_ref), Lora(2, 8.0, 0.0, ("v_proj",)), seed=0)
    with torch.no_grad():
        for name, part in tuned.named_parameters():
            if "lora_B" in name:
                part.normal_()
    save_adapter(tuned, tmp_path / "adapter", "tiny")
    requests = prompts(6)
    before = generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "before", silent)
    adapted = generate(tiny_ref, tmp_path / "adapter", requests, GREEDY, Hf(1000), tmp_path / "adapted", silent)
    assert generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "after", silent) == before
    assert all(one.text != other.text for one, other in zip(adapted, before, strict=True))


def test_another_seed_draws_other_texts(tiny_ref, tmp_path):
    requests = prompts(6)
    first = generate(tiny_ref, None, requests, SAMPLED, Hf(1000), tmp_path / "0", silent)
    other = SAMPLED.model_copy(update={"seed": 1})
    second = generate(tiny_ref, None, requests, other, Hf(1000), tmp_path / "1", silent)
    assert all(a.text != b.text for a, b in zip(first, second, strict=True))


def test_a_killed_generation_goes_on_to_the_same_texts(tiny_ref, tmp_path):
    requests = prompts(12)
    whole = generate(tiny_ref, None, requests, SAMPLED, Hf(120), tmp_path / "whole", silent)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for cut in (0, 1, 5, 11):
        torn = tmp_path / f"torn-{cut}"
        torn.write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
        assert generate(tiny_ref, None, requests, SAMPLED, Hf(120), torn, silent) == whole


def test_a_full_journal_loads_no_model(tiny_ref, tmp_path):
    requests = prompts(3)
    whole = generate(tiny_ref, None, requests, GREEDY, Hf(120), tmp_path / "j", silent)
    gone = replace(tiny_ref, path="/nowhere", digest="gone")
    assert generate(gone, None, requests, GREEDY, Hf(120), tmp_path / "j", silent) == whole


def test_finish_and_tokens_at_an_end_token(tiny_ref, tmp_path):
    from sdft_exp.models.load import load

    requests = prompts(8)
    free = generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "free", silent)
    assert {(done.finish, done.tokens) for done in free if done.finish == "length"} == {("length", 12)}
    # Make the fourth new token of one text an end token: several are honoured, as Llama 3 has them.
    model, encoder = load(tiny_ref)
    import torch

    ids = torch.tensor([requests[0].prompt])
    new = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)[
        0, ids.shape[1] :
    ]
    end = new[3].item()
    assert end not in new[:3].tolist()
    encoder.eos_ids.append(end)
    try:
        ended = generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "ended", silent)[0]
    finally:
        encoder.eos_ids.remove(end)
    assert (ended.finish, ended.tokens, ended.text) == ("stop", 3, encoder.decode(new[:3].tolist()))
    assert ended.ids == tuple(new[:4].tolist())  # with its end token


def test_stop_strings_end_a_text_early_and_are_cut_off(tiny_ref, tmp_path):
    encoder = load_encoder(tiny_ref.path)
    requests = prompts(8)
    free = generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "free", silent)
    string = next(done.text[4:6] for done in free if len(done.text) > 8)
    stopped = generate(tiny_ref, None, requests, GREEDY, Hf(1000), tmp_path / "stopped", silent, stop=("never", string))
    for before, after in zip(free, stopped, strict=True):
        assert after.text == before.text.split(string)[0]
        if string in before.text:
            assert after.finish == "stop" and after.tokens <= before.tokens
            # As many of the tokens as lie before the string.
            assert after.ids == before.ids[: len(after.ids)]
            decoded = [encoder.decode(before.ids[:count]) for count in (len(after.ids), len(after.ids) + 1)]
            assert after.text.startswith(decoded[0]) and len(decoded[1]) > len(after.text)
        else:
            assert after == before
    assert any(after.tokens < before.tokens for before, after in zip(free, stopped, strict=True))


def test_a_prompt_longer_than_the_context_keeps_its_bos_and_its_end(tiny_ref, tmp_path):
    long = (1, *range(3, 303))
    room = 256 - 12
    kept = (1, *long[-(room - 1) :])
    cut, whole = generate(
        tiny_ref, None, [Request("a", long), Request("b", kept)], GREEDY, Hf(10**5), tmp_path / "j", silent
    )
    assert (cut.text, cut.tokens, cut.cut) == (whole.text, whole.tokens, len(long) - room)
    assert whole.cut == 0


def test_a_length_of_prompt_and_answer_together_bounds_each_answer_by_itself(tiny_ref, tmp_path):
    free = prompts(12)
    whole = generate(tiny_ref, None, free, GREEDY, Hf(10**5), tmp_path / "whole", silent)
    bounded = [replace(request, max_length=45) for request in free]
    alone = generate(tiny_ref, None, bounded, GREEDY, Hf(1), tmp_path / "alone", silent)
    assert generate(tiny_ref, None, bounded, GREEDY, Hf(10**5), tmp_path / "together", silent) == alone
    assert [done.tokens for done in alone] == [
        min(done.tokens, 45 - len(request.prompt)) for request, done in zip(free, whole, strict=True)
    ]
    assert {done.tokens < 12 for done in alone} == {True, False}
    for done, longer in zip(alone, whole, strict=True):
        assert done == longer or (done.finish == "length" and longer.text.startswith(done.text.rstrip("\ufffd")))


def test_the_context_bounds_the_length_of_prompt_and_answer(tiny_ref, tmp_path):
    long = (1, *range(3, 303))

    def write(prompt, new_tokens, max_length):
        sampling = GREEDY.model_copy(update={"max_new_tokens": new_tokens})
        journal = tmp_path / f"{len(prompt)}-{new_tokens}"
        return generate(tiny_ref, None, [Request("a", prompt, max_length)], sampling, Hf(10**5), journal, silent)[0]

    assert write(long[:251], 2048, 2048) == write(long[:251], 5, None)  # the model reads 256 tokens
    cut = write(long, 2048, 2048)
    assert cut == replace(write((1, *long[-254:]), 1, None), cut=len(long) - 255)


def test_no_room_for_new_tokens_is_an_error_that_names_the_key(tiny_ref, tmp_path):
    endless = GREEDY.model_copy(update={"max_new_tokens": 256})
    with pytest.raises(ConfigError, match=r"max_new_tokens=256.*256 tokens in all"):
        generate(tiny_ref, None, prompts(1), endless, Hf(1000), tmp_path / "j", silent)


def test_out_of_memory_halves_the_batches(tiny_ref, tmp_path, monkeypatch):
    import torch

    from sdft_exp.generation import hf

    requests = prompts(20)
    whole = generate(tiny_ref, None, requests, SAMPLED, Hf(10**6), tmp_path / "whole", silent)
    real, sizes = hf._complete, []

    def tight(model, encoder, batch, *others):
        sizes.append(len(batch))
        if len(batch) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return real(model, encoder, batch, *others)

    monkeypatch.setattr(hf, "_complete", tight)
    assert generate(tiny_ref, None, requests, SAMPLED, Hf(10**6), tmp_path / "tight", silent) == whole
    assert sizes == [20, 10, 5, 5, 5, 5]


def test_a_prompt_that_no_memory_holds_is_one_line(tiny_ref, tmp_path, monkeypatch):
    import torch

    from sdft_exp.generation import hf

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(hf, "_complete", never)
    with pytest.raises(UserError, match="out of memory at one prompt"):
        generate(tiny_ref, None, prompts(3), GREEDY, Hf(10**6), tmp_path / "j", silent)


def test_progress_counts_prompts(tiny_ref, tmp_path):
    told = []
    generate(
        tiny_ref,
        None,
        prompts(6),
        GREEDY,
        Hf(60),
        tmp_path / "j",
        lambda done, total, what: told.append((done, total, what)),
    )
    assert told[0] == (0, 6, "prompts") and told[-1] == (6, 6, "prompts")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_the_journal_is_in_the_form_of_the_contract(tiny_ref, tmp_path):
    generate(tiny_ref, None, prompts(2), GREEDY, Hf(60), tmp_path / "j", silent)
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert {tuple(line) for line in lines} == {("id", "text", "finish", "tokens", "cut", "ids")}
