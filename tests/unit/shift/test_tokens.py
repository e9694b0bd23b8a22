"""Token shift against a direct computation: all logits of each sequence by itself, softmax and sums in float64."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from transformers.modeling_outputs import BaseModelOutputWithPast  # noqa: E402

from sdft_exp.shift import tokens  # noqa: E402
from sdft_exp.shift.tokens import Pair, Spoken, TokenShift, adapter_pair, token_shift  # noqa: E402

pytestmark = pytest.mark.integration

VOCABULARY = 347  # no multiple of anything
CLOSE = 1e-6
MODULES = ["q_proj", "v_proj"]


def llama(seed: int = 0, **changes: Any) -> Any:
    import transformers

    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**(sizes | changes))).eval()


def wearing(base: Any, targets: Sequence[str] = MODULES, **more: Any) -> Any:
    import peft

    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(targets), init_lora_weights=False, **more)
    torch.manual_seed(1)
    return peft.get_peft_model(base, config).eval()


def spoken(rows: int = 7, longest: int = 40, seed: int = 0) -> list[Spoken]:
    draw = random.Random(seed)

    def some(most: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(VOCABULARY), k=draw.randint(1, most)))

    return [Spoken(some(longest // 3), some(longest)) for _ in range(rows)]


def greedy(model: Any, prompts: Sequence[tuple[int, ...]], length: int) -> list[Spoken]:
    found = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(length):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        found.append(Spoken(prompt, tuple(ids[len(prompt) :])))
    return found


@torch.no_grad()
def directly(base: Any, tuned: Any, one: Spoken, top: int = 10) -> TokenShift:
    """By the definitions, in float64 from the weights on."""
    ids = torch.tensor([one.prompt + one.response])
    start = len(one.prompt) - 1
    p, q = (model.double()(input_ids=ids).logits[0, start:-1].softmax(-1) for model in (base, tuned))
    at = torch.tensor(one.response)[:, None]
    own, tuned_own = p.gather(1, at), q.gather(1, at)
    values = {
        "kl_base_tuned": (p * (p / q).log()).sum(1),
        "kl_tuned_base": (q * (q / p).log()).sum(1),
        "base_probability": own[:, 0],
        "tuned_probability": tuned_own[:, 0],
        "base_rank": (p > own).sum(1) + 1,
        "ties": (p == own).sum(1) - 1,
        "agrees": q.argmax(1) == at[:, 0],
    }
    listed = [
        [list(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        for best in (p.topk(top), q.topk(top))
    ]
    return TokenShift(
        **{name: value.tolist() for name, value in values.items()}, top_base=listed[0], top_tuned=listed[1]
    )


def check(found: TokenShift, expected: TokenShift, tolerance: float = CLOSE) -> None:
    for field in fields(TokenShift):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        if field.name.startswith("top_"):
            assert [[token for token, _ in at] for at in ours] == [[token for token, _ in at] for at in theirs]
            ours, theirs = ([share for at in listed for _, share in at] for listed in (ours, theirs))
        assert ours == pytest.approx(theirs, abs=tolerance, rel=0), field.name


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"targets": [*MODULES, "lm_head"]},
        {"modules_to_save": ["lm_head"]},
        {"targets": ["down_proj"], "modules_to_save": ["embed_tokens"]},
    ],
    ids=["attention", "lora on the output layer", "an output layer of its own", "an input layer of its own"],
)
def test_an_adapter_switched_on_and_off_equals_two_models_in_float64(more: dict[str, Any]) -> None:
    base = llama()
    tuned = wearing(copy.deepcopy(base), **more)
    if "modules_to_save" in more:
        with torch.no_grad():
            for name, weight in tuned.named_parameters():
                if "modules_to_save" in name:
                    weight.add_(torch.randn_like(weight) * 0.05)
    batch = spoken()
    found = token_shift(adapter_pair(tuned), batch, pad_id=0)
    for one, shift in zip(batch, found, strict=True):
        check(shift, directly(base, tuned, one))
    # It did something, and is on again.
    assert max(value for shift in found for value in shift.kl_base_tuned) > 0.01
    assert token_shift(adapter_pair(tuned), batch[:1], pad_id=0)[0].kl_base_tuned != [0.0] * len(batch[0].response)


def test_two_checkpoints_equal_float64() -> None:
    base, tuned = llama(0), llama(1)
    batch = spoken()
    found = token_shift(Pair(base, tuned), batch, pad_id=0)
    assert [len(shift.base_rank) for shift in found] == [len(one.response) for one in batch]
    assert min(value for shift in found for value in shift.kl_base_tuned) > 0.01  # they differ everywhere
    for one, shift in zip(batch, found, strict=True):
        check(shift, directly(copy.deepcopy(base), copy.deepcopy(tuned), one))


def test_in_float64_they_are_equal_to_the_last_digits() -> None:
    base, tuned = llama(0, initializer_range=0.4).double(), llama(1, initializer_range=0.4).double()
    batch = spoken()
    found = token_shift(Pair(base, tuned), batch, pad_id=0)
    assert max(value for shift in found for value in shift.kl_base_tuned) > 5
    for one, shift in zip(batch, found, strict=True):
        check(shift, directly(base, tuned, one), 1e-10)


def test_a_model_has_not_moved_from_itself() -> None:
    model = llama()
    batch = greedy(model, [(1, 5, 9), (3,)], 12)
    for shift in token_shift(Pair(model, model), batch, pad_id=0):
        assert max(*shift.kl_base_tuned, *shift.kl_tuned_base) < 1e-7
        assert shift.base_rank == [1] * 12 and all(shift.agrees)
        assert shift.base_probability == shift.tuned_probability
        assert shift.top_base == shift.top_tuned


def test_the_tuned_models_greedy_tokens_are_its_choices() -> None:
    base = llama()
    tuned = wearing(copy.deepcopy(base))
    batch = greedy(tuned, [(1, 2, 3), (7, 8)], 10)
    for shift in token_shift(adapter_pair(tuned), batch, pad_id=0):
        assert all(shift.agrees)
        assert shift.tuned_probability == [listed[0][1] for listed in shift.top_tuned]


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2", "phi", "cohere", "opt", "mixtral", "gemma3"])
def test_what_a_model_does_to_its_logits_is_done(architecture: str) -> None:
    import transformers

    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 4}

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        if architecture == "gemma2":  # caps logits
            config = transformers.Gemma2Config(
                **sizes, head_dim=8, final_logit_softcapping=5.0, attn_implementation="eager", initializer_range=0.2
            )
            return transformers.Gemma2ForCausalLM(config).eval()
        if architecture == "gpt2":
            return transformers.GPT2LMHeadModel(
                transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)
            ).eval()
        if architecture == "phi":  # its output layer has a bias
            model = transformers.PhiForCausalLM(transformers.PhiConfig(**sizes, initializer_range=0.2)).eval()
            torch.nn.init.normal_(model.lm_head.bias)
            return model
        if architecture == "mixtral":  # its decoder's output tells of its experts too, which its forward reads
            config = transformers.MixtralConfig(
                **sizes, num_local_experts=3, num_experts_per_tok=2, initializer_range=0.2, output_router_logits=True
            )
            config._experts_implementation = "eager"  # the other one does not compute in float64
            return transformers.MixtralForCausalLM(config).eval()
        if architecture == "gemma3":  # its sizes are those of a part, beside one that sees
            seeing = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
            seeing |= {"image_size": 8, "patch_size": 4}
            text = {**sizes, "head_dim": 8, "initializer_range": 0.2, "pad_token_id": 0}
            config = transformers.Gemma3Config(text_config=text, vision_config=seeing, mm_tokens_per_image=4)
            return transformers.Gemma3ForConditionalGeneration(config).eval()
        if architecture == "cohere":  # scales logits
            config = transformers.CohereConfig(**sizes, logit_scale=0.3, initializer_range=0.2, pad_token_id=0)
            return transformers.CohereForCausalLM(config).eval()
        config = transformers.OPTConfig(
            vocab_size=VOCABULARY, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
            word_embed_proj_dim=32, init_std=0.2,
        )  # fmt: skip
        return transformers.OPTForCausalLM(config).eval()

    base, tuned = made(0), made(1)
    batch = spoken(3, longest=20)
    found = token_shift(Pair(base, tuned), batch, pad_id=0)
    assert [len(shift.base_rank) for shift in found] == [len(one.response) for one in batch]
    assert max(value for shift in found for value in shift.kl_base_tuned) > 0.01
    for one, shift in zip(batch, found, strict=True):
        check(shift, directly(copy.deepcopy(base), copy.deepcopy(tuned), one), 1e-5)


def test_the_layout_of_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = adapter_pair(wearing(llama()))
    batch = spoken(9)
    alone = [token_shift(pair, [one], pad_id=0)[0] for one in batch]
    turned = list(reversed(batch))
    for size in (2, 5, 9):
        found = [
            shift for start in range(0, 9, size) for shift in token_shift(pair, turned[start : start + size], pad_id=3)
        ]
        for shift, expected in zip(reversed(found), alone, strict=True):
            check(shift, expected)
    # Chunks of three positions, of which two are compared at once.
    monkeypatch.setattr(tokens, "CHUNK", 3 * VOCABULARY)
    monkeypatch.setattr(tokens, "CPU_BLOCK", 2 * VOCABULARY)
    for shift, expected in zip(token_shift(pair, batch, pad_id=0), alone, strict=True):
        check(shift, expected)


def test_logits_are_computed_a_chunk_at_a_time_on_responses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = llama(0), llama(1)
    monkeypatch.setattr(tokens, "CHUNK", 16 * VOCABULARY)
    seen: list[int] = []
    layers: list[tuple[int, ...]] = []
    for model in (base, tuned):
        model.lm_head.register_forward_hook(lambda layer, inputs, output: seen.append(output.numel() // VOCABULARY))
        model.model.layers[0].register_forward_pre_hook(lambda layer, inputs: layers.append(tuple(inputs[0].shape[:2])))
    batch = spoken(5)
    token_shift(Pair(base, tuned), batch, pad_id=0)
    responses = sum(len(one.response) for one in batch)
    assert max(seen) == 16 and sum(seen) == 2 * responses
    assert layers == [(5, max(len(one.prompt) + len(one.response) for one in batch) - 1)] * 2  # each read once


def most_held(work: Callable[[], object]) -> int:
    """Bytes of tensors that the work holds at most, by torch's own record of what it allocates and frees."""
    with torch.profiler.profile(profile_memory=True) as recorded:
        work()
    changes = [event.nbytes() for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(changes))


def test_memory_does_not_grow_with_response_times_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = 8000
    base = llama(vocab_size=vocabulary, max_position_embeddings=1024)
    pair = adapter_pair(wearing(base))
    monkeypatch.setattr(tokens, "CHUNK", 16 * vocabulary)
    monkeypatch.setattr(tokens, "CPU_BLOCK", 4 * vocabulary)
    held = []
    for length in (200, 800):
        one = Spoken((1, 2, 3), tuple(range(5, 5 + length)))
        ids = torch.tensor([one.prompt + one.response])
        with torch.inference_mode():
            bare = most_held(lambda ids=ids: base(input_ids=ids, use_cache=False))
        assert bare > 4 * length * vocabulary
        held.append(most_held(lambda one=one: token_shift(pair, [one], pad_id=0)))
        assert held[-1] < 0.3 * bare
    assert held[1] - held[0] < 0.05 * 4 * 600 * vocabulary


@pytest.mark.parametrize("width", [5, 100, 128 * 12, 128 * 40 + 17])
def test_the_highest_of_stretches_are_the_highest_of_all(width: int) -> None:
    torch.manual_seed(width)
    logits = torch.stack([torch.randn(width), torch.arange(width) * 1.0, torch.arange(width) * -1.0])
    values, places = tokens._best(logits, 10)
    expected = logits.topk(min(10, width))
    assert torch.equal(values, expected.values) and torch.equal(places, expected.indices)


def test_ties_are_counted_and_share_the_best_rank() -> None:
    logits = torch.tensor([[3.0, 1.0, 3.0, 1.0, 1.0, 0.0]])
    own = [tokens._rank(logits, logits[:, token : token + 1]) for token in range(6)]
    assert [(int(rank), int(ties)) for rank, ties in own] == [(1, 1), (3, 2), (1, 1), (3, 2), (3, 2), (6, 0)]


def test_a_token_that_neither_model_can_say_has_no_part() -> None:
    # e^-0, e^-ln 2 and no chance: 2/3 and 1/3 against 1/2 each.
    none = -math.inf
    base, tuned = torch.tensor([[0.0, -math.log(2), none]] * 2), torch.tensor([[0.0, 0.0, none], [0.0, none, none]])
    found = tokens._compare(base, tuned, torch.tensor([0, 0]), 3)
    kl = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert found[0].tolist() == pytest.approx([kl, math.inf])
    assert found[1].tolist() == pytest.approx([math.log(3 / 4) / 2 + math.log(3 / 2) / 2, math.log(3 / 2)])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("tuned_too", [False, True])
def test_logits_that_are_no_numbers_leave_no_kl(wrong: float, tuned_too: bool) -> None:
    base = torch.zeros(2, 300)
    tuned = base.clone()
    base[1, 200] = wrong
    tuned[1, 200 if tuned_too else 0] = wrong
    for one, other in ((base, tuned), (tuned, torch.zeros(2, 300))):
        found = tokens._compare(one.clone(), other.clone(), torch.tensor([0, 0]), 3)
        assert [column.isnan().tolist() for column in found[:2]] == [[False, True]] * 2


def test_a_token_that_is_not_the_tuned_models_likeliest_is_still_the_one_that_is_looked_at() -> None:
    base, tuned = llama(0), llama(1)
    (right,) = greedy(tuned, [(1, 2, 3)], 4)
    wrong = (right.response[1] + 1) % VOCABULARY
    changed = Spoken(right.prompt, (right.response[0], wrong, *right.response[2:]))
    (shift,) = token_shift(Pair(base, tuned), [changed], pad_id=0)
    assert shift.agrees[:2] == [True, False]
    check(shift, directly(base, tuned, changed))


def test_half_precision_is_compared_in_more() -> None:
    base, tuned = llama(0).bfloat16(), llama(1).bfloat16()
    batch = spoken(3)
    for one, shift in zip(batch, token_shift(Pair(base, tuned), batch, pad_id=0), strict=True):
        ids, start = torch.tensor([one.prompt + one.response]), len(one.prompt) - 1
        with torch.no_grad():
            p, q = (model(input_ids=ids).logits[0, start:-1].double().log_softmax(-1) for model in (base, tuned))
        # The backbone rounds in another company; the comparison itself does not.
        assert shift.kl_base_tuned == pytest.approx((p.exp() * (p - q)).sum(1).tolist(), rel=0.05, abs=0.01)


def test_nothing_to_read_or_say_is_an_error() -> None:
    model = llama()
    for one in (Spoken((), (1,)), Spoken((1,), ())):
        with pytest.raises(ValueError, match="empty"):
            token_shift(Pair(model, model), [one], pad_id=0)


def test_the_decoder_speaks_for_itself_again_after_an_error() -> None:
    model = llama()
    states = tokens._States(torch.zeros(2, 31), BaseModelOutputWithPast)  # of another width
    with pytest.raises(RuntimeError):
        tokens._logits(model, states, slice(None))
    assert "forward" not in vars(model.model)
