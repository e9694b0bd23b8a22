"""The questions of the paper's benchmarks, as the dataset that an lm-eval YAML names: from a local file or the hub."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdft_exp.data.files import Record, read_records
from sdft_exp.data.schema import gsm8k_form
from sdft_exp.errors import DataError
from sdft_exp.tasks.question_files import checked

if TYPE_CHECKING:
    from datasets import Dataset

_ADDRESS = "https://"  # one file at a fixed address in place of a hub id
_LOADERS = {"jsonl": "json"}  # of `datasets`, for endings that they are not called by


def docs(
    hub: str,
    files: Sequence[str],
    fields: Sequence[str],
    subset: str | None = None,
    revision: str | None = None,
    response_form: Literal["text", "gsm8k"] = "text",
    data: str | None = None,
    **metadata: object,
) -> dict[str, Dataset]:
    """The split `eval`: "id" (the position, "row-000012"), "instruction" and "reference" of each question, in order.

    Args:
        hub: id of a hub set with a split `test`, or the address of a file.
        files: what a local copy may be called.
        fields: the columns that hold instruction and reference.
        response_form: gsm8k: references in the official form are put into the paper's.
        data: a local file, taken in place of the hub.
        metadata: the rest of the YAML's, which lm-eval passes along.

    Raises:
        DataError: the hub cannot be reached, or a record lacks a field.
    """
    from datasets import Dataset

    asked, expected = fields
    if data is not None:
        records = checked(read_records(Path(data)), (asked, expected), data)
    else:
        records = checked(hub_records(hub, subset, revision, files[0]), (asked, expected), hub)
    form = gsm8k_form if response_form == "gsm8k" else str
    rows = [
        {"id": f"row-{position:06d}", "instruction": record.values[asked], "reference": form(record.values[expected])}
        for position, record in enumerate(records)
    ]
    return {"eval": Dataset.from_list(rows)}


@functools.cache
def hub_records(hub: str, subset: str | None, revision: str | None, file: str) -> tuple[Record, ...]:
    """The rows of a hub set's split `test`, or of the file at an address.

    Raises:
        DataError: they cannot be had; `file` is what a local copy may be called.
    """
    import datasets

    try:
        if hub.startswith(_ADDRESS):
            kind = hub.rpartition(".")[2]
            table = datasets.load_dataset(_LOADERS.get(kind, kind), data_files=hub, split="train")
        else:
            table = datasets.load_dataset(hub, subset, split="test", revision=revision)
    except Exception as error:  # offline, gated, gone: each its own class, none with a way out
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{hub}: the questions cannot be had ({first}); download them as {file} and name its folder, eval.data=DIR"
        ) from None
    return tuple(Record(number, dict(values)) for number, values in enumerate(table, start=1))
