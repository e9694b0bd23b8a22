from __future__ import annotations

from typing import Any

import pytest
import yaml

from sdft_exp.compose import CONF
from sdft_exp.errors import ConfigError
from sdft_exp.slurm.graph import HEAVY, LIGHT
from sdft_exp.slurm.settings import Kind, slurm_config


def settings(**changes: Any) -> dict[str, Any]:
    shipped = yaml.safe_load((CONF / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))
    shipped.pop("_target_")
    return shipped | changes


def test_the_shipped_file_is_whole() -> None:
    assert slurm_config(settings()).array_parallelism == 100


def test_settings_of_one_kind_of_job_stand_over_those_of_all() -> None:
    config = slurm_config(settings(gpus=1, time=60, stages={"train": {"gpus": 8, "nodes": 2}, "light": {"gpus": 0}}))
    assert [config.resources(kind)["gpus"] for kind in ("train", "answer", "light")] == [8, 1, 0]
    assert config.resources("train") | {"gpus": 1, "nodes": 1} == config.resources("answer")


def test_jobs_that_load_no_model_ask_for_no_gpu_unless_told() -> None:
    config = slurm_config(settings(gpus=4, nodes=2))
    asked = {kind: (config.resources(kind)["gpus"], config.resources(kind)["nodes"]) for kind in Kind.__args__}
    assert asked == {
        **dict.fromkeys(("distill", "train", "export", "answer"), (4, 2)),
        **dict.fromkeys(("judge", "light"), (0, 1)),
        "shift": (4, 1),
    }


def test_every_kind_of_job_can_be_named() -> None:
    assert set(Kind.__args__) == {*HEAVY.values(), LIGHT}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu": 1}, r"^hydra\.launcher\.gpu: no such key; did you mean gpus\?$"),
        ({"time": 0}, r"^hydra\.launcher\.time=0: input should be greater than or equal to 1$"),
        ({"stages": {"tune": {}}}, r"^hydra\.launcher\.stages\.tune"),
        ({"stages": {"train": {"gpu": 1}}}, r"^hydra\.launcher\.stages\.train\.gpu: no such key; did you mean gpus\?$"),
        ({"setup": "module load cuda"}, r"^hydra\.launcher\.setup=module load cuda: "),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        slurm_config(settings(**changes))
    assert "\n" not in str(error.value)
