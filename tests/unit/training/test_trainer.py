from __future__ import annotations

import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdft_exp.data.encode import IGNORED, Example
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.stopping import Stopped, listen
from sdft_exp.training.schedule import plan_steps
from sdft_exp.training.settings import Lora, Optimisation

pytestmark = pytest.mark.integration

LORA = Lora(rank=4, alpha=8.0, dropout=0.0, targets=("q_proj", "v_proj"))
SETTINGS = Optimisation(
    seed=0,
    epochs=2,
    batch_size=4,
    learning_rate=1e-2,
    scheduler="cosine",
    warmup_ratio=0.0,
    weight_decay=0.01,
    max_grad_norm=1.0,
)


def silent(done: int, total: int, what: str) -> None:
    pass


def examples(count: int = 18) -> list[Example]:
    draw = random.Random(0)
    made = []
    for _ in range(count):
        prompt = draw.choices(range(3, 90), k=draw.randrange(2, 25))
        answer = draw.choices(range(3, 90), k=draw.randrange(1, 20))
        made.append(Example(prompt + answer, [IGNORED] * len(prompt) + answer, truncated=False))
    return made


def base():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(7)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=90,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.3,
        )
    )


def train(folder: Path, lora=LORA, settings=SETTINGS, tokens=2048, checkpoint_steps=3, progress=silent):
    from sdft_exp.training.trainer import tune

    model = trainable(lora, settings)
    curve = tune(model, examples(), 0, settings, tokens, checkpoint_steps, folder, progress)
    weights = {name: part.detach().clone() for name, part in model.named_parameters() if part.requires_grad}
    return curve, weights


def trainable(lora: Lora | None, settings: Optimisation):
    from sdft_exp.models.adapter import with_adapter

    return base() if lora is None else with_adapter(base(), lora, settings.seed)


def same_bits(one, other) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def reference(settings: Optimisation, lora: Lora | None, rate):
    """Row by row on full logits, torch's own AdamW and clipping, the schedule by its formula."""
    import torch
    from torch.nn.functional import cross_entropy

    model = trainable(lora, settings).train()
    parts = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(parts, lr=1.0, weight_decay=settings.weight_decay)
    rows = examples()
    steps = plan_steps(len(rows), settings.epochs, settings.batch_size, settings.seed)
    curve = []
    for number, step in enumerate(steps):
        tokens = sum(rows[row].supervised for row in step)
        total = 0.0
        optimizer.zero_grad()
        for row in step:
            logits = model(input_ids=torch.tensor([rows[row].input_ids])).logits[0, :-1]
            loss = cross_entropy(logits, torch.tensor(rows[row].labels[1:]), reduction="sum") / tokens
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parts, settings.max_grad_norm).item()
        optimizer.param_groups[0]["lr"] = rate(number, len(steps))
        optimizer.step()
        curve.append((total, norm, rate(number, len(steps)), tokens))
    return curve, {name: part.detach() for name, part in model.named_parameters() if part.requires_grad}


def cosine(step: int, steps: int) -> float:
    return 1e-2 * 0.5 * (1 + math.cos(math.pi * step / steps))


def linear_after_warmup(step: int, steps: int) -> float:
    warm = math.ceil(0.25 * steps)
    return 1e-2 * (step / warm if step < warm else (steps - step) / (steps - warm))


def constant_after_warmup(step: int, steps: int) -> float:
    return 1e-2 * min(1.0, step / math.ceil(0.25 * steps))


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize(
    "changes, rate",
    [
        ({}, cosine),
        ({"scheduler": "linear", "warmup_ratio": 0.25}, linear_after_warmup),
        ({"scheduler": "constant", "warmup_ratio": 0.25}, constant_after_warmup),
        ({"scheduler": "constant", "max_grad_norm": 0.05, "epochs": 1.2}, lambda step, steps: 1e-2),
    ],
    ids=["cosine", "linear", "constant with warmup", "clipped, part of an epoch"],
)
def test_equal_to_a_loop_written_by_hand(tmp_path, changes, rate, lora):
    settings = dataclasses.replace(SETTINGS, **({} if lora else {"weight_decay": 0.0}) | changes)
    curve, weights = train(tmp_path, lora=lora, settings=settings, tokens=60)
    expected, expected_weights = reference(settings, lora, rate)
    assert [line["step"] for line in curve] == list(range(1, len(expected) + 1))
    for line, (loss, norm, learning_rate, tokens) in zip(curve, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=2e-5)
        assert line["grad_norm"] == pytest.approx(norm, rel=2e-4)
        assert line["learning_rate"] == pytest.approx(learning_rate, abs=1e-12)
        assert line["tokens"] == tokens
    for name, part in weights.items():
        assert (part - expected_weights[name]).abs().max() < 1e-5, name


def test_layout_changes_no_number_beyond_rounding(tmp_path):
    one_pass, together = train(tmp_path / "one", tokens=10**6)
    for tokens in (1, 60):
        curve, weights = train(tmp_path / str(tokens), tokens=tokens)
        # Rounding grows over the steps; the first has none to build on.
        assert curve[0]["loss"] == pytest.approx(one_pass[0]["loss"], rel=1e-6)
        assert curve[0]["grad_norm"] == pytest.approx(one_pass[0]["grad_norm"], rel=1e-6)
        assert [line["loss"] for line in curve] == pytest.approx([line["loss"] for line in one_pass], rel=1e-5)
        assert all((weights[name] - together[name]).abs().max() < 1e-5 for name in weights)


def test_the_same_twice_and_another_by_another_seed(tmp_path):
    curve, weights = train(tmp_path / "a")
    again, weights_again = train(tmp_path / "b")
    assert curve == again and same_bits(weights, weights_again)
    other, _ = train(tmp_path / "c", settings=dataclasses.replace(SETTINGS, seed=1))
    assert other[0]["loss"] != curve[0]["loss"]


def noise_of(model, folder: Path, settings: Optimisation):
    """(noise, its bound) of each forward pass of a training: what the first layer reads, less what was looked up."""
    from sdft_exp.training.trainer import tune

    looked_up, passes = [], []
    inner = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    before = inner.embed_tokens.register_forward_hook(lambda module, given, out: looked_up.append(out.detach().clone()))

    def read(module, given, named):
        states = given[0] if given else named["hidden_states"]
        noise = states.detach() - looked_up.pop()
        passes.append((noise, (settings.neftune_alpha or 0.0) / math.sqrt(noise.shape[1] * noise.shape[2])))

    reader = inner.layers[0].register_forward_pre_hook(read, with_kwargs=True)
    tune(model, examples(), 0, settings, 60, 50, folder, silent)
    trained = list(passes)
    passes.clear()
    import torch

    for mode in (model.train, model.eval):  # nothing is left of it, whatever the model is used for
        mode()
        model(input_ids=torch.tensor([[3, 4, 5]]))
    assert all(noise.abs().max() == 0 for noise, _ in passes)
    before.remove()
    reader.remove()
    return trained


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_noise_on_embeddings_is_uniform_within_its_bound_and_in_training_alone(tmp_path, lora):
    import torch

    noisy = dataclasses.replace(SETTINGS, neftune_alpha=5.0)
    passes = noise_of(trainable(lora, noisy), tmp_path / "noisy", noisy)
    assert len({noise.shape for noise, _ in passes}) > 5  # whatever the layout
    scaled = torch.cat([(noise / bound).flatten() for noise, bound in passes])
    assert scaled.abs().max() <= 1 + 1e-5 and scaled.abs().max() > 0.999
    shares = torch.histc(scaled, 10, -1, 1) / len(scaled)
    assert len(scaled) > 10_000 and (shares - 0.1).abs().max() < 0.01
    again = noise_of(trainable(lora, noisy), tmp_path / "again", noisy)
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(passes, again, strict=True))
    other = dataclasses.replace(noisy, seed=1)
    assert not torch.equal(noise_of(trainable(lora, other), tmp_path / "other", other)[0][0], passes[0][0])
    assert all(noise.abs().max() == 0 for noise, _ in noise_of(trainable(lora, SETTINGS), tmp_path / "none", SETTINGS))


def test_noise_makes_another_training(tmp_path):
    _, weights = train(tmp_path / "without")
    _, noisy = train(tmp_path / "with", settings=dataclasses.replace(SETTINGS, neftune_alpha=5.0))
    assert not same_bits(weights, noisy)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_trainer
def die(done, total, what):
    if done == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
lora = {lora}
lora = lora and replace(test_trainer.LORA, dropout=lora["dropout"])
settings = replace(test_trainer.SETTINGS, neftune_alpha={alpha})
test_trainer.train(Path({folder!r}), lora=lora, settings=settings, progress=die)
"""


@pytest.mark.parametrize(
    ("told", "alpha"),
    [
        pytest.param({"dropout": 0.0}, None, id="lora", marks=pytest.mark.slow),
        pytest.param({"dropout": 0.3}, 5.0, id="dropout and noise"),
        pytest.param(None, None, id="full", marks=pytest.mark.slow),
        pytest.param(None, 5.0, id="full with noise", marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_ends_in_the_same_bits(tmp_path, told, alpha):
    lora = told and dataclasses.replace(LORA, **told)
    settings = dataclasses.replace(SETTINGS, neftune_alpha=alpha)
    curve, weights = train(tmp_path / "whole", lora=lora, settings=settings)
    assert len(curve) == 10
    killed = tmp_path / "killed"
    # Steps 3, 6 and 9 leave checkpoints: killed after the first, then before the third is written.
    for step, last in ((5, 3), (9, 6)):
        script = KILLED.format(tests=str(Path(__file__).parent), step=step, lora=told, alpha=alpha, folder=str(killed))
        ended = subprocess.run([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert [path.name for path in killed.iterdir()] == [f"checkpoint-{last}"]
    resumed_curve, resumed = train(killed, lora=lora, settings=settings)
    assert resumed_curve == curve
    assert same_bits(resumed, weights)


@pytest.mark.usefixtures("listening")
def test_a_training_that_is_asked_to_stop_goes_on_from_that_step(tmp_path):
    """As often as it takes: at steps 2, 4, 6 and at the last one, none of which leaves a checkpoint by itself."""
    curve, weights = train(tmp_path / "whole", checkpoint_steps=50)
    begun = []
    for step in (2, 4, 6, 10):
        told = []

        def ask(done, total, what, step=step, told=told):
            told.append(done)
            if done == step:
                os.kill(os.getpid(), signal.SIGUSR2)

        listen()
        with pytest.raises(Stopped):
            train(tmp_path / "stopped", checkpoint_steps=50, progress=ask)
        assert [path.name for path in (tmp_path / "stopped").iterdir()] == [f"checkpoint-{step}"]
        begun.append(told[0])
    assert begun == [1, 3, 5, 7]
    listen()
    resumed_curve, resumed = train(tmp_path / "stopped", checkpoint_steps=50)
    assert resumed_curve == curve
    assert same_bits(resumed, weights)


def test_a_checkpoint_without_its_optimizer_is_not_resumed_from(tmp_path):
    curve, weights = train(tmp_path / "whole")
    stopped = tmp_path / "stopped"

    class Stop(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        train(stopped, progress=stop)
    (stopped / "checkpoint-3" / "optimizer.pt").unlink()
    told = []
    resumed_curve, resumed = train(stopped, progress=lambda done, total, what: told.append(done))
    assert told[0] == 1  # from the start
    assert resumed_curve == curve and same_bits(resumed, weights)


def test_a_finished_training_is_not_trained_again(tmp_path):
    curve, weights = train(tmp_path)
    told = []
    again, weights_again = train(tmp_path, progress=lambda *step: told.append(step))
    assert told == [] and again == curve and same_bits(weights, weights_again)


def test_a_process_that_sees_several_gpus_trains_as_one_that_sees_one(tmp_path, monkeypatch):
    import torch

    expected = train(tmp_path / "one")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = train(tmp_path / "two")
    assert found[0] == expected[0] and same_bits(found[1], expected[1])


def test_the_base_stays_as_it_was(tmp_path):
    import torch

    from sdft_exp.models.adapter import with_adapter
    from sdft_exp.training.trainer import tune

    untouched = base().state_dict()
    model = with_adapter(base(), LORA, 0)
    tune(model, examples(), 0, SETTINGS, 2048, 50, tmp_path, silent)
    trained = model.unload().state_dict()
    assert all(torch.equal(part, trained[name]) for name, part in untouched.items())


def test_nothing_is_printed(tmp_path, capfd):
    train(tmp_path)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_diverged_training_is_one_line_that_names_the_key(tmp_path):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30)
    with pytest.raises(UserError, match=r"no longer finite at step \d+; lower tuning.learning_rate=1e\+30"):
        train(tmp_path, settings=settings)


def test_targets_that_the_model_lacks_are_an_error_that_names_those_it_has():
    from sdft_exp.models.adapter import with_adapter

    with pytest.raises(ConfigError, match=r"tuning.targets=\['c_attn'\].*it has .*q_proj") as error:
        with_adapter(base(), dataclasses.replace(LORA, targets=("c_attn",)), 0)
    assert "\n" not in str(error.value)
