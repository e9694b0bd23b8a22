"""Child processes of ours: they end with their parent, their deaths are told to a person, each has its GPUs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SIGNALLED = 128  # plus the signal's number: the exit code of a child that was asked to stop, as a shell has it
_LOOK_SECONDS = 0.2


def end_with(parent: int) -> None:
    """End this process as soon as its parent, the process `parent`, is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def death(code: int | None) -> str:
    """How a child that ended with `code` died, and what to do."""
    if code is not None and code > SIGNALLED:
        return f"was stopped by signal {code - SIGNALLED}; run the same command to go on"
    if code is not None and code < 0:
        return f"was killed by signal {-code} (out of memory? see dmesg); run the same command to go on"
    return f"ended with exit code {code}; run the same command to go on"


def cuda_devices() -> list[str]:
    """The CUDA devices this process may use, found without torch: `CUDA_VISIBLE_DEVICES`, or what the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip() not in ("", "-1")]
    gpus = Path("/proc/driver/nvidia/gpus")
    count = len(list(gpus.iterdir())) if gpus.is_dir() else 0
    if not count:
        count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [str(index) for index in range(count)]
