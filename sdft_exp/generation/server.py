"""A model on a server of ours: started with the adapter loaded, kept while it is asked, ended with us. No torch here.

One server is kept a process, as one model is (`models.load`): it goes on for as long as the same model and adapter are
asked, and ends when anything else needs the memory. `generation.guard` sees to its end when we cannot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sdft_exp.errors import ConfigError, UserError
from sdft_exp.generation import guard
from sdft_exp.generation.engines import Command
from sdft_exp.models import load
from sdft_exp.models.identity import ModelRef
from sdft_exp.progress import tell

_LOOK_SECONDS = 0.1
_NOTICE_SECONDS = 2.0  # in which the guard of a server that died tells so
_LINES = 4  # of the server's log, told when it dies
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM's --max-lora-rank takes


@dataclass
class Served:
    """A running server: its address, and what it calls the model that was asked for."""

    base_url: str
    model: str
    folder: Path  # its own: log, process id, a merged model
    guard: subprocess.Popen[bytes]

    def ending(self) -> str:
        """How it ended, with its last lines, or "" while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.guard.wait(_NOTICE_SECONDS)
            return f"the server ended with exit code {code}; its last lines: {self.last_lines()}"
        return ""

    def last_lines(self) -> str:
        """The end of its log, in one line."""
        log = self.folder / "log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        told = [" ".join(line.split()) for line in lines if line.strip()]
        return " | ".join(told[-_LINES:]) or "it said nothing"


def serve(ref: ModelRef, adapter: Path | None, command: Command) -> Served:
    """The server with `ref` and the adapter of that folder on it: the one that runs, or one started now.

    Raises:
        ConfigError: a model that cannot be had, or arguments with a place that we do not know.
        UserError: the server ended, or was not ready in time.
    """
    weights = None if adapter is None else (adapter / "adapter_model.safetensors").stat()
    key = (ref, command, adapter, weights and (weights.st_mtime_ns, weights.st_size))
    kept = _kept.get("served")
    if kept is not None and _kept["key"] == key and kept.guard.poll() is None:
        return kept
    end()
    if "torch" in sys.modules:  # else no model was loaded here, and the import would take its time
        load.release()
    tell(0, 0, f"starting {command.program}")
    served = _start(ref, adapter, command)
    _kept.update(key=key, served=served)
    try:
        _wait(served, command)
    except BaseException:
        end()
        raise
    return served


def end() -> None:
    """End the kept server, if there is one, and take away what was made for it."""
    served: Served | None = _kept.pop("served", None)
    if served is None:
        return
    pipe: IO[bytes] | None = served.guard.stdin
    assert pipe is not None
    pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        served.guard.wait(guard.GRACE + 5)
    if served.guard.returncode in (None, -signal.SIGKILL):  # somebody killed it: its work is ours
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int((served.folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    shutil.rmtree(served.folder, ignore_errors=True)


_kept: dict[str, Any] = {}
load.at_release.append(end)


def _start(ref: ModelRef, adapter: Path | None, command: Command) -> Served:
    folder = Path(tempfile.mkdtemp(prefix="sdft-server-"))
    try:
        places, name = _places(ref, adapter, command, folder)
        arguments = [*command.arguments, *(command.adapter_arguments or () if "adapter" in places else ())]
        program = [str(Path(command.executable).expanduser()), *(_filled(argument, places) for argument in arguments)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(folder), *program],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, and we end it
                env=_environment(ref),
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Served(f"http://127.0.0.1:{places['port']}/v1", name, folder, process)


def _places(ref: ModelRef, adapter: Path | None, command: Command, folder: Path) -> tuple[dict[str, str], str]:
    """What stands for each place of the arguments, and what the server calls the model."""
    places = {"model": str(_folder(ref)), "port": str(_free_port()), "dtype": ref.dtype}
    if adapter is None:
        return places, places["model"]
    if command.adapter_arguments is None:
        from sdft_exp.models.folder import save_merged

        # On the CPU: the device's memory is the server's.
        save_merged(dataclasses.replace(ref, device="cpu"), adapter, folder / "merged")
        places["model"] = str(folder / "merged")
        return places, places["model"]
    rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    # A name of its own: whoever should answer at this port by mistake does not know it.
    name = "tuned-" + hashlib.sha256(str(adapter).encode()).hexdigest()[:8]
    room = str(next((size for size in _RANKS if size >= rank), rank))
    return places | {"adapter": str(adapter), "name": name, "rank": room}, name


def _filled(argument: str, places: Mapping[str, str]) -> str:
    try:
        return argument.format_map(places)
    except (KeyError, ValueError, IndexError):
        known = ", ".join(f"{{{name}}}" for name in places)
        raise ConfigError(f"generation.arguments: {argument} has a place that is none of {known}") from None


def _folder(ref: ModelRef) -> Path:
    """The model's folder, of a hub model at its commit; downloaded where it is not here yet."""
    if ref.revision is None:
        return Path(ref.path)
    from sdft_exp.models.folder import hub_folder

    return hub_folder(ref)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(ref: ModelRef) -> dict[str, str]:
    return dict(os.environ) | ({"OMP_NUM_THREADS": str(ref.threads)} if ref.threads else {})


def _wait(served: Served, command: Command) -> None:
    """Return once the server can be asked."""
    # No proxy leads to the loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = served.base_url.removesuffix("/v1") + command.health
    stop = time.monotonic() + command.startup
    while time.monotonic() < stop:
        code = served.guard.poll()
        if code is not None:
            raise UserError(
                f"generation.executable={command.executable}: ended with exit code {code} before it could be asked; "
                f"its last lines: {served.last_lines()}"
            )
        with contextlib.suppress(OSError, ValueError), opener.open(address, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(_LOOK_SECONDS)
    raise UserError(
        f"generation.startup={command.startup:g}: {command.executable} could not be asked at {command.health} within "
        f"these seconds; raise it; its last lines: {served.last_lines()}"
    )
