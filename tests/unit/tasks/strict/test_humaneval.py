"""HumanEval for chat models against lm-eval's own humaneval_instruct: prompt, extraction, and what is run.

lm-eval's module cannot be imported offline (it loads a metric from the hub), so its one text function is taken out of
its source.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import apply_template

from sdft_exp.data.encode import Encoder
from sdft_exp.data.templates import conversation
from sdft_exp.evaluation.harness import TaskLM, run_task
from sdft_exp.tasks import registry
from sdft_exp.tasks.paper.humaneval import docs
from sdft_exp.tasks.strict.humaneval_scores import completed, outcomes, program

DATA = Path(os.environ.get("SDFT_DATA_ROOT") or Path(__file__).parents[5] / "shared" / "data") / "HumanEval.jsonl.gz"
FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
PROBLEM = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\n\ndef half(x: int):\n    """\n    Half of x.\n    """\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": "\n\ndef check(candidate):\n    assert candidate(4) == 2\n    assert candidate(math.pi) > 1\n",
}


# Llama's published chat templates, without the parts for tools and system texts.
CHAT_TEMPLATES = {
    "llama2": (
        "{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}"
        "{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
}
FRAME = {
    "llama2": len("[INST]  [/INST] "),
    "llama3": len("<|start_header_id|>user<|end_header_id|>\n\n<|eot_id|>")
    + len("<|start_header_id|>assistant<|end_header_id|>\n\n"),
}


def _theirs() -> Path:
    (folder,) = importlib.util.find_spec("lm_eval.tasks").submodule_search_locations  # type: ignore[union-attr,misc]
    return Path(folder) / "humaneval"


def _their_function(name: str) -> Callable[..., Any]:
    tree = ast.parse((_theirs() / "utils.py").read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    found: dict[str, Any] = {}
    exec(compile(ast.Module([function], []), "utils.py", "exec"), found)
    return found[name]


THEIRS = load_yaml(_theirs() / "humaneval_instruct.yaml", resolve_func=False)


def their_messages(problem: dict[str, str]) -> list[dict[str, str]]:
    """The two turns that lm-eval makes of a problem (ConfigurableTask.build_qa_turn)."""
    return [
        {"role": "user", "content": apply_template(THEIRS["doc_to_text"], problem)},
        {"role": "assistant", "content": apply_template(THEIRS["gen_prefix"], problem)},
    ]


def asked(problem: dict[str, str]) -> str:
    """What our task hands to the prompt template."""
    config = registry._read(registry.ROOT / "strict" / "humaneval.yaml")
    return apply_template(config["doc_to_text"], problem)


@pytest.mark.integration
@pytest.mark.parametrize("prompt_format", list(CHAT_TEMPLATES))
def test_the_prompt_is_what_lm_eval_sends_a_chat_model(
    prompt_format: str, tiny_tokenizer: Path, tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(tiny_tokenizer, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text(CHAT_TEMPLATES[prompt_format])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for problem in (PROBLEM, PROBLEM | {"prompt": "\n\ndef half(x):\n    '''{instruction} <s>'''\n"}):
        # HFLM.apply_chat_template
        theirs = tokenizer.apply_chat_template(their_messages(problem), tokenize=False, continue_final_message=True)
        if prompt_format == "llama2":  # whose line breaks at the end ours leaves out: see data/templates.py
            assert theirs.endswith("\n\n")
            theirs = theirs.rstrip()
        (turn,) = conversation("humaneval_instruct", prompt_format, asked(problem))
        assert "<s>" + turn.prompt == theirs
        encoder = Encoder.from_folder(tmp_path)
        assert encoder.text(encoder.prompt("humaneval_instruct", "auto", asked(problem))) == theirs


def test_the_form_of_a_model_without_a_chat_template() -> None:
    (turn,) = conversation("humaneval_instruct", "alpaca", "def f():")
    assert turn.prompt == (
        "### Instruction:\nWrite a solution to the following problem and make sure that it passes the tests:\n"
        "```python\ndef f():\n\n```\n\n### Response:\nHere is the completed function:\n```python\ndef f():"
    )


def test_decoding_ends_where_theirs_does() -> None:
    ours = registry._read(registry.ROOT / "strict" / "humaneval.yaml")["generation_kwargs"]
    theirs = THEIRS["generation_kwargs"]
    assert (ours["until"], ours["do_sample"]) == (theirs["until"], theirs["do_sample"])
    assert THEIRS["metadata"]["version"] == 4.0  # else look at what changed


@given(st.lists(st.sampled_from(["```", "``", "python", "\n", "    return x / 2", "Explanation"]), max_size=8))
def test_what_counts_of_an_answer_is_what_lm_eval_counts(pieces: list[str]) -> None:
    text = "".join(pieces)
    ((expected,),) = _their_function("build_predictions_instruct")([[text]], [PROBLEM])
    assert completed(PROBLEM, text) == expected
    tests = apply_template(THEIRS["doc_to_target"], PROBLEM)
    assert program(PROBLEM, text) == f"{expected}\n{tests}"  # joined so by the metric, code_eval


class Says(TaskLM):
    """Says the solution as a chat model would, the code block closed and words after it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.asked += [request.args[0] for request in requests]
        return [f"\n{request.doc['canonical_solution']}```\nThis halves x." for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise AssertionError


@pytest.mark.usefixtures("needs_sandbox")
def test_lm_eval_asks_and_judges(tmp_path: Path) -> None:
    file = tmp_path / "HumanEval.jsonl"
    wrong = PROBLEM | {"task_id": "HumanEval/901", "canonical_solution": "    return x\n"}
    file.write_text("".join(json.dumps(row) + "\n" for row in (PROBLEM, wrong)))
    lm = Says()
    results = run_task(lm, "strict", "humaneval", "eval", None, scored=True, data=file)
    assert lm.asked == [PROBLEM["prompt"].rstrip()] * 2
    assert results["results"]["humaneval"]["accuracy,none"] == 0.5
    assert [sample["filtered_resps"] for sample in results["samples"]["humaneval"]] == [[["passed"]], [["failed"]]]


@pytest.fixture
def problems() -> list[dict[str, str]]:
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not here")
    return list(docs("", [], FIELDS, data=str(DATA))["eval"])


@pytest.mark.real_data
@pytest.mark.parametrize("prompt_format", ["llama2", "llama3"])
def test_every_real_problem_is_asked_in_lm_evals_words(problems: list[dict[str, str]], prompt_format: str) -> None:
    for problem in problems:
        user, assistant = (message["content"].strip() for message in their_messages(problem))
        prompt = conversation("humaneval_instruct", prompt_format, asked(problem))[0].prompt
        assert user in prompt and prompt.endswith(assistant)
        assert len(prompt) - len(user) - len(assistant) == FRAME[prompt_format]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.usefixtures("needs_sandbox")
def test_all_canonical_solutions_pass_and_all_empty_ones_fail(problems: list[dict[str, str]]) -> None:
    answers = [[f"\n{problem['canonical_solution']}```\n\nIt passes `assert False`."] for problem in problems]
    assert outcomes(answers, problems) == [["passed"]] * 164
    assert outcomes([["```"]] * len(problems), problems) == [["failed"]] * 164
