"""Which file of eval.data a task asks from, what is wrong with it, and that where it lies moves no key."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from sdft_exp.errors import ConfigError, DataError
from sdft_exp.stage import keyed
from sdft_exp.tasks import registry
from sdft_exp.tasks.question_files import find, unchanged

GSM8K = registry.task("paper", "gsm8k")
MICRO = registry.task("micro", "micro_math")
ROWS = [{"question": "1 + 1?", "answer": "#### 2"}, {"question": "2 + 2?", "answer": "#### 4"}]


def write(folder: Path, rows: list[dict[str, object]], name: str = "gsm8k_test.json") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return path


def test_the_first_of_a_tasks_files_is_taken_and_counted(tmp_path: Path) -> None:
    official = write(tmp_path, ROWS[:1], "gsm8k_official_test.jsonl")
    found = find(GSM8K, str(tmp_path))
    assert found is not None and (found.path, found.rows) == (str(official), 1)
    authors = write(tmp_path, ROWS)
    found = find(GSM8K, str(tmp_path))
    assert found is not None and (found.path, found.rows) == (str(authors), 2)
    assert unchanged(found) == authors


def test_without_a_folder_or_for_a_task_without_files_there_is_none(tmp_path: Path) -> None:
    assert find(GSM8K, None) is None
    assert find(MICRO, str(tmp_path)) is None
    assert unchanged(None) is None


def test_the_content_is_in_the_key_and_the_place_is_not(tmp_path: Path) -> None:
    write(tmp_path / "a", ROWS)
    write(tmp_path / "b", ROWS)
    write(tmp_path / "c", ROWS[:1])
    keys = [keyed(find(GSM8K, str(tmp_path / name))) for name in "abc"]
    assert keys[0] == keys[1] != keys[2]


def test_a_wrong_folder_or_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^eval\.data=\S*/not_there: no such folder; name the one that holds"):
        find(MICRO, str(tmp_path / "not_there"))
    with pytest.raises(ConfigError) as refused:
        find(GSM8K, str(tmp_path))
    assert str(refused.value) == (
        f"eval.data={tmp_path}: holds no gsm8k_test.json or gsm8k_official_test.jsonl, from which gsm8k asks; put it "
        "there, or set eval.data=null to ask the hub"
    )


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "q"}, r"gsm8k_test\.json:1: field 'answer' is missing \(fields there: question\)"),
        ({"question": " ", "answer": "2"}, r"gsm8k_test\.json:1: field 'question' must be a text, not empty"),
        ({"question": "q", "answer": 2}, r"gsm8k_test\.json:1: field 'answer' must be a text, not empty"),
    ],
)
def test_a_record_that_lacks_a_text_is_told_before_any_work(tmp_path: Path, row: dict[str, object], says: str) -> None:
    write(tmp_path, [row])
    with pytest.raises(DataError, match=says):
        find(GSM8K, str(tmp_path))


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    found = find(GSM8K, str(tmp_path))
    assert found is not None
    write(tmp_path, ROWS[:1])
    with pytest.raises(DataError, match="has changed since the run was planned"):
        unchanged(found)
    path.unlink()
    with pytest.raises(DataError, match="is gone"):
        unchanged(dataclasses.replace(found))


def test_lm_evals_own_tasks_ask_from_a_copy_of_their_data_set(tmp_path: Path) -> None:
    hellaswag = registry.task("knowledge", "hellaswag")
    for place in "ab":
        (tmp_path / place / "hellaswag" / "data").mkdir(parents=True)
        (tmp_path / place / "hellaswag" / "data" / "test.parquet").write_bytes(b"rows")
    (tmp_path / "b" / "hellaswag" / ".cache").mkdir()
    (tmp_path / "b" / "hellaswag" / ".cache" / "notes").write_text("when and whence it came")
    first, second = (find(hellaswag, str(tmp_path / place)) for place in "ab")
    assert first is not None and second is not None
    assert keyed(first) == keyed(second)
    assert unchanged(first) == tmp_path / "a" / "hellaswag"
    (tmp_path / "b" / "hellaswag" / "data" / "test.parquet").rename(tmp_path / "b" / "hellaswag" / "test.parquet")
    assert keyed(find(hellaswag, str(tmp_path / "b"))) != keyed(first)
    (tmp_path / "a" / "hellaswag" / "data" / "test.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="is gone or has changed since the run was planned"):
        unchanged(first)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as refused:
        find(hellaswag, str(tmp_path / "empty"))
    assert str(refused.value) == (
        f"eval.data={tmp_path}/empty: holds no folder hellaswag with a copy of the data set Rowan/hellaswag, from "
        "which hellaswag asks; put it there, or set eval.data=null to ask the hub"
    )
