"""What is logged of a run, read from its artifacts: plain values, without W&B."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdft_exp.data.jsonl import read_jsonl
from sdft_exp.report.summary import summarise
from sdft_exp.stages.report import Report, ReportJob
from sdft_exp.store import MANIFEST

Row = list[Any]
SAMPLE_COLUMNS: Row = ["id", "question", "reference", "seed LM", "vanilla", "tuned"]
REJECTED_COLUMNS: Row = ["id", "instruction", "original", "rewrite", "reason"]


@dataclass(frozen=True)
class Artifacts:
    """The folders of a store by address."""

    store: Path

    def at(self, address: str) -> Path:
        return self.store / address

    def json(self, address: str, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.at(address) / name).read_text(encoding="utf-8"))
        return content


def report_job(plain: Mapping[str, Any]) -> ReportJob:
    """A job as the report sees it, from its plain values."""
    return ReportJob(**{**plain, "target": tuple(plain["target"])})


def curve(artifacts: Artifacts, train: str) -> list[dict[str, float]]:
    """One line a step: what `curve.jsonl` holds, "tokens_per_second" and, of a GPU, "gpu_memory_gb"."""
    measured = artifacts.json(train, MANIFEST).get("measured", {}).get("steps", [])
    speed = {line["step"]: line for line in measured}
    return [line | speed.get(line["step"], {}) for line in read_jsonl(artifacts.at(train) / "curve.jsonl")]


def metrics(artifacts: Artifacts, job: ReportJob, resamples: int, confidence: float) -> tuple[dict[str, Any], str]:
    """The run's figures by name, and in words what it forgot ("" for the seed LM alone).

    They are those of a report of this job alone: its intervals are over the questions.
    """
    addresses = {*job.scores.values(), *job.seed_scores.values(), *job.shifts.values()}
    scores = {address: artifacts.json(address, "scores.json") for address in addresses}
    stats = {one: artifacts.json(one, "stats.json") for one in (job.data, job.select, job.train) if one is not None}
    (group,) = summarise(Report("", (job,), (), resamples, confidence, ()), scores, stats)["groups"]
    seed, *tuned = group["rows"]
    found = _figures("seed_eval", seed["tasks"]) | _figures("seed_measure", {"": seed["measures"]})
    for row in tuned:
        asked = {task: cells for task, cells in row["tasks"].items() if task not in job.shifts}
        moved = {name: cells for name, cells in row["tasks"].items() if name in job.shifts}
        found |= _figures("eval", asked) | _figures("shift", moved) | _figures("measure", {"": row["measures"]})
        found |= _figures("change", {"": row["change"]})
        for name, value in (row["rewrites"] or {}).items():
            if isinstance(value, int | float):
                found[f"rewrites/{name}"] = value
    return found, tuned[0]["reading"] if tuned and tuned[0]["change"] else ""


def _figures(prefix: str, tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """`eval/<task>/<metric>` and its `_low` and `_high`; a task "" leaves its part of the name out."""
    found: dict[str, Any] = {}
    for task, cells in tasks.items():
        for metric, cell in cells.items():
            name = "/".join(filter(None, (prefix, task, metric)))
            found |= {name: cell["mean"], f"{name}_low": cell["low"], f"{name}_high": cell["high"]}
    return found


def samples(
    artifacts: Artifacts, job: ReportJob, vanilla: Mapping[str, str], most: int
) -> Iterable[tuple[str, list[Row]]]:
    """Of each task the first questions with the answers of seed LM, vanilla and tuned model side by side."""
    for task, address in sorted(job.seed_scores.items()):
        columns = [
            {_place(sample): sample for sample in _samples(artifacts, one, most)} if one else {}
            for one in (address, vanilla.get(task), job.scores.get(task))
        ]
        rows = []
        for place, sample in list(columns[0].items())[:most]:
            asked = [str(sample["doc"].get("id", sample["doc_id"])), _question(sample), str(sample["target"])]
            rows.append([*asked, *(_answer(column.get(place)) for column in columns)])
        yield task, rows


def rejected(artifacts: Artifacts, job: ReportJob, most: int) -> list[Row]:
    """The first rewrites that were not taken, and why."""
    if job.select is None or job.data is None:
        return []
    rows = {row["id"]: row for row in read_jsonl(artifacts.at(job.data) / "rows.jsonl")}
    refused = [one for one in read_jsonl(artifacts.at(job.select) / "selected.jsonl") if not one["accepted"]]
    return [
        [one["id"], rows[one["id"]]["instruction"], one["response"], one["rewrite"] or "", one["reason"]]
        for one in refused[:most]
    ]


def lm_eval_results(
    artifacts: Artifacts, scores: Mapping[str, str], most: int
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Results and samples of several tasks as one evaluation, in the form that lm-eval's own loggers take.

    Its files hold a request's arguments and likelihoods as texts; here they are what they were.
    """
    merged: dict[str, Any] = {name: {} for name in ("results", "groups", "configs", "versions", "n-shot", "config")}
    asked: dict[str, list[dict[str, Any]]] = {}
    for task, address in sorted(scores.items()):
        results = artifacts.json(address, "results.json")
        for part in ("results", "groups", "configs", "versions", "n-shot"):
            merged[part] |= results.get(part, {})
        merged["config"][task] = results["config"]
        for file in sorted(artifacts.at(address).glob("samples_*.jsonl")):
            name = file.stem.removeprefix("samples_")
            asked[name] = [_as_asked(sample) for sample in _first(file, most)]
    if not merged["groups"]:
        del merged["groups"]
    return merged, {name: found for name, found in asked.items() if found}


def _as_asked(sample: Mapping[str, Any]) -> dict[str, Any]:
    arguments = [list(request.values()) for request in sample["arguments"].values()]
    return {**sample, "arguments": arguments} | {name: _numbers(sample[name]) for name in ("resps", "filtered_resps")}


def _numbers(said: Any) -> Any:
    """[["-1.5", "False"], ...] -> [[-1.5, False], ...]; texts stay."""
    if isinstance(said, list):
        if len(said) == 2 and said[1] in ("True", "False"):
            return [float(said[0]), said[1] == "True"]
        return [_numbers(part) for part in said]
    return said


def _samples(artifacts: Artifacts, address: str, most: int) -> list[dict[str, Any]]:
    files = sorted(artifacts.at(address).glob("samples_*.jsonl"))
    return [{**sample, "file": file.name} for file in files for sample in _first(file, most)]


def _first(file: Path, most: int) -> list[dict[str, Any]]:
    found = []
    with file.open(encoding="utf-8") as lines:
        for line, _ in zip(lines, range(most), strict=False):
            found.append(json.loads(line))
    return found


def _place(sample: Mapping[str, Any]) -> tuple[str, int]:
    return sample["file"], sample["doc_id"]


def _question(sample: Mapping[str, Any]) -> str:
    requests: Sequence[Mapping[str, Any]] = list(sample["arguments"].values())
    return str(requests[0]["arg_0"])


def _answer(sample: Mapping[str, Any] | None) -> str:
    if sample is None:
        return ""
    said = sample["filtered_resps"]
    return str(said[0] if len(said) == 1 else said)
