"""The part of `analysis.bench` that runs against W&B servers that are down, and those servers, which tests use too."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from analysis.bench import ROOT, Measure

BOUND = 1.05  # a run may take so many times what it takes without a tracker
_RUN = ("dataset.max_samples=200", "eval.limit=40")  # half a minute of an idle machine
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
    """A run of the miniature against each server, over the same run without a tracker; from nothing each time.

    One run that is not counted comes first, and the order moves on by one from round to round.
    """
    with server(None, None) as hangs, server(500, 500) as fails:
        servers = {"hangs": hangs, "refuses": _REFUSES, "answers 500": fails}
        ratios: dict[str, list[float]] = {told: [] for told in servers}
        runs = [("none", "", "tracker=none"), *((told, one, "tracker.mode=online") for told, one in servers.items())]
        _seconds(folder / "uncounted", "", "tracker=none")
        for number in range(rounds):
            turn = number % len(runs)
            taken = {
                told: _seconds(folder / f"{number} {told}", address, override)
                for told, address, override in runs[turn:] + runs[:turn]
            }
            for told in servers:
                ratios[told].append(taken[told] / taken["none"])
    return [
        Measure(f"main.py, W&B's server {told}", "main.py tracker=none", "time", found, BOUND)
        for told, found in ratios.items()
    ]


def _seconds(folder: Path, address: str, override: str) -> float:
    environment = os.environ | {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "NO_PROXY": "127.0.0.1"}
    where = [f"paths.store={folder / 'store'}", f"paths.output={folder / 'outputs'}"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "main.py", *_RUN, override, *where],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=1800,
    )
    return time.perf_counter() - started
