"""The part of `analysis.bench` that opens pages in a browser, and the made-up sweeps that it and the tests open."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.bench import Measure
from analysis.report import write_page
from sdft_exp.results import PLAN, STAGES, SUMMARY
from sdft_exp.stages import report
from sdft_exp.stages.report import ReportJob

TASKS = ("micro_math", "micro_text", "micro_harmful", "micro_jailbreak")
_METRIC = {"micro_harmful": "safe_rate", "micro_jailbreak": "safe_rate"}
_SCORED = 20  # questions of a task that the figures are made from


def made_up(folder: Path, ranks: int = 1, seeds: int = 2, questions: int = 10) -> Path:
    """The folder of a made-up sweep that has finished: vanilla and SDFT at so many ranks, its store beside.

    Args:
        questions: of each of the four tasks; the samples.
    """
    sweep, store = folder / "sweep", folder / "store"
    sweep.mkdir(parents=True)
    seed_scores = {task: _score(store, task, "seed LM", 0.6, questions) for task in TASKS}
    select = artifact(store, "select", "all", {"stats.json": _REWRITES, "selected.jsonl": _SELECTED})
    jobs = [
        _job(store, method, rank, seed, questions if rank == 1 else 0, seed_scores, select)
        for rank in range(1, ranks + 1)
        for method in ("vanilla", "sdft")
        for seed in range(seeds)
    ]
    _leave(sweep, store, jobs)
    return sweep


def _job(
    store: Path, method: str, rank: int, seed: int, questions: int, seed_scores: dict[str, str], select: str
) -> ReportJob:
    name, distilled = f"{method} {rank} {seed}", float(method == "sdft")
    shares = {task: 0.9 if task == TASKS[0] else 0.3 + 0.3 * distilled for task in TASKS}
    trained = {"stats.json": {"rows": 50}, "curve.jsonl": _curve(rank)}
    return ReportJob(
        label=f"method={method} tuning.rank={rank} seed={seed}",
        row={"dataset": TASKS[0], "method": method, "method.mix_ratio": distilled, "tuning.rank": rank},
        seed=seed,
        model="micro",
        dataset=TASKS[0],
        target=(TASKS[0],),
        scores={task: _score(store, task, name, shares[task], questions) for task in TASKS},
        seed_scores=seed_scores,
        select=select if distilled else None,
        train=artifact(store, "train", name, trained),
    )


_REWRITES = {"rows": 10, "accepted": 9, "acceptance_rate": 0.9, "reasons": {"accepted": 9, "answer_differs": 1}}
_SELECTED = [{"accepted": False, "reason": "answer_differs", "rewrite": "It is 3.", "response": "It is 2."}]


def _curve(rank: int) -> list[dict[str, float]]:
    return [{"step": step, "loss": 2.0 / (step + rank)} for step in range(1, 200)]


def _score(store: Path, task: str, name: str, share: float, questions: int) -> str:
    chance = random.Random(f"{task} {name}")
    metric = _METRIC.get(task, "accuracy")
    values = [float(chance.random() < share) for _ in range(max(_SCORED, questions))]
    scored = values[:_SCORED]
    scores = {
        "task": task,
        "protocol": "micro",
        "version": "1",
        "n": len(scored),
        "metrics": {metric: sum(scored) / len(scored)},
        "items": [{"id": f"{task}-{number}", metric: value} for number, value in enumerate(scored)],
    }
    samples = [
        {
            "doc_id": number,
            "doc": {"id": f"{task}-{number}", "instruction": f"Question {number} of {task}: how many <b>fish</b>?"},
            "target": f"It is {number}.",
            "resps": [[f"{name} says of {task} that it is {number}, after some thought." + " And more." * 8]],
            "metrics": [metric],
            metric: values[number],
        }
        for number in range(questions)
    ]
    return artifact(store, "score", f"{task} {name}", {"scores.json": scores, f"samples_{task}.jsonl": samples})


def artifact(store: Path, stage: str, name: str, files: dict[str, Any]) -> str:
    """An artifact as the page reads one: unsealed, its key made from its name."""
    address = f"{stage}/{hashlib.sha256(name.encode()).hexdigest()}"
    folder = store / address
    folder.mkdir(parents=True)
    manifest = {"stage": stage, "seconds": 1.5, "peak_memory_bytes": 7 * 10**8}
    manifest |= {"versions": {"python": "3.11.7", "torch": "2.13.0"}, "git_commit": "0" * 40}
    for file, content in ({"manifest.json": manifest} | files).items():
        lines = content if file.endswith(".jsonl") else [content]
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return address


def _leave(sweep: Path, store: Path, jobs: Sequence[ReportJob]) -> None:
    """plan.json, stages.json and summary.json, as a run leaves them."""
    addresses = dict.fromkeys(
        address
        for job in jobs
        for address in (*job.seed_scores.values(), *job.scores.values(), job.select, job.train)
        if address
    )
    stages = [{"stage": stage, "key": key, "label": ""} for stage, _, key in (one.partition("/") for one in addresses)]
    ended = [stage | {"status": "ran", "reason": "", "seconds": 1.5} for stage in stages]
    read = report.report("made up", jobs, (), resamples=50, confidence=0.95)
    plan = {
        "title": read.title,
        "command": ["-m", "tuning.rank=1", "method=vanilla,sdft"],
        "store": str(store),
        "stages": stages,
        "jobs": [
            {
                "overrides": job.label.split(),
                "config": {"seed": job.seed, "method": {"name": job.row["method"]}, "model": {"name": "micro"}}
                | {"report": {"resamples": 50, "confidence": 0.95}},
                "report": dataclasses.asdict(job),
            }
            for job in read.jobs
        ],
    }
    summary = report.summarise(read, {address: store / address for address in addresses})
    for name, content in ((PLAN, plan), (STAGES, ended), (SUMMARY, summary)):
        (sweep / name).write_text(json.dumps(content), encoding="utf-8")


def opened(folder: Path, rounds: int) -> list[Measure]:
    """A page of 200 runs and 20,000 samples against one of 4 runs: from the address to tables and samples in sight."""
    program = shutil.which("chromium")
    if program is None:
        print("bench: page left out: no chromium; make browser", file=sys.stderr)
        return []
    from playwright.sync_api import sync_playwright

    big = write_page(made_up(folder / "big", ranks=50, seeds=2, questions=5000))
    small = write_page(made_up(folder / "small"))
    seconds: dict[Path, list[float]] = {big: [], small: []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for index in range(rounds + 1):  # the first is not counted
            for path in (big, small) if index % 2 else (small, big):
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(path.as_uri())
                page.locator(".sample").first.wait_for()
                seconds[path].append(time.perf_counter() - started)
                page.close()
        browser.close()
    own, other = seconds[big][1:], seconds[small][1:]
    ratios = [one / two for one, two in zip(own, other, strict=True)]
    return [
        Measure(
            f"page of 200 runs, 20,000 samples: {statistics.median(own):.1f} s to open",
            "page of 4 runs",
            "time",
            ratios,
        )
    ]
