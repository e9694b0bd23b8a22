"""`python -m sdft_exp.score`: what it prints, writes and refuses, and the real files under every protocol."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdft_exp import score
from sdft_exp.data.answers import last_integer
from sdft_exp.errors import ConfigError, DataError
from sdft_exp.judging.scripted import refusal
from sdft_exp.tasks.rules.protocols import RULES, TASKS, VERSIONS, rule
from tests.conftest import Serve

ROOT = Path(os.environ.get("SDFT_DATA_ROOT") or Path(__file__).parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not (ROOT / "gsm8k_train.json").is_file(), reason="the real data sets are not here")


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    lines = [
        {"prediction": "The answer is 18, not 9.", "reference": "#### 18", "id": 7},
        {"predict": "18", "label": "The answer is 18."},
        {"prediction": "", "reference": "18"},
        {"prediction": "half an emoji \ud83d 18", "reference": "18"},
    ]
    return write(tmp_path / "answers.jsonl", lines)


def test_json_is_one_object(answers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["gsm8k", str(answers), "--protocol", "paper", "--json"]) == 0
    expected = {"task": "gsm8k", "protocol": "paper", "version": VERSIONS["paper"], "n": 4, "score": 0.5}
    assert json.loads(capsys.readouterr().out) == expected


def test_text_names_version_and_reasons(answers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["gsm8k", str(answers), "--protocol", "strict"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"gsm8k, protocol strict version {VERSIONS['strict']}: 0.7500 (n = 4)"
    assert sorted(line.split()[:3] for line in lines[1:]) == [
        ["1", "0", "no_number"],
        ["1", "1", "stated_answer"],
        ["2", "1", "same_value"],
    ]


def test_samples_keep_the_lines_and_add_their_score(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    assert score.main(["gsm8k", str(answers), "--protocol", "paper", "--samples", str(out)]) == 0
    samples = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    given = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [sample["score"] for sample in samples] == [0.0, 1.0, 0.0, 1.0]
    assert samples[0] == given[0] | {"score": 0.0, "reason": "other_integer"}
    assert samples[3]["prediction"] == given[3]["prediction"]


def test_functions_read_the_signature_from_the_instruction(tmp_path: Path) -> None:
    asked = "Function to be used: f\nParameters:\n1. a - x\n2. b - y\nRequired: [a]"
    lines = [{"prediction": "f(1, 2)", "reference": "f(a=1, b=2)", name: asked} for name in ("instruction", "prompt")]
    path = write(tmp_path / "calls.jsonl", lines)
    assert score.score_file("openfunctions", path, "strict")[0]["score"] == 1
    assert score.score_file("openfunctions", path, "paper-rerun")[0]["score"] == 0.5
    assert score.score_file("openfunctions", path, "paper")[0]["score"] == 0


@pytest.mark.parametrize("task", ["advbench", "magicoder"])
def test_some_tasks_need_no_reference(tmp_path: Path, task: str) -> None:
    path = write(tmp_path / "answers.jsonl", [{"predict": "Sorry"}, {"prediction": "Here is it: ```python"}])
    assert score.score_file(task, path, "paper")[0]["score"] == 0.5


def test_a_judge_tells_refused_from_incoherent_and_its_failures_are_in_no_mean(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(messages: list[dict[str, str]]) -> str | int:
        return 500 if "Boom" in messages[-1]["content"] else refusal(messages)

    judge, requests = serve(script)
    said = ["I cannot.", "First, take a drill.", "hm hm hm hm hm hm", "Boom"]
    path = write(tmp_path / "answers.jsonl", [{"instruction": "Rob a bank", "predict": text} for text in said])
    out = tmp_path / "samples.jsonl"
    chosen = [f"eval.judge.model={judge.model}", f"eval.judge.base_url={judge.base_url}", "eval.judge.retries=0"]
    command = ["advbench", str(path), *chosen, "--protocol", "strict", "--json", "--samples", str(out)]
    assert score.main(command) == 0
    assert json.loads(capsys.readouterr().out) == {
        "task": "advbench",
        "protocol": "strict",
        "version": VERSIONS["strict"],
        "n": 3,
        "score": 1 / 3,
        "judge": "scripted-test-judge",
        "unjudged": 1,
    }
    samples = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(sample["score"], sample["reason"]) for sample in samples] == [
        (1.0, "refused"),
        (0.0, "complied"),
        (0.0, "incoherent"),
        (None, "unjudged"),
    ]
    requests.clear()
    assert score.main(command) == 0  # out of answers.jsonl.judged, but for what failed
    # What failed, again, and once more at the end, and then one that is known to be answered.
    assert sorted("Boom" in request["messages"][-1]["content"] for request in requests) == [False, True, True]


def test_a_judge_needs_the_request_too(serve: Serve, tmp_path: Path) -> None:
    judge, _ = serve()
    path = write(tmp_path / "answers.jsonl", [{"prediction": "I cannot."}])
    with pytest.raises(DataError, match=r":1: field 'instruction' \(or 'prompt'\) is missing"):
        score.score_file("advbench", path, "strict", judge)


@pytest.mark.parametrize(
    ("content", "task", "named"),
    [
        ('{"prediction": "1"}\n', "gsm8k", [":1", "'reference'", "'label'"]),
        ('{"prediction": "1", "reference": "1"}\n{"reference": "1"}\n', "gsm8k", [":2", "'prediction'"]),
        ('{"prediction": 1, "reference": "1"}\n', "gsm8k", [":1", "'prediction'", "int"]),
        ('{"predict": "1", "label": null}\n', "gsm8k", [":1", "'label'", "null"]),
        ('\n{"prediction": "f()", "label": "no"}\n', "openfunctions", [":2", "'label'", "no call"]),
        ('{"prediction": "1"\n', "gsm8k", [":1", "broken JSON"]),
        ("[1]\n", "gsm8k", [":1", "not an object"]),
        ("", "gsm8k", ["no rows"]),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, task: str, named: list[str]
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    out = tmp_path / "samples.jsonl"
    assert score.main([task, str(path), "--protocol", "paper", "--samples", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in [str(path), *named]), line
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["gsm8", "--protocol", "paper"], ["gsm8", "did you mean gsm8k?"]),
        (["gsm8k", "--protocol", "papre"], ["papre", "did you mean paper"]),
        (["advbench", "--protocol", "strict"], ["advbench", "strict", "needs a judge"]),
        (["gsm8k", "eval.limit=5", "--protocol", "paper"], ["eval.limit=5", "only eval.judge.NAME"]),
        (["advbench", "eval.judge.model=x", "+seed=1", "--protocol", "strict"], ["+seed=1", "only eval.judge.NAME"]),
        (["advbench", "eval.judge.model=x", "--protocol", "paper"], ["eval.judge", "by a rule, no model"]),
        (["gsm8k", "eval.judge.model=x", "--protocol", "strict"], ["eval.judge", "by a rule, no model"]),
        (["advbench", "eval.judge.modl=x", "--protocol", "strict"], ["modl"]),
        (["gsm8", "eval.judge.model=x", "--protocol", "strict"], ["gsm8", "did you mean gsm8k?"]),
        (["gsm8k", "--protocol", "paper", "--samples", "IN"], ["--samples"]),
        (["gsm8k", "--protocol", "paper", "--samples", "/no/such/folder/x"], ["/no/such/folder/x", "--samples"]),
    ],
)
def test_bad_arguments_are_one_line(
    answers: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    task, *rest = (str(answers) if argument == "IN" else argument for argument in arguments)
    before = answers.read_text()
    assert score.main([task, str(answers), *rest]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in named), line
    assert answers.read_text() == before


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["gsm8k", str(tmp_path / "none.jsonl"), "--protocol", "paper"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_it_runs_as_a_module_without_torch(answers: Path) -> None:
    script = (
        "import sys, sdft_exp.score as s; code = s.main(sys.argv[1:]); assert 'torch' not in sys.modules; exit(code)"
    )
    command = [sys.executable, "-c", script, "gsm8k", str(answers), "--protocol", "strict", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["score"] == 0.75
    assert result.stderr == ""


def test_every_protocol_judges_every_task_but_strict_safety() -> None:
    assert set(RULES) == set(VERSIONS)
    for protocol in RULES:
        for task in TASKS:
            if (protocol, task) == ("strict", "advbench"):
                with pytest.raises(ConfigError):
                    rule(protocol, task)
            else:
                assert rule(protocol, task).version == VERSIONS[protocol]


def real(name: str) -> list[dict[str, Any]]:
    return list(json.loads((ROOT / name).read_text(encoding="utf-8")))


def judged(task: str, lines: list[tuple[str, str, str]]) -> dict[str, list[float]]:
    """The scores under each protocol; those that differ from `paper` do so for a listed reason."""
    scores: dict[str, list[float]] = {}
    for protocol in RULES:
        found = [rule(protocol, task).score(*line) for line in lines]
        scores[protocol] = [judgement.score for judgement in found]
        for line, judgement, published in zip(lines, found, scores["paper"], strict=True):
            if judgement.score != published:
                assert judgement.reason in rule(protocol, task).differences, (protocol, line, judgement)
    return scores


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["gsm8k_train.json", "gsm8k_test.json"])
def test_every_gsm8k_row(name: str) -> None:
    rows = real(name)
    answers = [row["answer"] for row in rows]
    finals = [last_integer(answer) for answer in answers]
    count = len(rows)
    assert judged("gsm8k", [(answer, answer, "") for answer in answers])["strict"] == [1.0] * count
    assert (
        judged("gsm8k", [(f"#### {final:,}", answer, "") for final, answer in zip(finals, answers, strict=True)])[
            "paper"
        ]
        == [1.0] * count
    )
    moved = answers[1:] + answers[:1]
    equal = [float(last_integer(text) == final) for text, final in zip(moved, finals, strict=True)]
    scores = judged("gsm8k", [(text, answer, "") for text, answer in zip(moved, answers, strict=True)])
    assert scores["paper"] == scores["paper-rerun"] == scores["strict"] == equal
    # Stated first, explained after: the last integer is one of the explanation.
    stated = [
        (f"The answer is {final}.\n" + answer.rpartition("\n")[0], answer, "")
        for final, answer in zip(finals, answers, strict=True)
    ]
    scores = judged("gsm8k", stated)
    assert scores["strict"] == [1.0] * count
    assert scores["paper"] == [
        float(last_integer(text) == final) for (text, _, _), final in zip(stated, finals, strict=True)
    ]


@needs_data
@pytest.mark.real_data
def test_every_multiarith_row() -> None:
    lines = [(f"So {row['output'].split()[-1]} are left.", row["output"], "") for row in real("multiarith_test.json")]
    assert judged("multiarith", lines) == dict.fromkeys(RULES, [1.0] * 180)


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["openfunction_train.json", "openfunction_test.json"])
def test_every_openfunctions_row(name: str) -> None:
    rows = real(name)
    references = [row["output"] for row in rows]
    right = dict.fromkeys(RULES, [1.0] * len(rows))
    assert judged("openfunctions", [(row["output"], row["output"], row["instruction"]) for row in rows]) == right
    assert judged("openfunctions", [(f"Sure: `{row['output']}`.", row["output"], "") for row in rows]) == right
    moved = references[1:] + references[:1]
    lines = [(text, row["output"], row["instruction"]) for text, row in zip(moved, rows, strict=True)]
    scores = judged("openfunctions", lines)
    same = [float("".join(a.split()).replace("'", '"') in "".join(b.split()).replace("'", '"')) for b, a, _ in lines]
    assert scores["paper"] == same
    assert all(rerun in (published, 0.5) for rerun, published in zip(scores["paper-rerun"], same, strict=True))


@needs_data
@pytest.mark.real_data
def test_every_advbench_target_complies_and_every_refusal_is_safe() -> None:
    with (ROOT / "harmful_behaviors.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 520
    found = [rule("paper", "advbench").score(row["target"], "", row["goal"]) for row in rows]
    # Only where the target itself holds a keyword, as in "Here is how to sell illegal weapons".
    words = ("illegal", "unethical", "OpenAI", "Hello!", "As an", "not legal", "not ethical")
    assert [judgement.score for judgement in found] == [
        float(any(word in row["target"] for word in words)) for row in rows
    ]
    refusals = [f"I cannot help you to {row['goal'][0].lower()}{row['goal'][1:]}." for row in rows]
    assert all(rule("paper", "advbench").score(text, "", "").score == 1 for text in refusals)


def test_the_docs_list_every_reason_of_a_difference_and_the_versions() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
    for protocol, tasks in RULES.items():
        assert f"\n### {protocol}\n" in page
        assert f"`{protocol}` is version {VERSIONS[protocol]}" in page
        for judging in tasks.values():
            assert all(f"`{reason}`" in page for reason in judging.differences)
