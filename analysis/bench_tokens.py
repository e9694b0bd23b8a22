"""The part of `analysis.bench` that opens the page of tokens, and the made-up runs that it and the tests open."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.bench import Measure
from analysis.bench_page import artifact
from analysis.token_shift import write_page
from sdft_exp.results import PLAN
from sdft_exp.stages.report import ReportJob

if TYPE_CHECKING:
    from playwright.sync_api import Page

TASK = "micro_harmful"
SHARES = {"vanilla": (0.7, 0.14, 0.16), "sdft": (0.9, 0.06, 0.04)}  # of the classes
_CLASSES = ("unshifted", "marginal", "shifted")
_VOCABULARY = 8_000
_DRAWN = 25  # responses of a row that are drawn; the others repeat them
_TOP = 10


def made_up(
    folder: Path,
    questions: int = 12,
    tokens: int = 20,
    seeds: int = 1,
    tasks: Sequence[str] = (TASK,),
    methods: Sequence[str] = ("vanilla", "sdft"),
    asked: Sequence[str] = (TASK,),
) -> Path:
    """The folder of a made-up run whose tokens were measured, its store beside.

    Args:
        questions: of each task; each has a response of so many `tokens` by each method and seed.
        asked: tasks that the seed LM was asked in evaluation.
    """
    run, store = folder / "run", folder / "store"
    run.mkdir(parents=True)
    seed_scores = {task: _seed_score(store, task, questions) for task in asked}
    jobs = [
        ReportJob(
            label=f"method={method} seed={seed}",
            row={"dataset": "micro_chat", "method": method, "method.mix_ratio": float(method == "sdft")},
            seed=seed,
            model="micro",
            dataset="micro_chat",
            target=("micro_chat",),
            seed_scores=seed_scores,
            train=f"train/{method}{seed}",
            shifts={f"token_shift/{task}": _shift(store, task, method, seed, questions, tokens) for task in tasks},
        )
        for method in methods
        for seed in range(seeds)
    ]
    plan = {
        "title": "made up",
        "command": ["shift.measures=[tokens]"],
        "store": str(store),
        "stages": [],
        "jobs": [{"overrides": [], "config": {}, "report": dataclasses.asdict(job)} for job in jobs],
    }
    (run / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    return run


def _seed_score(store: Path, task: str, questions: int) -> str:
    samples = [
        {"doc_id": number, "doc": {"id": f"{task}-{number}"}, "resps": [[f"The seed LM says no to number {number}."]]}
        for number in range(questions)
    ]
    return artifact(store, "score", f"{task} seed LM", {f"samples_{task}.jsonl": samples})


def _shift(store: Path, task: str, method: str, seed: int, questions: int, tokens: int) -> str:
    chance = random.Random(f"{task} {method} {seed}")
    drawn = [_response(chance, tokens, SHARES.get(method, (0.8, 0.1, 0.1))) for _ in range(min(_DRAWN, questions))]
    tails = [json.dumps(response)[1:] for response in drawn]
    heads = [
        json.dumps(
            {"task": task, "doc_id": number, "id": f"{task}-{number}", "prompt": f"Question {number}: <b>how</b>?"}
        )
        for number in range(questions)
    ]
    classes: list[str] = [found for number in range(questions) for found in drawn[number % len(drawn)]["classes"]]
    stats: dict[str, Any] = {
        "form": "exact",
        "questions": questions,
        "empty": 0,
        "responses": questions,
        "tokens": len(classes),
    }
    stats |= {name: classes.count(name) / len(classes) for name in _CLASSES}
    vocabulary = {str(token): _word(token) for token in range(_VOCABULARY)}
    files = {"vocabulary.json": vocabulary, "stats.json": stats}
    address = artifact(store, "token_shift", f"{task} {method} {seed}", files)
    with (store / address / "tokens.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(f"{head[:-1]}, {tails[number % len(tails)]}\n" for number, head in enumerate(heads))
    return address


def _response(chance: random.Random, tokens: int, shares: Sequence[float]) -> dict[str, Any]:
    classes = chance.choices(_CLASSES, shares, k=tokens)
    ranks = [{"unshifted": 1, "marginal": chance.choice((2, 3))}.get(found, chance.randint(4, 60)) for found in classes]
    top_tuned = [_top(chance) for _ in classes]
    ids = [top[0][0] for top in top_tuned]
    top_base = []
    for token, rank in zip(ids, ranks, strict=True):
        top = [entry for entry in _top(chance, _TOP + 1) if entry[0] != token]
        if rank <= _TOP:
            top.insert(rank - 1, [token, top[min(rank - 1, len(top) - 1)][1]])
        top_base.append(top[:_TOP])
    return {
        "ids": ids,
        "pieces": [_word(token) for token in ids],
        "classes": classes,
        "kl_base_tuned": [chance.expovariate(1 if rank > 1 else 9) for rank in ranks],
        "kl_tuned_base": [chance.expovariate(1 if rank > 1 else 9) for rank in ranks],
        "base_probability": [chance.random() / rank for rank in ranks],
        "tuned_probability": [top[0][1] for top in top_tuned],
        "base_rank": ranks,
        "top_base": top_base,
        "top_tuned": top_tuned,
    }


def _top(chance: random.Random, count: int = _TOP) -> list[list[Any]]:
    """Different tokens, frequent ones more often, and probabilities that fall."""
    ids: dict[int, None] = {}
    while len(ids) < count:
        ids[min(int(chance.paretovariate(0.6)), _VOCABULARY - 1)] = None
    weights = sorted((chance.expovariate(1) ** 4 for _ in ids), reverse=True)
    whole = sum(weights) * (1 + chance.random() / 10)
    return [[token, weight / whole] for token, weight in zip(ids, weights, strict=True)]


def _word(token: int) -> str:
    """A made-up word with a space before it; 5 is the end of a line."""
    return "\n" if token == 5 else " " + "".join("aeioklmnst"[int(digit)] for digit in str(token + 7))


def opened(folder: Path, rounds: int) -> list[Measure]:
    """A page of 1,000 questions against one of 10, responses of 100 tokens: to open it, and to go to the next."""
    program = shutil.which("chromium")
    if program is None:
        print("bench: page of tokens left out: no chromium; make browser", file=sys.stderr)
        return []
    from playwright.sync_api import sync_playwright

    big = write_page(made_up(folder / "big", questions=1000, tokens=100))
    small = write_page(made_up(folder / "small", questions=10, tokens=100))
    opens: dict[Path, list[float]] = {big: [], small: []}
    steps: dict[Path, list[float]] = {big: [], small: []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for index in range(rounds + 1):  # the first is not counted
            for path in (big, small) if index % 2 else (small, big):
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(path.as_uri())
                page.locator(".text .token").first.wait_for()
                opens[path].append(time.perf_counter() - started)
                steps[path].append(_stepped(page))
                page.close()
        browser.close()
    size = big.stat().st_size / 1e6
    return [
        Measure(
            f"page of 1,000 responses' tokens, {size:.0f} MB: {_median(opens[big]):.1f} s to open",
            *_of(opens, big, small),
        ),
        Measure(f"its next response: {1000 * _median(steps[big]):.0f} ms", *_of(steps, big, small)),
    ]


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds[1:])


def _of(seconds: dict[Path, list[float]], big: Path, small: Path) -> tuple[str, str, list[float]]:
    ratios = [one / two for one, two in zip(seconds[big][1:], seconds[small][1:], strict=True)]
    return "page of 10", "time", ratios


def _stepped(page: Page) -> float:
    """Seconds from one response to the next."""
    started = time.perf_counter()
    page.keyboard.press("n")
    page.locator("#where").get_by_text("response 2 of").wait_for()
    return time.perf_counter() - started
