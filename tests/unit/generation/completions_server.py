"""A small server that speaks OpenAI's completions protocol by script, for tests: in this process, or as a program.

As a program it is what `generation.executable` starts: `completions_server.py --port N --model NAME ...`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# The answer to a request: (status, headers, body); a str body goes as it is, with no JSON around it.
Answer = tuple[int, dict[str, str], Any]
Script = Callable[[dict[str, Any]], Answer]


def said(text: str, finish: str = "stop", tokens: int | None = 3, **more: Any) -> Answer:
    """A completion; `tokens` None: the server counts none."""
    usage = None if tokens is None else {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None, **more}
    body = {"id": "scripted", "object": "text_completion", "created": 0, "model": "scripted", "choices": [choice]}
    return 200, {}, body | ({} if usage is None else {"usage": usage})


def echo(body: dict[str, Any]) -> Answer:
    """Tells the model's name and the prompt back, which tests can check."""
    return said(f"{body['model']}|{body['prompt']}")


class Handler(BaseHTTPRequestHandler):
    script: Script
    asked: list[dict[str, Any]]
    healthy = True

    def do_GET(self) -> None:
        self._send(200 if self.healthy and self.path == "/health" else 503, {}, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body | {"at": time.monotonic(), "key": self.headers.get("Authorization")})
        self._send(*type(self).script(body))

    def _send(self, status: int, headers: dict[str, str], body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Type" not in headers:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of every request."""


@contextmanager
def serving(script: Script = echo, port: int = 0) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The base URL of a server on the loopback, and the list of what it is asked."""
    asked: list[dict[str, Any]] = []
    own = type("Own", (Handler,), {"script": staticmethod(script), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", port), own)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Serve until ended. `--record FILE`: leave arguments and process ids there, a line a start; prompts beside it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--dies-after", type=int, default=10**9, help="requests")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a request takes")
    parser.add_argument("--broken", action="store_true", help="end before anybody can ask")
    parser.add_argument("--deaf", action="store_true", help="never be healthy")
    options = parser.parse_args()
    # Servers have processes of their own, which must end too.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if options.record:
        with options.record.open("a") as file:
            file.write(json.dumps({"pids": [os.getpid(), child.pid], "arguments": sys.argv[1:]}) + "\n")
    print("scripted server starts", flush=True)
    if options.broken:
        print("no kernel image is available", flush=True)
        sys.exit(3)
    count = 0

    def script(body: dict[str, Any]) -> Answer:
        nonlocal count
        count += 1
        if count > options.dies_after:
            print("CUDA error: out of patience", flush=True)
            os._exit(9)
        if options.record:
            with options.record.with_suffix(".asked").open("a") as file:
                file.write(json.dumps(body["prompt"]) + "\n")
        time.sleep(options.seconds)
        known = {options.model, *(options.adapter or "").split("=")[:1]} - {""}
        return echo(body) if body["model"] in known else (404, {}, {"error": {"message": "no such model"}})

    Handler.script, Handler.asked, Handler.healthy = staticmethod(script), [], not options.deaf
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
