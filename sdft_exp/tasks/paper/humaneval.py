"""HumanEval's questions as the paper asked them: HumanEvalSynthesize of HumanEvalPack, Python, in OctoCoder form.

Example, shortened; the model goes on inside the function:

    Question: Write a Python function `add(x: int, y: int)` to solve the following problem:
    Add two numbers x and y

    Answer:
    def add(x: int, y: int):
        \"\"\"Add two numbers x and y\"\"\"

Sources: bigcode-evaluation-harness, bigcode_eval/tasks/humanevalpack.py, `get_prompt` (commit and options:
reference/hyperparameters.json); for the words of the question, which HumanEvalPack adds to OpenAI's problems,
bigcode-project/octopack, evaluation/create_instructions.py, `python_instruct`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdft_exp.data.files import read_records
from sdft_exp.tasks.paper.docs import hub_records
from sdft_exp.tasks.question_files import checked

if TYPE_CHECKING:
    from datasets import Dataset

_QUOTES = re.compile(r"\"{3}|'{3}")


def docs(
    hub: str,
    files: Sequence[str],
    fields: Sequence[str],
    revision: str | None = None,
    data: str | None = None,
    **metadata: object,
) -> dict[str, Dataset]:
    """The split `eval`: OpenAI's `fields` of each problem, in order, its "id" and the "question" as the model gets it.

    Args:
        hub: id of a hub set with a split `test`.
        files: what a local copy may be called.
        data: a local file, taken in place of the hub.
        metadata: the rest of the YAML's, which lm-eval passes along.

    Raises:
        DataError: the hub cannot be reached, or a record lacks a field.
    """
    from datasets import Dataset

    records = hub_records(hub, None, revision, files[0]) if data is None else read_records(Path(data))
    problems = [
        {field: record.values[field] for field in fields} for record in checked(records, tuple(fields), data or hub)
    ]
    return {
        "eval": Dataset.from_list(
            [{"id": problem["task_id"], **problem, "question": question(problem["prompt"])} for problem in problems]
        )
    }


def question(prompt: str) -> str:
    """The whole text given to the model for a problem's `prompt` (imports, signature, docstring)."""
    return f"Question: {_instruction(prompt)}\n\nAnswer:\n{prompt}".strip()


def _instruction(prompt: str) -> str:
    """HumanEvalPack's `instruction`: the signature of the last function, and the filled lines of its docstring.

    All before the docstring is the signature, as there: that of HumanEval/115 holds an import.
    """
    signature, docstring, *_ = _QUOTES.split(prompt[prompt.rindex("def ") :])
    wanted = "\n".join(line.strip() for line in docstring.split("\n") if line.strip())
    name = signature.removeprefix("def ").strip().strip(":")
    return f"Write a Python function `{name}` to solve the following problem:\n{wanted}"
