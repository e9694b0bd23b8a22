"""A store with the artifacts of one job, made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdft_exp.stages.report import ReportJob
from sdft_exp.tracking.handing import TrackedRun

_PIXEL = (
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001"
    "48afa4710000000049454e44ae426082"
)
CANARIES = ("CANARYconfig0123456789", "CANARYenvironment0123456789", "CANARYlabel0123456789")


def write(path: Path, *lines: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_score(folder: Path, said: list[str], right: list[float]) -> None:
    """What a score stage leaves of a task of two or more questions."""
    items = [{"id": f"q{number}", "accuracy": value} for number, value in enumerate(right)]
    mean = sum(right) / len(right)
    score = {"task": "math", "protocol": "micro", "version": "1", "n": len(items), "metrics": {"accuracy": mean}}
    write(folder / "scores.json", score | {"items": items})
    metric_list = [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}]
    write(
        folder / "results.json",
        {
            "results": {"math": {"alias": "math", "accuracy,none": mean, "accuracy_stderr,none": 0.25}},
            "configs": {"math": {"task": "math", "output_type": "generate_until", "metric_list": metric_list}},
            "versions": {"math": 1},
            "n-shot": {"math": 0},
            "config": {"model": "sdft_exp"},
        },
    )
    samples = [
        {
            "doc_id": number,
            "doc": {"id": f"q{number}"},
            "target": str(number),
            "arguments": {"gen_args_0": {"arg_0": f"What is {number}?", "arg_1": {"until": []}}},
            "resps": [[text]],
            "filtered_resps": [text],
            "filter": "none",
            "metrics": ["accuracy"],
            "accuracy": value,
        }
        for number, (text, value) in enumerate(zip(said, right, strict=True))
    ]
    write(folder / "samples_math.jsonl", *samples)


def write_store(store: Path) -> None:
    """Seed LM right on one of three questions, vanilla on two, the tuned model on all; a curve of three steps."""
    write_score(store / "score/seed", ["s0", "s1", "s2"], [1, 0, 0])
    write_score(store / "score/vanilla", ["v0", "v1", "v2"], [1, 1, 0])
    write_score(store / "score/tuned", ["t0", "t1", f"t2 {CANARIES[1]}"], [1, 1, 1])
    moved = {"task": "update", "protocol": "shift", "version": "1", "n": 1, "metrics": {"update_norm": 1.5}}
    write(store / "update/u/scores.json", moved | {"items": [{"id": "update", "update_norm": 1.5}]})
    curve = [{"step": step, "loss": 1 / step, "learning_rate": 0.1, "grad_norm": 2.0} for step in (1, 2, 3)]
    write(store / "train/t/curve.jsonl", *curve)
    speed = [{"step": step, "tokens_per_second": 100.0 * step} for step in (1, 2, 3)]
    write(store / "train/t/manifest.json", {"measured": {"steps": speed}})
    write(store / "train/t/stats.json", {"steps": 3})
    write(store / "train/t/adapter/adapter_config.json", {"r": 8})
    write(store / "dataset/d/stats.json", {"rows": 2, "repeated": 0})
    write(store / "dataset/d/rows.jsonl", {"id": "a", "instruction": "say a"}, {"id": "b", "instruction": "say b"})
    chosen = [
        {"id": "a", "response": "A!", "accepted": True, "reason": "accepted", "rewrite": "A!"},
        {"id": "b", "response": "b", "accepted": False, "reason": "answer_differs", "rewrite": "c"},
    ]
    write(store / "select/s/selected.jsonl", *chosen)
    write(store / "select/s/stats.json", {"rows": 2, "accepted": 1, "acceptance_rate": 0.5, "reasons": {}, "cut": 0})
    write(store / "mix/0123456789/train.jsonl", {"id": "a", "response": "A!"}, {"id": "b", "response": "b"})
    (store / "report/r").mkdir(parents=True)
    for name in ("summary.json", "figure.png", "manifest.json"):
        (store / "report/r" / name).write_bytes(bytes.fromhex(_PIXEL) if name == "figure.png" else b"{}")


def job_of_store() -> TrackedRun:
    """The job of that store, with secrets in its config and its name."""
    config = {
        "seed": 1,
        "method": {"name": "sdft", "mix_ratio": 1.0},
        "dataset": {"name": "micro_math"},
        "generation": {"batch_tokens": 4096},
        "report": {"resamples": 20, "confidence": 0.95},
        "judge": {"api_key": CANARIES[0], "note": f"sent {CANARIES[1]}"},
    }
    job = ReportJob(
        label="seed=1",
        row={"method": "sdft", "method.mix_ratio": 1.0},
        seed=1,
        model="micro",
        dataset="micro_math",
        target=("math",),
        scores={"math": "score/tuned"},
        seed_scores={"math": "score/seed"},
        shifts={"update": "update/u"},
        data="dataset/d",
        select="select/s",
        train="train/t",
    )
    return TrackedRun(
        key="0123456789abcdef",
        name=f"seed=1 judge.token={CANARIES[2]}",
        group="my_sweep",
        job_type="sdft",
        config=config,
        tags=("micro_math", "mine"),
        job=job,
        mix="mix/0123456789",
        vanilla={"math": "score/vanilla"},
    )
