"""A page that follows a sweep: served on the loopback alone, made anew when the sweep's results have changed."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from analysis.report import live
from analysis.report.page import render
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.slurm.state import read_ledger

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")  # by any other name a page from elsewhere has been led here
# Seconds between two looks, however many ask; on Slurm each is a question to its queue, which all share.
_PAUSE, _PAUSE_ON_SLURM = 1.0, 15.0


class Follower:
    """The state of a sweep and its page, made when somebody asks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()
        self._state = live.state(folder)
        self._looked = time.monotonic()
        self._pause = _PAUSE if read_ledger(folder) is None else _PAUSE_ON_SLURM
        self._page = ("", "")  # of which version, and the page

    def state(self) -> live.State:
        with self._lock:
            return self._look()

    def page(self) -> str:
        with self._lock:
            state = self._look()
            if self._page[0] != state.version:
                self._page = (state.version, render(live.source(self.folder, state), state.as_json()))
            return self._page[1]

    def _look(self) -> live.State:
        if time.monotonic() - self._looked > self._pause:
            self._state = live.state(self.folder)
            self._looked = time.monotonic()
        return self._state


class _Handler(BaseHTTPRequestHandler):
    follower: Follower

    def do_GET(self) -> None:
        if self.headers.get("Host", "").rpartition(":")[0] not in _NAMES:
            self.send_error(403)
            return
        try:
            if self.path == "/":
                self._send("text/html; charset=utf-8", self.follower.page())
            elif self.path == "/state":
                self._send("application/json", json.dumps(self.follower.state().as_json()))
            else:
                self.send_error(404)
        except (UserError, OSError) as error:  # the sweep writes its files anew just now
            self.send_error(503, str(error).splitlines()[0])

    def _send(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Every poll would be a line."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the sweep's page on the loopback, not yet serving; port 0 takes a free one.

    Raises:
        DataError: nothing was run in the folder.
        ConfigError: the port cannot be had.
    """
    handler = type("Handler", (_Handler,), {"follower": Follower(folder)})
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise ConfigError(f"--port {port}: cannot be had ({error.strerror}); leave it out for a free one") from None


def serve(folder: Path, port: int) -> None:
    """Serve until Ctrl-C."""
    serving = server(folder, port)
    try:
        print(f"http://{HOST}:{serving.server_address[1]}/ follows {folder}; Ctrl-C ends it", flush=True)
        serving.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("ended")
    finally:
        serving.server_close()
