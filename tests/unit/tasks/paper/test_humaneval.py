"""HumanEval: what is asked, what of an answer counts, and how it is judged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from sdft_exp.data.templates import conversation
from sdft_exp.errors import DataError, UserError
from sdft_exp.evaluation.harness import TaskLM, run_task
from sdft_exp.tasks import registry, sandbox
from sdft_exp.tasks.paper.humaneval import docs, question
from sdft_exp.tasks.paper.humaneval_scores import STOP, accuracy, body, outcomes, program

DATA = Path(os.environ.get("SDFT_DATA_ROOT") or Path(__file__).parents[5] / "shared" / "data") / "HumanEval.jsonl.gz"
FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")

PROBLEM = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\n\ndef half(x: int):\n    """\n    Half of x.\n\n    >>> half(4)\n    2.0\n    """\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": "\n\ndef check(candidate):\n    assert candidate(4) == 2\n    assert candidate(math.pi) > 1\n",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two problems, the second one with a helper above it."""
    second = PROBLEM | {
        "task_id": "HumanEval/901",
        "prompt": "def two():\n    '''Two.'''\n    return 2\n\n\ndef third(x):\n    '''A third, def. of x'''\n",
        "entry_point": "third",
        "canonical_solution": "    return x / 3\n",
        "test": "def check(f):\n    assert f(6) == two()\n",
    }
    path = tmp_path / "HumanEval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (PROBLEM, second)))
    return path


def test_the_authors_length_counts_the_prompt_and_strict_has_the_configs() -> None:
    # reference/hyperparameters.json, sdft.evaluation.humaneval: max_length_generation 2048
    assert registry.task("paper", "humaneval").max_length == 2048
    assert registry.task("strict", "humaneval").max_length is None
    assert registry.task("paper", "gsm8k").max_length is None


class Says(TaskLM):
    """Says what `answer` makes of each question."""

    def __init__(self, answer: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[str] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.asked += [request.args[0] for request in requests]
        return [self.answer(request.doc) for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise AssertionError


def test_the_prompt_is_the_published_one() -> None:
    asked = (
        "Question: Write a Python function `half(x: int)` to solve the following problem:\n"
        "Half of x.\n>>> half(4)\n2.0\n\n"
        'Answer:\nimport math\n\n\ndef half(x: int):\n    """\n    Half of x.\n\n    >>> half(4)\n    2.0\n    """'
    )
    assert question(PROBLEM["prompt"]) == asked
    for prompt_format in ("alpaca", "llama2", "llama3"):
        (turn,) = conversation("octocoder", prompt_format, asked)
        assert turn.prompt == asked  # nothing around it, whatever the model


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("\n    return x / 2\n", "\n    return x / 2"),
        ("\n    return x / 2\n\ndef other():\n    pass", "\n    return x / 2\n"),
        ("\n    return x\n# Done", "\n    return x"),
        ("\n    # kept\n    return x", "\n    # kept\n    return x"),
        ("\n\treturn x\n\nThis halves x.\n    return 0", "\n\treturn x\n"),
        ("\n    if x:\n        print(x)\n    return x\nif x:\n    y", "\n    if x:\n        print(x)\n    return x"),
        ("    return x<|endoftext|>junk", "    return x"),
        ("```python\n    return x\n```", ""),
        ("", ""),
    ],
)
def test_an_answer_counts_as_long_as_it_is_inside_the_function(text: str, counts: str) -> None:
    assert body(text) == counts


def test_generation_ends_at_the_strings_that_end_an_answer() -> None:
    config = registry._read(registry.ROOT / "paper" / "humaneval.yaml")
    assert tuple(config["generation_kwargs"]["until"]) == STOP
    assert config["generation_kwargs"]["do_sample"] is False


def test_another_sandbox_keeps_the_answers() -> None:
    config = registry._read(registry.ROOT / "paper" / "humaneval.yaml")
    asking = {key: value for key, value in config.items() if key not in registry._JUDGING}
    assert not any("scores" in name for name in registry._functions(asking))
    assert any("scores" in name for name in registry._functions(config))


def test_a_record_that_lacks_a_field_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl"
    path.write_text(json.dumps(PROBLEM) + "\n" + json.dumps({"task_id": "x"}) + "\n")
    with pytest.raises(DataError, match=r"HumanEval\.jsonl:2: field 'prompt' is missing"):
        docs("hub/id", [], FIELDS, data=str(path))


@pytest.mark.usefixtures("needs_sandbox")
def test_answers_are_run_with_the_problem_s_own_tests() -> None:
    answers = [["\n    return x / 2", "\n    return x", "\n    return math.sqrt(x", "\n    while True: pass"]]
    assert program(PROBLEM, answers[0][0]).endswith("\n\ncheck(half)\n")
    reasons = outcomes([answers[0][:3]], [PROBLEM])
    assert reasons == [["passed", "failed", "failed"]]
    assert accuracy(PROBLEM, reasons) == {"accuracy": pytest.approx(1 / 3)}


@pytest.mark.usefixtures("needs_sandbox")
def test_lm_eval_asks_and_judges(file: Path) -> None:
    lm = Says(lambda doc: "\n" + (doc["canonical_solution"] if doc["entry_point"] == "third" else "    return x"))
    results = run_task(lm, "paper", "humaneval", "eval", None, scored=True, data=file)
    assert lm.asked[0] == question(PROBLEM["prompt"])
    assert lm.asked[1].startswith("Question: Write a Python function `third(x)` to")
    assert results["results"]["humaneval"]["accuracy,none"] == 0.5
    samples = results["samples"]["humaneval"]
    assert [sample["filtered_resps"] for sample in samples] == [[["failed"]], [["passed"]]]
    assert [sample["accuracy"] for sample in samples] == [0.0, 1.0]
    assert [sample["doc"]["id"] for sample in samples] == ["HumanEval/900", "HumanEval/901"]


def test_asking_runs_nothing_and_judging_without_a_sandbox_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "missing", lambda: "no sandbox; install it")
    lm = Says(lambda doc: doc["canonical_solution"])
    run_task(lm, "paper", "humaneval", "eval", None, scored=False, data=file)
    assert len(lm.asked) == 2
    with pytest.raises(UserError, match=r"^no sandbox; install it$"):
        run_task(lm, "paper", "humaneval", "eval", None, scored=True, data=file)


@pytest.fixture
def problems() -> list[dict[str, str]]:
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not here")
    return list(docs("", [], FIELDS, data=str(DATA))["eval"])


@pytest.mark.real_data
def test_every_real_problem_is_put_in_the_published_form(problems: list[dict[str, str]]) -> None:
    assert [problem["id"] for problem in problems] == [f"HumanEval/{position}" for position in range(164)]
    for problem in problems:
        text = problem["question"]
        assert text.startswith(f"Question: Write a Python function `{problem['entry_point']}(")
        assert text.endswith("\n\nAnswer:\n" + problem["prompt"].rstrip())
    # The first record of bigcode/humanevalpack, python: `instruction`.
    assert problems[0]["question"].split("\n\nAnswer:\n")[0] == (
        "Question: Write a Python function `has_close_elements(numbers: List[float], threshold: float) -> bool` to "
        "solve the following problem:\nCheck if in given list of numbers, are any two numbers closer to each other "
        "than\ngiven threshold.\n>>> has_close_elements([1.0, 2.0, 3.0], 0.5)\nFalse\n"
        ">>> has_close_elements([1.0, 2.8, 3.0, 4.0, 5.0, 2.0], 0.3)\nTrue"
    )
    # Theirs has this one, too.
    assert "`max_fill(grid, capacity):\n    import math` to solve" in problems[115]["question"]


@pytest.mark.real_data
@pytest.mark.usefixtures("needs_sandbox")
def test_all_canonical_solutions_pass_and_all_empty_ones_fail(problems: list[dict[str, str]]) -> None:
    canonical = outcomes([["\n" + problem["canonical_solution"]] for problem in problems], problems)
    assert canonical == [["passed"]] * 164
    assert outcomes([[""]] * len(problems), problems) == [["failed"]] * 164
