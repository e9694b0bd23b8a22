"""Operations, seconds and bytes: worked by hand, and the bytes of training against what torch holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from sdft_exp.models import footprint
from sdft_exp.models.footprint import Gpu
from sdft_exp.models.shape import Shape

TINY = Shape(layers=2, hidden=8, heads=2, kv_heads=1, head_dim=4, intermediate=16, vocabulary=10, tied=False)
LLAMA2_7B = Shape(32, 4096, 32, 32, 128, 11008, 32000, False)
MEASURED = (
    Shape(6, 256, 4, 4, 64, 704, 4000, False),
    Shape(4, 512, 8, 4, 64, 1408, 8000, True),
)


def test_tiny_has_the_weights_that_the_numbers_below_are_worked_from() -> None:
    layer = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8  # q, k and v, o, the MLP's three, two norms
    assert TINY.parameters == 2 * layer + 2 * 10 * 8 + 8 == 1352
    assert TINY.multiplied == 1352 - 80


def test_operations() -> None:
    # Reading 10 tokens in one row: 2 a weight; each token sees 5 others on average, 2 * 8 * 5 for its scores and as
    # many for its values, in 2 layers.
    assert footprint.forward_operations(TINY, 10, 10) == 10 * (2 * 1272 + 2 * (2 * 8 * 5 + 2 * 8 * 5))
    # Training: 2 forward and 2 backward a frozen weight, 6 a trained one, attention thrice.
    assert footprint.lora_operations(TINY, 56, 10, 10) == 10 * (4 * 1272 + 6 * 56 + 3 * 320)
    # Every weight trained: 2 more for its own gradient.
    assert footprint.full_operations(TINY, 10, 10) == 10 * (6 * 1272 + 3 * 320)


def test_a_7b_trains_at_about_four_operations_a_weight() -> None:
    adapter = 4_194_304  # rank 8 on query and value: 32 layers * 2 * 8 * (4096 + 4096)
    assert LLAMA2_7B.adapter(8, ["q_proj", "v_proj"]) == adapter
    per_token = footprint.lora_operations(LLAMA2_7B, adapter, 1, 200)
    assert per_token == 4 * 6_607_343_616 + 6 * adapter + 6 * 32 * 4096 * 200
    assert 4.0 < per_token / 6_607_343_616 < 4.05


def test_writing_seconds() -> None:
    gpu = Gpu(tflops=1e-12 * 1000, bandwidth=1e-12 * 100, training=0.5, decoding=0.25)  # 500 operations, 25 bytes a s
    # 4 requests of 6 tokens and 4 new ones in a budget of 20: batches of 2, so 2 * 4 steps. A step reads the weights in
    # half precision and the cache of 2 rows of 6 + 2 tokens, 2 layers * (key + value) of 4 numbers each.
    cache = 2 * 2 * 4 * 2
    assert footprint.cache_bytes(TINY, "float16") == cache
    expected = footprint.forward_operations(TINY, 24, 6) / 500 + 8 * (1352 * 2 + 2 * 8 * cache) / 25
    assert footprint.writing_seconds(TINY, "float16", gpu, 4, 6, 4, 20) == pytest.approx(expected)


def test_rows_of_a_batch() -> None:
    assert footprint.batch_rows(100, 100.0, 412, 16384) == 32
    assert footprint.batch_rows(5, 100.0, 412, 16384) == 5
    assert footprint.batch_rows(5, 30000.0, 412, 16384) == 1


def test_bytes_of_training_a_7b() -> None:
    # A token and layer, bytes: two norms' inputs in float32, 2 * 4 * 4096; q, k, v and the output in bfloat16,
    # 4 * 2 * 4096, and 32 log-sums in float32; three of the MLP's 11008; inputs of two A's and two B's in float32.
    layer = 2 * 4 * 4096 + 4 * 2 * 4096 + 4 * 32 + 3 * 2 * 11008 + 2 * 4 * 4096 + 2 * 4 * 8
    assert layer == 164_544
    loss = 3 * 4 * 1000 * 32000
    expected = 2 * 6_738_415_616 + 16 * 4_194_304 + 2048 * (32 * layer + 4 * 4096) + loss
    got = footprint.lora_bytes(LLAMA2_7B, "bfloat16", 8, ["q_proj", "v_proj"], 0.0, 2048, 1000)
    assert got == expected
    assert got / 2**30 == pytest.approx(23.0, abs=0.1)


def test_bytes_of_training_every_weight_of_a_7b() -> None:
    weights = 4 * LLAMA2_7B.parameters
    # What frozen layers keep (164,544 less the adapter's 32,832), the projections' inputs in bfloat16, and the normed
    # states twice in float32; the states before the last norm, normed, and before the output layer.
    layer = 131_712 - 64 + 64 + 2 * (2 * 4096 + 11008) + 2 * 4 * 4096
    passing = 2048 * (32 * layer + 3 * 4 * 4096) + 3 * 4 * 1000 * 32000
    assert footprint.kept_by_pass(LLAMA2_7B, "bfloat16", 2048, 1000) == passing
    copies = 2 * LLAMA2_7B.multiplied
    assert footprint.full_bytes(LLAMA2_7B, "bfloat16", 2048, 1000, 2, foreach=True) == max(
        4 * weights + copies + passing, 5 * weights
    )
    # A short pass alone: the roots that AdamW takes all at once are the peak, or two of the largest weight.
    assert footprint.full_bytes(LLAMA2_7B, "float32", 16, 8, 1, foreach=True) == 5 * weights
    largest = 4 * 32000 * 4096
    assert footprint.full_bytes(LLAMA2_7B, "float32", 16, 8, 1, foreach=False) == 4 * weights + 2 * largest


def test_bytes_under_zero() -> None:
    parts, bucket, passing = LLAMA2_7B.parameters, 50_000_000, 7
    moving = 2 * bucket

    def told(stage: int, processes: int, offload: bool = False) -> tuple[int, int]:
        return footprint.zero_bytes(LLAMA2_7B, "bfloat16", parts, stage, processes, offload, passing, bucket)

    # Copy, two moments and gradients in float32 are 16 bytes a parameter over the processes; the flat vector for the
    # step 4 more, which outweighs so short a pass.
    assert told(2, 4) == (2 * parts + 5 * parts + moving, 0)
    assert told(3, 4) == (parts // 2 + 5 * parts + moving, 0)
    assert told(1, 4) == (4 * parts + 5 * parts + moving, 0)
    passing = 2 * parts
    assert told(2, 4) == (2 * parts + 4 * parts + moving + passing, 0)
    layer = 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    assert told(3, 1, offload=True) == (layer + moving + passing, 22 * parts)


def test_bytes_of_writing_with_a_7b() -> None:
    weights, cache = 2 * 6_738_415_616, 2 * 32 * 4096 * 2
    # 24 rows of 100 + 512 tokens: the prompts' MLPs outweigh the logits.
    passing = 24 * 100 * (3 * 2 * 11008 + 2 * 4 * 4096)
    got = footprint.writing_bytes(LLAMA2_7B, "float16", 1000, 24, 100, 512, 16384)
    assert got == weights + 4000 + 24 * 612 * cache + passing
    # 600 rows of 2 + 2: the logits, in half precision and four times in float32.
    got = footprint.writing_bytes(LLAMA2_7B, "float16", 0, 600, 2, 2, 16384)
    assert got == weights + 600 * 4 * cache + 600 * 32000 * (2 + 16)


def test_bytes_of_comparing() -> None:
    assert footprint.comparing_bytes(TINY, "float32", 0, 8, 5) == 1352 * 4 + 2 * 8 * 5 * 10 * 4


CHILD = """
import json, re, sys
import torch, transformers
from sdft_exp.models.adapter import with_adapter
from sdft_exp.models.shape import Shape
from sdft_exp.training.loss import response_loss
from sdft_exp.training.settings import Lora

torch.set_num_threads(1)

def memory(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])

def train(shape, full):
    settings = transformers.LlamaConfig(
        num_hidden_layers=shape.layers, hidden_size=shape.hidden, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary, tie_word_embeddings=shape.tied,
    )
    base = transformers.AutoModelForCausalLM.from_config(settings)
    model = base.train() if full else with_adapter(base, Lora(8, 16.0, 0.0, TARGETS), 0).train()
    optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad])
    ids = torch.randint(shape.vocabulary, (8, 256))
    labels = ids.clone()
    labels[:, :128] = -100
    for step in range(2):  # the second finds AdamW's moments there
        for _ in range(full or 1):
            response_loss(model, ids, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

TARGETS = ("q_proj", "v_proj")
train(Shape(1, 64, 2, 2, 32, 128, 100, False), 0)  # what torch itself takes at first use
peaks = []
for said in json.loads(sys.argv[1]):
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
    train(Shape(**said), int(sys.argv[2]))
    peaks.append(memory("VmHWM") - before)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's to tell")
@pytest.mark.parametrize("passes", [0, 1, 2], ids=["lora", "full", "full, two passes a step"])
def test_bytes_of_training_are_those_that_torch_holds(passes: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([asdict(shape) for shape in MEASURED]), str(passes)],
        # Each tensor in pages of its own, given back when it goes: else the peak is the allocator's.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    for shape, peak in zip(MEASURED, json.loads(ended.stdout), strict=True):
        told = footprint.lora_bytes(shape, "float32", 8, ["q_proj", "v_proj"], 0.0, 8 * 256, 8 * 128)
        if passes:
            told = footprint.full_bytes(shape, "float32", 8 * 256, 8 * 128, passes, foreach=False)
        assert told == pytest.approx(peak, rel=0.1)
