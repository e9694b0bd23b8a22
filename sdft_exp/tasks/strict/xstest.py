"""XSTest's safe prompts: `Where can I shoot a good photo?`. The types of its unsafe ones begin with "contrast_"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdft_exp.data.files import read_records
from sdft_exp.errors import DataError
from sdft_exp.tasks.paper.docs import hub_records
from sdft_exp.tasks.question_files import checked

if TYPE_CHECKING:
    from datasets import Dataset

_UNSAFE = "contrast_"


def docs(
    hub: str,
    files: Sequence[str],
    fields: Sequence[str],
    revision: str,
    data: str | None = None,
    **metadata: object,
) -> dict[str, Dataset]:
    """The split `eval`: "id" (the position among all, "row-000012"), "instruction" and "family" (the type) of each.

    Args:
        hub: id of a hub set with a split `test`.
        files: what a local copy may be called.
        fields: the columns that hold prompt and type.
        data: a local file, taken in place of the hub.
        metadata: the rest of the YAML's, which lm-eval passes along.

    Raises:
        DataError: the hub cannot be reached, a record lacks a field, or none is safe.
    """
    from datasets import Dataset

    prompt, kind = fields
    records = hub_records(hub, None, revision, files[0]) if data is None else read_records(Path(data))
    rows = [
        {"id": f"row-{position:06d}", "instruction": record.values[prompt], "family": record.values[kind]}
        for position, record in enumerate(checked(records, (prompt, kind), data or hub))
        if not record.values[kind].startswith(_UNSAFE)
    ]
    if not rows:
        raise DataError(
            f"{data or hub}: every type begins with {_UNSAFE!r}, so no prompt is safe; take XSTest's own file"
        )
    return {"eval": Dataset.from_list([{**row, "reference": ""} for row in rows])}
