"""As much of W&B's server as its client (0.31) asks for one run with tables and artifacts, keeping what it was told.

The answers have the fields that the client's own queries select; none is taken from W&B's server.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PROJECT = {"id": "project", "name": "p", "entity": {"id": "entity", "name": "me"}}


@dataclass
class Told:
    """What a server was told.

    Attributes:
        runs: id -> all variables of its UpsertBucket, the last value of each.
        streams: id -> file of its stream -> lines by their place; a file that is given whole has one.
        exits: id -> exit code of the run.
        artifacts: name -> what CreateArtifact was given, its "type", "state", and "id".
        used: ids of artifacts that a run takes.
        files: path of an upload -> content.
        keys: of whoever asked.
        unknown: operations that there is no answer for.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    streams: dict[str, dict[str, dict[int, Any]]] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

    def config(self, run: str) -> dict[str, Any]:
        return {name: entry["value"] for name, entry in json.loads(self.runs[run]["config"]).items()}

    def history(self, run: str) -> list[dict[str, Any]]:
        return [line for _, line in sorted(self.streams[run]["wandb-history.jsonl"].items())]

    def summary(self, run: str) -> dict[str, Any]:
        lines = self.streams[run]["wandb-summary.json"]
        return lines[max(lines)]

    def answer(self, operation: str, given: dict[str, Any], address: str) -> dict[str, Any] | None:
        """The data that answers a GraphQL operation; None for one that is not known."""
        asked = given.get("input", {})
        if operation == "Viewer":
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if operation == "RunResumeStatus":
            return {"model": _PROJECT | {"bucket": self._bucket(given["name"])}}
        if operation == "UpsertBucket":
            known = self.runs.setdefault(given["name"], {})
            inserted = not known
            known.update({name: value for name, value in given.items() if value is not None})
            bucket = {"id": given["name"], "name": given["name"], "displayName": known.get("displayName")}
            bucket |= {"description": None, "config": "{}", "sweepName": None, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket | {"project": _PROJECT}, "inserted": inserted}}
        if operation == "ArtifactType":  # not there yet: the client goes by the type that it was given
            return {"project": {"artifact": None}}
        if operation == "CreateArtifact":
            name = asked["artifactCollectionName"]
            made = {"id": f"{name}:{asked['digest']}", "state": "PENDING", "type": asked["artifactTypeName"]}
            self.artifacts[name] = asked | made
            shown = {"id": made["id"], "state": made["state"], "artifactSequence": {"latestArtifact": None}}
            return {"createArtifact": {"artifact": shown}}
        if operation == "CreateArtifactManifest":
            file = {"id": "file", "name": "m", "displayName": "m", "uploadHeaders": []}
            file["uploadUrl"] = f"{address}/manifests/{given['artifactID']}"
            return {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}
        if operation == "CreateArtifactFiles":
            nodes = [self._upload(one, address) for one in asked["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if operation == "CommitArtifact":
            (made,) = (one for one in self.artifacts.values() if one["id"] == given["artifactID"])
            made["state"] = "COMMITTED"
            return {"commitArtifact": {"artifact": {"id": made["id"], "digest": made["digest"]}}}
        if operation == "UseArtifact":
            self.used.append(asked["artifactID"])
            return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}
        if operation == "ArtifactByID":
            (made,) = (one for one in self.artifacts.values() if one["id"] == given["id"])
            return {"artifact": _shown(made)}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{address}/runs/{given['run']}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        return None

    def stream(self, run: str, told: dict[str, Any]) -> None:
        for name, chunk in told.get("files", {}).items():
            lines = self.streams.setdefault(run, {}).setdefault(name, {})
            for place, line in enumerate(chunk["content"], chunk["offset"]):
                lines[place] = json.loads(line) if line.startswith("{") else line
        if told.get("complete"):
            self.exits[run] = told["exitcode"]

    def _bucket(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        streams = self.streams.get(run, {})
        history = [json.dumps(line) for _, line in sorted(streams.get("wandb-history.jsonl", {}).items())]
        bucket = {"id": run, "name": run, "summaryMetrics": json.dumps(self.summary(run)), "displayName": "shown"}
        bucket |= {"logLineCount": 0, "historyLineCount": len(history), "eventsLineCount": 0}
        bucket |= {"historyTail": json.dumps(history[-1:]), "eventsTail": "[]", "config": self.runs[run]["config"]}
        return bucket | {"tags": [], "notes": "", "wandbConfig": '{"t": {}}'}

    def _upload(self, asked: dict[str, Any], address: str) -> dict[str, Any]:
        path = f"artifacts/{asked['artifactID']}/{asked['name']}"
        upload = {
            "storagePath": path,
            "uploadUrl": f"{address}/{path}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
        }
        return upload | {"artifact": {"id": asked["artifactID"]}}


def _shown(made: dict[str, Any]) -> dict[str, Any]:
    """An artifact as the client's ArtifactFragment selects it."""
    project = _PROJECT | {"internalId": "1"}
    collection = {"__typename": "ArtifactSequence", "name": made["artifactCollectionName"], "project": project}
    alias = {"__typename": "ArtifactAlias", "id": "alias", "alias": "latest"}
    shown = {name: made[name] for name in ("id", "state", "digest", "description", "metadata", "historyStep")}
    shown |= {"__typename": "Artifact", "artifactSequence": collection, "artifactType": {"name": made["type"]}}
    shown |= {"versionIndex": 0, "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "size": 1}
    shown |= {"commitHash": "0", "fileCount": 1, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None}
    return shown | {"aliases": [alias | {"artifactCollection": collection}]}


@contextlib.contextmanager
def healthy() -> Iterator[tuple[str, Told]]:
    """Run the server; gives its address and what it was told so far."""
    told, lock = Told(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _content(self) -> bytes:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

        def _send(self, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._send({})

        def do_PUT(self) -> None:
            with lock:
                told.files[self.path.removeprefix("/")] = self._content()
            self._send({})

        def do_POST(self) -> None:
            asked = json.loads(self._content())
            with lock:
                told.keys.add(self.headers.get("Authorization", ""))
                stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
                if stream:
                    told.stream(stream[1], asked)
                    self._send({})
                    return
                named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                operation = asked.get("operationName") or (named[1] if named else "")
                data, why = None, "not known"
                try:
                    data = told.answer(operation, asked.get("variables") or {}, address)
                except (KeyError, ValueError) as error:
                    why = f"{type(error).__name__}: {error}"
                if data is None:
                    told.unknown.append(f"{operation}: {why}: {asked.get('variables')} {asked['query']}")
            self._send({"data": data} if data is not None else {"errors": [{"message": f"not known: {operation}"}]})

        def log_message(self, *_: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever hung up
    address = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield address, told
    finally:
        made.shutdown()
        made.server_close()
