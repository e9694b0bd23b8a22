"""The page of tokens as a file: what stands in it. tests/integration/test_token_shift_page.py opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analysis.bench_tokens import TASK, made_up
from analysis.token_shift import write_page
from analysis.token_shift.__main__ import main
from analysis.token_shift.packing import FEW, LISTED, LONGEST, packed, told
from analysis.token_shift.page import Contents, contents
from analysis.token_shift.source import read
from sdft_exp.errors import DataError
from sdft_exp.results import PLAN, TOKEN_PAGE

CLASS_NUMBERS = {"unshifted": "0", "marginal": "1", "shifted": "2"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_up(tmp_path)


def _jobs(run: Path) -> list[dict[str, Any]]:
    return [job["report"] for job in json.loads((run / PLAN).read_text())["jobs"]]


def _artifact(run: Path, method: str, seed: int = 0, task: str = TASK) -> Path:
    """The folder of what was measured of a method."""
    plan = json.loads((run / PLAN).read_text())
    jobs = [job for job in _jobs(run) if (job["row"]["method"], job["seed"]) == (method, seed)]
    return Path(plan["store"]) / jobs[0]["shifts"][f"token_shift/{task}"]


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tokens.jsonl").read_text().splitlines()]


def _write(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "tokens.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _unpacked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found


def _digits(values: list[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _listed(found: Contents, packed_lists: list[list[Any]]) -> list[list[tuple[int, float]]]:
    """By token (id, probability) of the likeliest."""
    counts, places, probabilities = packed_lists
    entries = [(found.index["tokens"][place][0], each) for place, each in zip(places, probabilities, strict=True)]
    assert sum(counts) == len(entries)
    return [[entries.pop(0) for _ in range(count)] for count in counts]


def _contents(run: Path) -> Contents:
    return contents(read(run))


def test_every_token_is_there_with_the_numbers_that_were_measured(run: Path) -> None:
    found = _contents(run)
    (part,) = found.index["parts"]
    line = _lines(_artifact(run, "sdft"))[7]
    question, name, shown = part["items"][7]
    assert found.index["tasks"][0]["questions"][question] == [
        f"{TASK}-7",
        "Question 7: <b>how</b>?",
        "The seed LM says no to number 7.",
    ]
    text, (total, marginal, shifted, kl) = shown[1]
    assert text == "".join(line["pieces"])
    assert (total, marginal, shifted) == (20, line["classes"].count("marginal"), line["classes"].count("shifted"))
    assert kl == pytest.approx(sum(line["kl_base_tuned"]) / 20, rel=1e-3)
    tokens = _unpacked(found.blobs[name])["1"]
    assert tokens["lengths"] == [len(piece) for piece in line["pieces"]]
    assert (tokens["ids"], tokens["rank"]) == (line["ids"], line["base_rank"])
    assert tokens["classes"] == "".join(CLASS_NUMBERS[each] for each in line["classes"])
    assert tokens["base"] == _digits(line["base_probability"])
    assert tokens["tuned"] == _digits(line["tuned_probability"])
    assert tokens["kl_base_tuned"] == _digits(line["kl_base_tuned"])
    assert tokens["kl_tuned_base"] == _digits(line["kl_tuned_base"])
    rest = _unpacked(found.blobs[f"{name}-rest"])["1"]
    for model in ("top_base", "top_tuned"):
        parts = [_listed(found, each[model]) for each in (tokens, rest)]
        assert [len(few) for few in parts[0]] == [FEW if each == "unshifted" else LISTED for each in line["classes"]]
        together = [few + others for few, others in zip(*parts, strict=True)]
        assert together == [[(token, *_digits([share])) for token, share in top] for top in line[model]]
    vocabulary = json.loads((_artifact(run, "sdft") / "vocabulary.json").read_text())
    assert all(vocabulary[str(token)] == text for token, text in found.index["tokens"])


def test_rows_stand_side_by_side_with_the_shares_of_all(run: Path) -> None:
    found = _contents(run)
    assert found.index["groups"] == [
        {"heading": "micro_chat on micro", "rows": ["vanilla", "SDFT"], "looks": ["vanilla", "sdft"]}
    ]
    stats = json.loads((_artifact(run, "vanilla") / "stats.json").read_text())
    row = found.index["parts"][0]["rows"][0]
    assert row["shares"] == [stats["unshifted"], stats["marginal"], stats["shifted"]]
    assert (row["row"], row["form"], row["responses"]) == (0, "exact", 12)
    assert found.notes == []


def test_a_response_that_only_one_row_has_stands_there_alone(run: Path) -> None:
    _write(_artifact(run, "vanilla"), _lines(_artifact(run, "vanilla"))[3:])
    (part,) = _contents(run).index["parts"]
    assert len(part["items"]) == 12
    assert part["items"][2][2][0] is None and part["items"][2][2][1] is not None
    assert None not in part["items"][3][2]


def test_tasks_and_seeds_are_parts(tmp_path: Path) -> None:
    found = _contents(made_up(tmp_path, questions=2, seeds=2, tasks=(TASK, "micro_text")))
    tasks = [task["task"] for task in found.index["tasks"]]
    assert [(tasks[part["task"]], part["seed"]) for part in found.index["parts"]] == [
        (TASK, 0),
        (TASK, 1),
        ("micro_text", 0),
        ("micro_text", 1),
    ]
    assert found.index["tasks"][0]["seed"] is None
    assert "micro_text is not among this run's eval.tasks" in found.index["tasks"][1]["seed"]
    assert [question[2] for question in found.index["tasks"][1]["questions"]] == [None, None]


def test_a_large_page_has_short_lists_where_nothing_shifted_and_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sum(map(len, _contents(run).blobs.values()))
    monkeypatch.setattr("analysis.token_shift.page.CHARACTERS", whole - 1)
    found = _contents(run)
    assert found.notes == [
        f"{TASK}, seed 0: at unshifted tokens the 3 likeliest of 10 are here; the page would be too large."
    ]
    assert [*found.blobs] == [f"p0-{number}" for number in range(12)]
    line = _lines(_artifact(run, "vanilla"))[0]
    listed = _listed(found, _unpacked(found.blobs["p0-0"])["0"]["top_base"])
    assert [len(top) for top in listed] == [FEW if each == "unshifted" else LISTED for each in line["classes"]]


def test_a_larger_one_has_the_first_responses_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_up(tmp_path, seeds=2)
    monkeypatch.setattr("analysis.token_shift.page.CHARACTERS", 12_000)
    found = _contents(run)
    counts = [len(part["items"]) for part in found.index["parts"]]
    assert all(1 <= count < 12 for count in counts)
    assert sum(map(len, found.blobs.values())) < 12_000
    for seed, count in enumerate(counts):
        assert (
            f"{TASK}, seed {seed}: the first {count} of 12 questions are here; the page would be too large."
            in found.notes
        )


def test_a_long_response_is_cut_and_counted_whole(run: Path) -> None:
    folder = _artifact(run, "sdft")
    lines = _lines(folder)
    wide = LONGEST // 20 + 1
    lists = {name: value * wide for name, value in lines[0].items() if isinstance(value, list)}
    _write(folder, [lines[0] | lists, *lines[1:]])
    found = _contents(run)
    _, name, shown = found.index["parts"][0]["items"][0]
    assert shown[1][1][0] == wide * 20
    tokens = _unpacked(found.blobs[name])["1"]
    assert len(tokens["ids"]) == len(tokens["rank"]) == len(tokens["top_base"][0]) == LONGEST
    assert sum(tokens["lengths"]) == len(shown[1][0])
    assert found.notes == [f"{TASK}, seed 0: of 1 longer responses the first 4,000 tokens are here."]


def test_more_rows_than_fit_are_named(tmp_path: Path) -> None:
    found = _contents(made_up(tmp_path, questions=1, tokens=2, methods=[f"method{count}" for count in range(14)]))
    assert len(found.index["groups"][0]["rows"]) == len(found.index["parts"][0]["rows"]) == 12
    assert found.notes == ["micro_chat on micro: the first 12 of 14 tuned rows are here."]


ODD = ["</script><b>", "\u2028", "\x00", "\ud800", "", "😀", "<!--", "\u202e", "&amp;"]


def _odd(run: Path) -> None:
    folder = _artifact(run, "vanilla")
    lines = _lines(folder)
    lists = {name: value[: len(ODD)] for name, value in lines[0].items() if isinstance(value, list)}
    _write(folder, [lines[0] | lists | {"pieces": ODD, "prompt": "</script> \udfff?"}, *lines[1:]])
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(dict.fromkeys(vocabulary, "</script>\ud800")))


def test_no_text_ends_a_script_or_breaks_the_file(run: Path) -> None:
    _odd(run)
    page = write_page(run).read_text(encoding="utf-8")
    data = page.split('id="index">')[1].split("</script>")[0]
    assert "<" not in data and "\u2028" not in data
    index = json.loads(data)
    question, name, shown = index["parts"][0]["items"][0]
    assert index["tasks"][0]["questions"][question][1] == "</script> \ufffd?"
    assert shown[0][0] == "".join(ODD).replace("\ud800", "\ufffd")
    packed_tokens = re.search(rf'id="{name}">([A-Za-z0-9+/=]*)</script>', page)
    assert packed_tokens and _unpacked(packed_tokens[1])["0"]["lengths"] == [12, 1, 1, 1, 0, 1, 4, 1, 5]
    assert ["</script>\ufffd"] in [token[1:] for token in index["tokens"]]


def test_the_page_may_ask_nobody_and_runs_its_own_script_alone(run: Path) -> None:
    page = write_page(run).read_text(encoding="utf-8")
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe" not in policy
    script = page.split("<script>")[1].split("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)


def test_questions_of_one_name_are_told_apart(run: Path) -> None:
    for method in ("vanilla", "sdft"):
        folder = _artifact(run, method)
        _write(folder, [line | {"id": "same"} for line in _lines(folder)])
    names = [question[0] for question in _contents(run).index["tasks"][0]["questions"]]
    assert names == ["same", *(f"same ({number})" for number in range(1, 12))]


def test_what_is_no_number_is_null() -> None:
    line = {
        "pieces": ["a", "b"],
        "ids": [3, 4],
        "classes": ["shifted", "unshifted"],
        "base_rank": [9, 1],
        "base_probability": [0.0, 1.0],
        "tuned_probability": [0.123456, 1.23456e-7],
        "kl_base_tuned": [float("nan"), float("inf")],
        "kl_tuned_base": [float("-inf"), -0.5],
        "top_base": [[[3, 0.5]], [[4, 1.0]]],
        "top_tuned": [[[3, 0.5]], [[4, 1.0]]],
    }
    found = _unpacked(packed({0: line}, {0: {3: 0, 4: 1}}))["0"]
    assert (found["kl_base_tuned"], found["kl_tuned_base"]) == ([None, None], [None, -0.5])
    assert (found["base"], found["tuned"]) == ([0, 1], [0.1235, 1.235e-07])
    assert told(line | {"kl_base_tuned": [1.0, 2.0]}) == [2, 0, 1, 1.5]


def test_what_is_gone_is_named_and_the_rest_shown(tmp_path: Path) -> None:
    run = made_up(tmp_path, seeds=2)
    (_artifact(run, "vanilla", 1) / "tokens.jsonl").unlink()
    score = _jobs(run)[0]["seed_scores"][TASK]
    (tmp_path / "store" / score / f"samples_{TASK}.jsonl").unlink()
    found = _contents(run)
    assert found.notes == [f"Not in the store, so not here: {TASK}, vanilla, seed 1."]
    assert [[row["row"] for row in part["rows"]] for part in found.index["parts"]] == [[0, 1], [1]]
    assert found.index["tasks"][0]["seed"] == "Its answers are no longer in the store."


def test_a_run_without_tokens_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up(tmp_path, tasks=())
    assert main([str(run)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "measured no tokens" in error and "shift.measures=[tokens] shift.tasks=[...]" in error
    assert not (run / TOKEN_PAGE).exists()


def test_a_run_whose_artifacts_are_gone_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parent / "store").rename(run.parent / "elsewhere")
    assert main([str(run)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "no token shift of it is in" in error


def test_the_page_lies_in_the_folder_or_where_it_is_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / TOKEN_PAGE)
    other = run.parent / "other.html"
    assert main([str(run), "--out", str(other)]) == 0
    assert other.read_text() == (run / TOKEN_PAGE).read_text()
    assert main([str(run), "--out", str(run / "nowhere" / "x.html")]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error and len(error.splitlines()) == 1


def test_a_damaged_line_is_named(run: Path) -> None:
    with (_artifact(run, "sdft") / "tokens.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(DataError, match=r"tokens\.jsonl, line 13: cannot be read"):
        write_page(run)


def test_the_page_is_written_without_torch(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from analysis.token_shift import write_page;"
        f"write_page(Path({str(run)!r})); print(sorted({{'torch', 'matplotlib', 'pandas'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
