"""What names a row of the table, and the folder that people read."""

from __future__ import annotations

import io
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from sdft_exp import run
from sdft_exp.compose import compose
from sdft_exp.errors import UserError
from sdft_exp.experiment import Experiment
from sdft_exp.jobs import Job, row_values
from sdft_exp.results import alone, writing
from sdft_exp.stage import Stage


@dataclass(frozen=True)
class Params:
    """Of a stage that is only named."""


def rows(*jobs: str) -> dict[str, dict[str, object]]:
    return row_values([Job(job, Experiment(compose(job.split()))) for job in jobs])


def test_seeds_make_no_rows_of_their_own() -> None:
    found = rows("seed=0", "seed=1")
    assert found["seed=0"] == found["seed=1"]


def test_what_follows_from_a_data_set_is_told_by_its_name() -> None:
    found = rows("dataset=micro_math", "dataset=micro_chat")
    assert set(found["dataset=micro_math"]) == {"dataset", "method", "method.mix_ratio", "tuning", "model"}


def test_what_varies_within_a_data_set_and_a_method_is_a_row() -> None:
    jobs = ("method.distill_template=alpaca_distill_refer", "method.distill_template=alpaca_distill_using")
    found = rows(*jobs, "method=vanilla")
    assert {found[job]["method.distill_template"] for job in jobs} == {"alpaca_distill_refer", "alpaca_distill_using"}
    assert "tuning.rank" not in found["method=vanilla"]


def test_two_who_leave_the_same_results_take_turns(tmp_path: Path) -> None:
    order = []

    def leave() -> None:
        with alone(tmp_path):
            order.append("second")

    with alone(tmp_path):
        other = threading.Thread(target=leave)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_a_figure_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path) -> list[Path]:
        raise TypeError("unsupported operand")

    shifts = {"update": Stage("update", Params(), {})}
    job = Job("job", Experiment(compose(["plan=true"]), shifts=shifts))
    told = io.StringIO()
    monkeypatch.setattr(run, "write_shift_figures", lambda folder: [folder / "shift_a.png", folder / "shift_a.svg"])
    assert run.leave_figures(tmp_path, [job], Console(file=told)) == ["shift_a.png"]
    monkeypatch.setattr(run, "write_shift_figures", fails)
    assert run.leave_figures(tmp_path, [job], Console(file=told)) == []
    assert told.getvalue() == (
        "warning: the figures could not be drawn (TypeError: unsupported operand); "
        f"python -m analysis.shift_figures {tmp_path} tries again\n"
    )


def test_results_that_cannot_be_written_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    told = rf"paths.output={tmp_path / 'outputs'}: cannot be written \(Not a directory\)"
    with pytest.raises(UserError, match=told), writing(tmp_path / "outputs" / "job"):
        (tmp_path / "outputs" / "job").mkdir()


def test_a_copy_that_fails_is_told_by_its_first_reason(tmp_path: Path) -> None:
    error = shutil.Error([("from", "to", "[Errno 28] No space left on device"), ("a", "b", "[Errno 5] else")])
    with (
        pytest.raises(UserError, match=r"cannot be written \(\[Errno 28\] No space left on device\);"),
        writing(tmp_path),
    ):
        raise error
