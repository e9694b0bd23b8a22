"""Select: which rewrites replace the original responses, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdft_exp.config import RunConfig
from sdft_exp.data.answers import Rule
from sdft_exp.data.files import file_digest
from sdft_exp.data.jsonl import read_jsonl, write_json, write_jsonl
from sdft_exp.data.rewrites import OVERLONG, check_rewrites, rewrites_digest
from sdft_exp.data.selection import choose
from sdft_exp.errors import DataError
from sdft_exp.microworld.verdicts import steps_correct
from sdft_exp.stage import Progress, Stage, unkeyed


@dataclass(frozen=True)
class Select:
    """What the choice depends on beside rows and rewrites.

    Attributes:
        rule: how a rewrite's answer is checked.
        world_set: which of the miniature's sets the rows are, for its own rule; None for other rules.
        rewrites: digest of `rewrites_file`; None where the seed LM writes them.
    """

    rule: Rule
    world_set: str | None
    rewrites: str | None
    rewrites_file: str | None = unkeyed()


def stage(config: RunConfig, dataset: Stage, distill: Stage | None) -> Stage:
    """The choice among the rewrites of `distill`, or of `method.rewrites_file` where that is None.

    Raises:
        DataError: a rewrites file that does not fit the rows.
    """
    path = config.method.rewrites_file
    digest = None
    if path is not None:
        source = dataset.params
        told = source.is_local or source.incomplete == "error"  # else how many are left out is seen in the rows alone
        digest = rewrites_digest(Path(path).expanduser(), dataset.cost.samples if told else None)
    params = Select(
        rule=config.dataset.answer,
        world_set=config.dataset.name if config.dataset.answer == "microworld" else None,
        rewrites=digest,
        rewrites_file=path,
    )
    inputs = {"dataset": dataset} | ({} if distill is None else {"distill": distill})
    return Stage("select", params, inputs, label=config.dataset.name, cost=dataset.cost)


def run(params: Select, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `selected.jsonl` ("id", "response", "accepted", "reason", "rewrite") and `stats.json`.

    A rejected rewrite leaves the original response; every row is there, in its order. `stats.json` holds "rows",
    "accepted", "acceptance_rate", "reasons", "cut" (accepted rewrites that reached the length limit) and, for the
    miniature's word problems, "steps_wrong" (share of accepted rewrites with a wrong step before the right answer).
    """
    rows = read_jsonl(inputs["dataset"] / "rows.jsonl")
    if params.rewrites_file is None:
        rewrites = read_jsonl(inputs["distill"] / "completions.jsonl")
    else:
        path = Path(params.rewrites_file).expanduser()
        rewrites = check_rewrites(path, len(rows), [row["id"] for row in rows])
        if file_digest(path) != params.rewrites:
            raise DataError(f"{path}: has changed since the run was planned; start it again")
    world_set = params.world_set or ""
    pairs = zip(rows, rewrites, strict=True)
    selected = [
        choose(params.rule, world_set, row, None if rewrite.get("finish") == OVERLONG else rewrite["text"])
        for row, rewrite in pairs
    ]
    write_jsonl(out / "selected.jsonl", selected)
    write_json(out / "stats.json", _stats(params, rows, rewrites, selected))
    progress(len(rows), len(rows), "rows")


def _stats(
    params: Select,
    rows: Sequence[Mapping[str, Any]],
    rewrites: Sequence[Mapping[str, Any]],
    selected: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    taken = [place for place, choice in enumerate(selected) if choice["accepted"]]
    stats: dict[str, Any] = {
        "rows": len(rows),
        "accepted": len(taken),
        "acceptance_rate": len(taken) / len(rows),
        "reasons": dict(sorted(Counter(choice["reason"] for choice in selected).items())),
        "cut": sum(rewrites[place].get("finish") == "length" for place in taken),
    }
    if params.world_set == "micro_math":
        wrong = sum(not steps_correct(rows[place], selected[place]["rewrite"]) for place in taken)
        stats["steps_wrong"] = wrong / len(taken) if taken else 0.0
    return stats
