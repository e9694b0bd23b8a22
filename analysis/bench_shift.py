"""The part of `analysis.bench` that compares two models' next tokens, against bare forward passes over the same ones.

Vocabulary and length are those of a real model's longest answers. Memory is what a process of its own holds at most
above its loaded models, once each part of torch that is used has been loaded too.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from analysis.bench import ROOT, Measure, paired

VOCABULARY, PROMPT, RESPONSE = 32_000, 128, 2_048
SLOWEST = 1 / 0.8  # at least 0.8 times the speed of two bare passes
MOST_MEMORY = 1.3
MOST_ROUNDS = 3  # of memory, which varies little
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK = "5"  # what makes Linux forget the highest that a process has held

Kind = Literal["adapter", "checkpoints"]
Work = Callable[[int], object]  # over a response of so many tokens
PAIRS: tuple[Kind, ...] = ("adapter", "checkpoints")


def shifted(folder: Path, rounds: int) -> list[Measure]:
    """Time of the token shift over that of two bare passes, and its memory over that of one."""
    found = []
    for kind in PAIRS:
        ours, _, two = (functools.partial(work, RESPONSE) for work in works(kind))
        what = f"token shift, {kind}, {RESPONSE:,} tokens"
        found.append(Measure(what, "two bare forward passes", "time", paired(ours, two, rounds), SLOWEST))
        del ours, _, two
        if not _FORGET.exists():
            print(f"bench: memory of {what} left out: there is no {_FORGET}", file=sys.stderr)
            continue
        ratios = [_held(kind, "ours") / _held(kind, "bare") for _ in range(min(rounds, MOST_ROUNDS))]
        found.append(Measure(what, "one bare forward pass", "memory", ratios, MOST_MEMORY))
    return found


def works(kind: Kind) -> tuple[Work, Work, Work]:
    """The token shift of one response, a bare pass of the base with all logits, and one of either model."""
    import torch
    import transformers

    from sdft_exp.models.adapter import with_adapter
    from sdft_exp.shift.tokens import Pair, Spoken, adapter_pair, token_shift
    from sdft_exp.training.settings import Lora

    warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers
    torch.set_num_threads(1)
    shape = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=4096,
    )

    def model(seed: int) -> Any:
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(shape).eval()

    base = model(0)
    if kind == "adapter":
        lora = Lora(rank=8, alpha=16.0, dropout=0.0, targets=("q_proj", "v_proj"))
        pair = adapter_pair(with_adapter(base, lora, seed=0).eval())
    else:
        pair = Pair(base, model(1))
    ids = torch.randint(3, VOCABULARY, (1, PROMPT + RESPONSE), generator=torch.Generator().manual_seed(0))

    def ours(response: int) -> None:
        asked, said = (tuple(part.tolist()) for part in (ids[0, :PROMPT], ids[0, PROMPT : PROMPT + response]))
        token_shift(pair, [Spoken(asked, said)], pad_id=0)

    @torch.inference_mode()
    def one(response: int) -> None:
        with pair.adapter_off():
            pair.base(input_ids=ids[:, : PROMPT + response - 1], use_cache=False)

    @torch.inference_mode()
    def two(response: int) -> None:
        one(response)
        pair.tuned(input_ids=ids[:, : PROMPT + response - 1], use_cache=False)

    return ours, one, two


def _held(kind: Kind, work: str) -> int:
    """Kilobytes that the work holds at most above its models, in a process of its own."""
    command = [sys.executable, "-m", "analysis.bench_shift", kind, work]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return int(done.stdout)


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None  # on every Linux
    return int(found[1])


def _measure_here(kind: Kind, work: str) -> int:
    ours, one, _ = works(kind)
    chosen = one if work == "bare" else ours
    chosen(8)  # what is loaded at the first call is no part of it
    before = _status("VmRSS")
    _FORGET.write_text(_PEAK, encoding="ascii")
    chosen(RESPONSE)
    return _status("VmHWM") - before


if __name__ == "__main__":
    print(_measure_here("adapter" if sys.argv[1] == "adapter" else "checkpoints", sys.argv[2]))
