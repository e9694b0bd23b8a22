"""Hydra's own note of a sweep holds no secret by the time that any job is judged, whichever launcher runs it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from sdft_exp import compose
from sdft_exp.launching import hide_secrets, launch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = "generation.base_url=http://me:hunter2@host/v1"


def note(folder: Path, *overrides: str) -> dict[str, Any]:
    return {
        "generation": {"base_url": "http://me:hunter2@host/v1", "model": "${model.path}"},
        "hydra": {
            "sweep": {"dir": str(folder)},
            "sweeper": {"params": {"generation.base_url": "http://me:hunter2@a,http://me:hunter2@b"}},
            "overrides": {"hydra": ["hydra.mode=MULTIRUN"], "task": list(overrides)},
        },
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "multirun.yaml"
    OmegaConf.save(OmegaConf.create(content), path)
    return path


def test_a_sweep_is_launched_with_no_secret_in_its_note_and_with_all_of_them_itself(tmp_path: Path) -> None:
    config = OmegaConf.create(note(tmp_path, ADDRESS))
    path = write(tmp_path, note(tmp_path, ADDRESS))
    context: Any = SimpleNamespace(config_loader=SimpleNamespace(load_sweep_config=lambda config, overrides: config))

    def run(composed: Any, overrides: Any, folder: Path) -> int:
        assert composed[0].generation.base_url == "http://me:hunter2@host/v1"
        assert "hunter2" not in path.read_text()
        assert "generation.base_url=http://[redacted]@host/v1" in path.read_text()
        return 0

    assert len(launch(config, context, [[ADDRESS]], run)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_rest_of_the_note_stays(tmp_path: Path) -> None:
    path = write(tmp_path, note(tmp_path, "seed=0,1", f"model.revision={COMMIT}", "~tracker", ADDRESS))
    hide_secrets(tmp_path)
    found: Any = OmegaConf.to_container(OmegaConf.load(path))
    assert found["hydra"]["overrides"]["task"][:3] == ["seed=0,1", f"model.revision={COMMIT}", "~tracker"]
    assert found["generation"]["model"] == "${model.path}"


def test_a_refused_sweep_leaves_none_in_a_folder_that_holds_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, note(tmp_path, ADDRESS))
    (tmp_path / "report.md").touch()
    monkeypatch.setattr(compose, "_sweep_folders", [tmp_path])
    compose.tidy_sweep()
    assert "hunter2" not in path.read_text()
