"""A Slurm of launchers/local_slurm.sh for tests, in a folder and at ports of its own, gone when they end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[1] / "launchers" / "local_slurm.sh"


class NoSlurm(Exception):
    """This machine has none, and why."""


@contextmanager
def local_slurm() -> Iterator[None]:
    """Start one that Slurm's commands find while the context lasts.

    Raises:
        NoSlurm: It is not installed, or we are not root.
    """
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    if os.geteuid() or not shutil.which("slurmctld", path=path):
        raise NoSlurm("no Slurm to start (as root: make slurm)")
    state = Path(tempfile.mkdtemp(prefix="sdft_slurm_"))  # short: it holds a socket
    ours = {"SDFT_SLURM_STATE": str(state), "SDFT_SLURM_PORT": str(_two_free_ports())}
    with _variables(**ours, SLURM_CONF=str(state / "slurm.conf")):
        try:
            subprocess.run([LAUNCHER, "up"], check=True, stdout=subprocess.DEVNULL, timeout=120)
            yield
        finally:
            subprocess.run([LAUNCHER, "down"], check=True, timeout=120)


def state_of_slurm() -> str:
    """What it says of its node and jobs, for the message of a test that waited in vain."""
    asked = [["sinfo", "-R"], ["squeue", "-o", "%i %P %j %T %M %r"], ["scontrol", "show", "node"]]
    logs = [["tail", "-20", f"{os.environ['SDFT_SLURM_STATE']}/{daemon}.log"] for daemon in ("slurmctld", "slurmd")]
    return "".join(subprocess.run(words, capture_output=True, text=True).stdout for words in asked + logs)


def _two_free_ports() -> int:
    """The first of two neighbours; somebody may still take them before Slurm does."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
