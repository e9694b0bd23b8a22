"""Filtering by a score: a column of the rows or a file beside them, what is kept, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.config import RunConfig
from sdft_exp.data.rows import LeftOut, left_out, load_rows, row_source
from sdft_exp.errors import ConfigError, DataError
from sdft_exp.stage import Stage, keyed
from sdft_exp.stages import dataset

SCORES = [4.5, 2, 5, 4.4]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Four rows with a score each."""
    made = [{"instruction": f"q{n}", "output": f"a{n}", "score": score} for n, score in enumerate(SCORES)]
    return write(tmp_path / "my.jsonl", made)


def composed(rows: Path, *overrides: str) -> RunConfig:
    return compose(["dataset=jsonl", f"dataset.path={rows}", *overrides])


def kept(rows: Path, *overrides: str) -> list[str]:
    return [row["id"] for row in load_rows(row_source(composed(rows, *overrides).dataset))]


def test_without_a_threshold_every_row_is_taken(rows: Path) -> None:
    assert kept(rows) == ["row-000000", "row-000001", "row-000002", "row-000003"]
    assert kept(rows, "dataset.quality.column=nothing_of_theirs") == kept(rows)


def test_rows_that_score_less_are_left_out_and_the_others_keep_their_names(rows: Path) -> None:
    asked = ["dataset.quality.at_least=4.5"]
    assert kept(rows, *asked) == ["row-000000", "row-000002"]
    source = row_source(composed(rows, *asked).dataset)
    assert left_out(source) == LeftOut(incomplete=0, low_quality=2)
    assert kept(rows, *asked, "dataset.max_samples=1")[0] in kept(rows, *asked)


def test_scores_of_a_file_are_those_of_the_rows_in_order(rows: Path, tmp_path: Path) -> None:
    given = write(tmp_path / "scores.jsonl", [{"mark": number} for number in (0, 3, 0.5, 3)])
    asked = [f"dataset.quality.file={given}", "dataset.quality.column=mark", "dataset.quality.at_least=3"]
    assert kept(rows, *asked) == ["row-000001", "row-000003"]
    csv = tmp_path / "scores.csv"
    csv.write_text("mark\n0\n3\n0.5\n3\n")
    assert kept(rows, f"dataset.quality.file={csv}", *asked[1:]) == ["row-000001", "row-000003"]


def test_several_rows_on_one_line_have_a_score_each(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps([{"instruction": "q", "output": "a", "score": score} for score in SCORES]))
    assert kept(path, "dataset.quality.at_least=4.5") == ["row-000000", "row-000002"]


def test_an_incomplete_row_has_its_place_among_the_scores(tmp_path: Path) -> None:
    path = write(tmp_path / "my.jsonl", [{"instruction": "q", "output": ""}, {"instruction": "q", "output": "a"}])
    given = write(tmp_path / "scores.jsonl", [{"score": 1}, {"score": 5}])
    asked = [f"dataset.quality.file={given}", "dataset.quality.at_least=4", "dataset.incomplete=leave_out"]
    assert kept(path, *asked) == ["row-000001"]
    assert left_out(row_source(composed(path, *asked).dataset)) == LeftOut(incomplete=1, low_quality=0)


def test_the_miniatures_rows_take_scores_from_a_file(tmp_path: Path) -> None:
    given = write(tmp_path / "scores.jsonl", [{"score": number} for number in range(20)])
    asked = ["dataset=micro_chat", "dataset.size=20", "dataset.quality.at_least=15"]
    config = compose([*asked, f"dataset.quality.file={given}"])
    assert [row["line"] for row in load_rows(row_source(config.dataset))] == [16, 17, 18, 19, 20]
    with pytest.raises(ConfigError, match=r"^dataset\.quality\.file: is missing; the rows of dataset=micro_chat"):
        compose(asked)


def test_the_stage_counts_what_is_left_out(rows: Path, tmp_path: Path) -> None:
    stage = dataset.stage(composed(rows, "dataset.quality.at_least=4.5"))
    assert stage.label == "jsonl, 2 of too low a score left out" and stage.cost.samples == 2
    out = tmp_path / "out"
    out.mkdir()
    dataset.run(stage.params, {}, out, lambda done, total, what: None)
    stats = json.loads((out / "stats.json").read_text())
    assert stats == {"rows": 2, "repeated": 0, "incomplete": 0, "low_quality": 2}


def test_the_key_follows_the_rule_and_the_scores(rows: Path, tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        source = row_source(composed(rows, *overrides).dataset)
        assert str(tmp_path) not in str(keyed(source))
        return Stage("dataset", source).key

    given = write(tmp_path / "scores.jsonl", [{"score": 1}] * 4)
    asked = [f"dataset.quality.file={given}", "dataset.quality.at_least=1"]
    keys = [key(), key("dataset.quality.at_least=1"), key("dataset.quality.at_least=2"), key(*asked)]
    write(given, [{"score": 2}] * 4)
    keys.append(key(*asked))
    assert len(set(keys)) == len(keys)
    assert key("dataset.quality.column=other") == keys[0]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, r"my\.jsonl:1: field 'score' is missing \(there are: instruction, output\)"),
        ({"score": None}, r"my\.jsonl:1: field 'score' must be a number, not None"),
        ({"score": "good"}, r"my\.jsonl:1: field 'score' must be a number, not 'good'"),
        ({"score": True}, r"my\.jsonl:1: field 'score' must be a number, not True"),
        ({"score": "nan"}, r"my\.jsonl:1: field 'score' must be a number, not 'nan'"),
    ],
)
def test_a_row_without_a_score_is_named_before_any_work(row: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = write(tmp_path / "my.jsonl", [{"instruction": "q", "output": "a"} | row])
    with pytest.raises(DataError, match=expected):
        dataset.stage(composed(path, "dataset.quality.at_least=1"))


def test_a_file_of_scores_that_cannot_be_used_is_named_before_any_work(rows: Path, tmp_path: Path) -> None:
    def planned(*overrides: str) -> None:
        dataset.stage(composed(rows, *overrides))

    given = write(tmp_path / "scores.jsonl", [{"score": 1}, {"score": 5}, {"mark": 5}])
    asked = [f"dataset.quality.file={given}", "dataset.quality.at_least=4"]
    with pytest.raises(DataError, match=r"scores\.jsonl:3: field 'score' is missing \(there are: mark\); name the sco"):
        planned(*asked)
    with pytest.raises(
        DataError, match=r"scores\.jsonl:3: field 'score' is missing"
    ):  # also where the rows are not here
        dataset.stage(compose(["dataset=lima", "model=llama2_7b", *asked]))
    write(given, [{"score": 5}] * 3)
    with pytest.raises(DataError, match=r"scores\.jsonl: holds 3 scores for the 4 rows of .*my\.jsonl; one a row"):
        planned(*asked)
    with pytest.raises(
        DataError, match=r"my\.jsonl: none of its 4 rows is left to train on; 0 are incomplete and 4 score"
    ):
        planned("dataset.quality.at_least=9")
    with pytest.raises(DataError, match=r"no\.jsonl: no such file; set dataset\.quality\.file"):
        planned("dataset.quality.file=no.jsonl", asked[1])


def test_a_file_of_scores_that_changes_after_the_plan_is_refused(rows: Path, tmp_path: Path) -> None:
    given = write(tmp_path / "scores.jsonl", [{"score": 5}] * 4)
    source = row_source(composed(rows, f"dataset.quality.file={given}", "dataset.quality.at_least=4").dataset)
    write(given, [{"score": 5}] * 3 + [{"score": 1}])
    with pytest.raises(DataError, match=r"scores\.jsonl: has changed since the run was planned"):
        load_rows(source)


def test_no_threshold_takes_every_row_whatever_the_file_says(rows: Path, tmp_path: Path) -> None:
    """As a sweep of thresholds has it: null beside numbers, with one file of scores."""
    given = write(tmp_path / "scores.jsonl", [{"score": 1}] * 4)
    asked = [f"dataset.quality.file={given}", "dataset.quality.at_least=null"]
    assert kept(rows, *asked) == kept(rows) and len(kept(rows)) == 4
    assert dataset.stage(composed(rows, *asked)).key == dataset.stage(composed(rows)).key


def test_how_many_rows_of_a_hub_set_are_left_the_scores_tell(tmp_path: Path) -> None:
    def expected(*overrides: str) -> int | None:
        return row_source(compose(["dataset=lima", "model=llama2_7b", *overrides]).dataset).expected

    given = write(tmp_path / "scores.jsonl", [{"score": number} for number in range(1030)])
    assert expected() == 1030
    assert expected(f"dataset.quality.file={given}", "dataset.quality.at_least=1000") == 30
    assert expected("dataset.quality.at_least=1000") is None
