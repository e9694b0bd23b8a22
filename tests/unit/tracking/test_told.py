"""When a job is handed to the tracker, and what with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.execute import Record, Status
from sdft_exp.experiment import Experiment
from sdft_exp.stage import Stage
from sdft_exp.stages.report import ReportJob
from sdft_exp.tracking.handing import TrackedRun
from sdft_exp.tracking.told import Telling

REPORT = Stage("report", None)


@dataclass(frozen=True)
class Params:
    name: str


class Noted:
    """A tracker that notes what it is given."""

    def __init__(self) -> None:
        self.runs: list[TrackedRun] = []
        self.started = False

    def start(self) -> None:
        self.started = True

    def log(self, run: TrackedRun) -> None:
        self.runs.append(run)

    def end(self) -> str:
        return "said"


def score(name: str) -> Stage:
    return Stage("score", Params(name))


def job(method: str, seed: int = 0) -> tuple[Experiment, ReportJob]:
    config = compose([f"method={method}", f"seed={seed}", "tracker.tags=[mine]"])
    own = score(f"{method} {seed}")
    row = {"method": method, "method.mix_ratio": config.method.mix_ratio, "dataset": "micro_chat"}
    told = ReportJob(f"method={method} seed={seed}", row, seed, "micro", "micro_chat", ("t",), {"t": own.address}, {})
    return Experiment(config, scores={"t": own}), told


def telling(*jobs: tuple[Experiment, ReportJob]) -> tuple[Telling, Noted]:
    noted: Any = Noted()
    return Telling(noted, "my_sweep", {told.label: (story, told) for story, told in jobs}), noted


def ended(name: str, status: Status = "ran") -> Record:
    return Record(score(name), status, "", 1.0)


def test_a_job_is_handed_over_when_its_vanilla_fine_tuning_is_done_too() -> None:
    tell, noted = telling(job("vanilla"), job("sdft"), job("sdft", seed=1))
    tell.saw(ended("sdft 0"))
    assert noted.started and noted.runs == []
    tell.saw(ended("sdft 1"))  # which has no vanilla fine-tuning of its seed
    tell.saw(ended("vanilla 0"))
    assert [run.name for run in noted.runs] == ["method=sdft seed=1", "method=vanilla seed=0", "method=sdft seed=0"]
    assert [run.vanilla for run in noted.runs] == [{}, {}, {"t": score("vanilla 0").address}]
    sdft = noted.runs[2]
    assert (sdft.group, sdft.job_type, sdft.tags) == (
        "my_sweep",
        "sdft",
        ("micro_chat", "micro", "sdft", "lora", "mine"),
    )


def test_the_report_of_several_is_a_run_of_its_own_and_a_failed_job_is_left_out() -> None:
    tell, noted = telling(job("vanilla"), job("sdft"))
    tell.saw(ended("vanilla 0", "failed"))
    tell.saw(ended("sdft 0"))
    tell.saw(Record(REPORT, "ran", "", 1.0))
    tell.hand(REPORT, ["method=sdft seed=0"])
    assert tell.end() == "said"
    assert [run.job_type for run in noted.runs] == ["sdft", "report"]
    assert noted.runs[0].report is None and noted.runs[0].vanilla == {}
    assert (noted.runs[1].report, noted.runs[1].runs) == (REPORT.address, (noted.runs[0].key,))


def test_a_single_job_takes_its_report_with_it() -> None:
    tell, noted = telling(job("sdft"))
    tell.saw(ended("sdft 0"))
    assert noted.runs == []
    tell.saw(Record(REPORT, "hit", "", 0.0))
    tell.hand(REPORT, ["method=sdft seed=0"])
    (run,) = noted.runs
    assert run.report == REPORT.address and run.key == job("sdft")[0].key[:16]


def test_hits_alone_start_nothing_early() -> None:
    tell, noted = telling(job("vanilla"), job("sdft"))
    tell.saw(ended("vanilla 0", "hit"))
    assert not noted.started


def test_under_wandb_agent_the_run_has_the_agents_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "named")
    tell, noted = telling(job("sdft"))
    tell.saw(ended("sdft 0"))
    tell.hand(REPORT, ["method=sdft seed=0"])
    assert [run.key for run in noted.runs] == ["named"]
