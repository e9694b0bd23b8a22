"""Questions that have no reference, since a judge reads the answers: from a local file or the hub, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdft_exp.data.files import read_records
from sdft_exp.tasks.paper.docs import hub_records
from sdft_exp.tasks.question_files import checked

if TYPE_CHECKING:
    from datasets import Dataset


def docs(
    hub: str,
    files: Sequence[str],
    fields: Sequence[str],
    first: int | None = None,
    revision: str | None = None,
    data: str | None = None,
    **metadata: object,
) -> dict[str, Dataset]:
    """The split `eval`: "id" (the position, "row-000012"), "instruction" and an empty "reference" of each question.

    Args:
        hub: id of a hub set with a split `test`, or the address of a file.
        files: what a local copy may be called.
        fields: the column that holds the question.
        first: only so many; None: all.
        data: a local file, taken in place of the hub.
        metadata: the rest of the YAML's, which lm-eval passes along.

    Raises:
        DataError: the hub cannot be reached, or a record lacks the field.
    """
    from datasets import Dataset

    records = hub_records(hub, None, revision, files[0]) if data is None else read_records(Path(data))
    asked = checked(records, tuple(fields), data or hub)[:first]
    (name,) = fields
    return {
        "eval": Dataset.from_list(
            [
                {"id": f"row-{position:06d}", "instruction": record.values[name], "reference": ""}
                for position, record in enumerate(asked)
            ]
        )
    }
