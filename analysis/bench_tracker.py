"""The part of `analysis.bench` that tracks runs, W&B's server down too; and those servers, which tests use as well."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from analysis.bench import ROOT, Measure

BOUND = 1.05  # a run may take so many times what it takes without a tracker
_ROUNDS = 3  # at most: a round takes minutes
_REFUSES = "http://127.0.0.1:9"  # nobody listens there


@contextlib.contextmanager
def server(get: int | None, post: int | None) -> Iterator[str]:
    """A server that answers with these codes; None: takes the connection and hangs. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, code: int | None) -> None:
            if code is None:
                stop.wait()
            self.send_response(code or 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self._answer(get)

        def do_POST(self) -> None:
            self._answer(post)

        def log_message(self, *_: Any) -> None:
            pass

    stop = threading.Event()
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever hung up
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        stop.set()
        made.shutdown()
        made.server_close()


def tracked(folder: Path, rounds: int) -> list[Measure]:
    """The single job of the demo, tracked offline and against each server, over the same without a tracker.

    Each starts from nothing. One that is not counted comes first, and the order moves on by one from round to round.
    Others on the machine make a run slower and never faster, so the fastest of each is compared. The seconds of the
    processors are told beside: they are what logging costs whoever else is at work.
    """
    with server(None, None) as hangs, server(500, 500) as fails:
        servers = {"hangs": hangs, "refuses": _REFUSES, "answers 500": fails}
        runs = [("none", "", "tracker=none"), ("offline", "", "tracker.mode=offline")]
        runs += [(f"its server {told}", address, "tracker.mode=online") for told, address in servers.items()]
        taken: dict[str, list[_Taken]] = {told: [] for told, _, _ in runs}
        _run(folder / "uncounted", "", "tracker=none")
        for number in range(min(rounds, _ROUNDS)):
            turn = number % len(runs)
            for told, address, override in runs[turn:] + runs[:turn]:
                taken[told].append(_run(folder / f"{number} {told}", address, override))
                last = taken[told][-1]
                print(f"bench: tracker: {told}: {last.wall:.1f} s, processors {last.cpu:.1f} s", file=sys.stderr)
    none = taken.pop("none")
    measures = []
    for told, own in taken.items():
        name = f"main.py, W&B: {told}"
        wall = min(one.wall for one in own) / min(one.wall for one in none)
        cpu = min(one.cpu for one in own) / min(one.cpu for one in none)
        measures.append(Measure(f"{name}, fastest", "main.py tracker=none", "time", [wall], BOUND))
        measures.append(Measure(f"{name}, least", "main.py tracker=none", "cpu time", [cpu], BOUND))
    return measures


@dataclass(frozen=True)
class _Taken:
    """Seconds of a run by the clock, and of the processors: its own and of all processes that it waited for."""

    wall: float
    cpu: float


def _run(folder: Path, address: str, override: str) -> _Taken:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "NO_PROXY": "127.0.0.1"} if address else {}
    where = [f"paths.store={folder / 'store'}", f"paths.output={folder / 'outputs'}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "main.py", override, *where],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=1800,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return _Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
