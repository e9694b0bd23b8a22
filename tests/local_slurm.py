"""A Slurm of launchers/local_slurm.sh for tests, in a folder and at ports of its own, gone when they end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[1] / "launchers" / "local_slurm.sh"


class NoSlurm(Exception):
    """This machine has none, and why."""


@contextmanager
def local_slurm(nodes: int = 1) -> Iterator[None]:
    """Start one that Slurm's commands find while the context lasts; the machine plays all of its `nodes`.

    Raises:
        NoSlurm: It is not installed, or we are not root.
    """
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    if os.geteuid() or not shutil.which("slurmctld", path=path):
        raise NoSlurm("no Slurm to start (as root: make slurm)")
    state = Path(tempfile.mkdtemp(prefix="sdft_slurm_"))  # short: it holds a socket
    ours = {"SDFT_SLURM_STATE": str(state), "SDFT_SLURM_PORT": str(_free_ports(1 + nodes))}
    ours["SDFT_SLURM_NODES"] = str(nodes)
    with _variables(**ours, SLURM_CONF=str(state / "slurm.conf")):
        try:
            subprocess.run([LAUNCHER, "up"], check=True, stdout=subprocess.DEVNULL, timeout=120)
            yield
        finally:
            subprocess.run([LAUNCHER, "down"], check=True, timeout=120)


def state_of_slurm() -> str:
    """What it says of its node and jobs, for the message of a test that waited in vain."""
    asked = [["sinfo", "-R"], ["squeue", "-o", "%i %P %j %T %M %r"], ["scontrol", "show", "node"]]
    logs = [["tail", "-20", str(log)] for log in Path(os.environ["SDFT_SLURM_STATE"]).glob("slurm*.log")]
    return "".join(subprocess.run(words, capture_output=True, text=True).stdout for words in asked + logs)


def _free_ports(count: int) -> int:
    """The first of so many neighbours; somebody may still take them before Slurm does."""
    while True:
        with ExitStack() as open_until_all_are:
            sockets = [open_until_all_are.enter_context(socket.socket()) for _ in range(count)]
            try:
                sockets[0].bind(("127.0.0.1", 0))
                first: int = sockets[0].getsockname()[1]
                for number, other in enumerate(sockets[1:], first + 1):
                    other.bind(("127.0.0.1", number))
            except (OSError, OverflowError):  # taken; past the last port
                continue
            return first


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
