"""W&B's own sweeps: what `wandb agent` would run for conf/wandb_sweep.yaml, expanded by its own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "conf" / "wandb_sweep.yaml"


def command(values: dict[str, Any]) -> list[str]:
    """As wandb.wandb_agent.Agent._command_run puts it together."""
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    told = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros = {**told, "env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [sweep["program"]]}
    words: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        words += macros[word[2:-1]] if word.startswith("${") else [word]
    return words


@pytest.mark.integration
def test_every_point_of_the_grid_is_a_command_that_main_takes(tmp_path: Path) -> None:
    sweep = load_sweep_config(str(SWEEP))
    assert sweep is not None
    values = {name: given.get("value", given.get("values", [None])[-1]) for name, given in sweep["parameters"].items()}
    words = command(values)
    assert words[:3] == ["/usr/bin/env", sys.executable, "main.py"]
    assert words[3:] == ["method.mix_ratio=1", "seed=2", "tracker.mode=online"]
    environment = os.environ | {"SDFT_STORE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*words, "plan=true"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train" in done.stdout
