"""W&B with no key, and a store with one job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdft_exp.tracking.handing import TrackedRun
from tests.unit.tracking.artifacts import job_of_store, write_store


@pytest.fixture(scope="module", autouse=True)
def without_a_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("WANDB_"):
                patch.delenv(name)
        patch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "no-netrc"))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    """A job whose artifacts lie in `tmp_path / "store"`, with secrets in its config and its name."""
    write_store(tmp_path / "store")
    return job_of_store()
