"""What is refused before anything is submitted; the rest of submitting is tried on a real Slurm (tests/recipe)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from sdft_exp.compose import CONF, register_resolvers
from sdft_exp.errors import ConfigError
from sdft_exp.slurm.submit import submit_jobs

ZERO = ["tuning.deepspeed=zero2", "plan=true"]


@pytest.mark.parametrize(
    ("overrides", "train", "message"),
    [
        (ZERO, {"gpus": 8}, r"^launch\.gpus: is counted on this machine .*; set launch\.gpus=8$"),
        (
            [*ZERO, "launch.gpus=4"],
            {"gpus": 2},
            r"^launch\.gpus=4: the jobs that train ask for 2; set hydra\.launcher\.stages\.train\.gpus=4$",
        ),
        (
            [*ZERO, "launch.gpus=4", "launch.nodes=2"],
            {"gpus": 4},
            r"^launch\.nodes=2: the jobs that train ask for 1; set hydra\.launcher\.stages\.train\.nodes=2$",
        ),
    ],
)
def test_a_training_of_more_processes_than_its_job_has_room_for(
    overrides: list[str], train: dict[str, int], message: str, tmp_path: Path
) -> None:
    register_resolvers()
    launcher = yaml.safe_load((CONF / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))
    launcher.pop("_target_")
    launcher["stages"]["train"] |= train
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [*overrides, f"paths.store={tmp_path}"], return_hydra_config=True)
    with pytest.raises(ConfigError, match=message):
        submit_jobs([composed], [overrides], tmp_path / "sweep", launcher, overrides)
