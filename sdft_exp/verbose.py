"""`-v` on the command line: more is said. In the environment, so that workers and Slurm jobs know of it too."""

from __future__ import annotations

import os

VARIABLE = "SDFT_VERBOSE"
FLAGS = ("-v", "--verbose")


def take(arguments: list[str]) -> None:
    """Take the flag out of `arguments`, of which all else is Hydra's, and remember it for this process's children."""
    if any(word in FLAGS for word in arguments):
        os.environ[VARIABLE] = "1"
        arguments[:] = [word for word in arguments if word not in FLAGS]


def verbose() -> bool:
    """Whether more is to be said: not where the variable is empty or 0."""
    return os.environ.get(VARIABLE, "") not in ("", "0")
