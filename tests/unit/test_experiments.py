"""The presets of conf/experiment: how they open, and what the demo's sweep is made of."""

from __future__ import annotations

import itertools

import pytest
import yaml

from sdft_exp.compose import CONF, compose

ROOT = CONF / "experiment"
PRESETS = sorted(preset.relative_to(ROOT).with_suffix("").as_posix() for preset in ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_opens_with_the_command_that_runs_it(preset: str) -> None:
    first, second = (ROOT / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()[:2]
    assert first == "# @package _global_"
    assert second.startswith(f"# python main.py -m experiment={preset}")


def test_the_demo_is_twelve_jobs_that_differ_in_method_data_and_seed_alone() -> None:
    preset = yaml.safe_load((CONF / "experiment" / "demo.yaml").read_text(encoding="utf-8"))["hydra"]
    assert preset["mode"] == "MULTIRUN"
    swept = {key: str(values).split(",") for key, values in preset["sweeper"]["params"].items()}
    jobs = [
        compose(["experiment=demo", *(f"{key}={value}" for key, value in zip(swept, values, strict=True))])
        for values in itertools.product(*swept.values())
    ]
    told = [(job.method.name, job.dataset.name, job.seed) for job in jobs]
    assert len(set(told)) == len(told) == 12
    assert len({seed for _, _, seed in told}) == 3
    settings = {(job.dataset.name, job.tuning, job.dataset) for job in jobs}
    assert len(settings) == 2  # one for each set: the same for both methods and every seed
