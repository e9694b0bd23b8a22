"""Hands runs to a child process that logs them, so that a tracker that fails, hangs or is slow harms nothing.

The queue between the two is a pipe of file names: when it is full, a run is left out and a warning says so. What was
not logged is logged by the next command.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sdft_exp.config import TrackerConfig
from sdft_exp.tracking.redact import redact

if TYPE_CHECKING:
    from sdft_exp.stages.report import ReportJob

_COMPLAINTS = ".complaints"  # what the child wrote to its standard error


@dataclass(frozen=True)
class TrackedRun:
    """One job as a tracker sees it, or the report of a sweep. An address is `<stage>/<key>`, as in the store.

    Attributes:
        key: names the run; the same experiment has the same key.
        name: for people.
        group: the sweep.
        job_type: the method, or "report".
        config: the resolved config, plain values; redacted here.
        tags: for searching.
        job: the job as the report sees it; None for a report of several.
        mix: address of the training set.
        vanilla: task -> address of the score of the vanilla fine-tuning that the job is compared with.
        report: address of the report.
        runs: keys of the runs that the report is of.
    """

    key: str
    name: str
    group: str
    job_type: str
    config: dict[str, Any]
    tags: tuple[str, ...] = ()
    job: ReportJob | None = None
    mix: str | None = None
    vanilla: dict[str, str] = field(default_factory=dict)
    report: str | None = None
    runs: tuple[str, ...] = ()


class Tracking:
    """Logs runs into `<folder>/wandb`, and online where there is a key. No method raises or waits but `end`.

    Use as a context manager: what is still being logged when it is left early is ended.
    """

    def __init__(self, tracker: TrackerConfig, folder: Path, store: Path):
        self._tracker = tracker
        self._home = folder / "wandb"
        self._store = store
        self._off = tracker.name == "none" or os.environ.get("WANDB_MODE") == "disabled"
        self._child: subprocess.Popen[str] | None = None
        self._problem: str | None = None

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child is not None:
            _end(self._child)
            self._tidy()

    def start(self) -> None:
        """Start the child, which takes a second or two to be ready. Nothing happens when it runs."""
        if self._off or self._child is not None or self._problem is not None:
            return
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            where = {"home": str(self._home.absolute()), "store": str(self._store.absolute())}
            settings = self._payload(self._tracker.model_dump(mode="json") | where)
            with (self._home / _COMPLAINTS).open("wb") as complaints:  # however many they are: a pipe would fill
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "sdft_exp.tracking.child", settings],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    text=True,
                    start_new_session=True,  # Ctrl-C is for us, who end it
                )
            assert self._child.stdin is not None
            os.set_blocking(self._child.stdin.fileno(), False)
        except Exception as error:  # a tracker's failure never fails a run, whatever it is
            self._problem = _in_words(error)

    def log(self, run: TrackedRun) -> None:
        """Queue a run; one that is logged already, and has not changed, is not logged again."""
        self.start()
        if self._child is None or self._child.stdin is None:
            return
        try:
            plain = asdict(run)
            hidden = redact({name: plain[name] for name in ("name", "group", "config", "tags")}, os.environ)
            name = self._payload(plain | hidden)
            os.write(self._child.stdin.fileno(), f"{name}\n".encode())
        except BlockingIOError:
            self._problem = "too many runs were waiting to be logged"
        except BrokenPipeError:
            pass  # it has ended; `end` tells why
        except Exception as error:
            self._problem = _in_words(error)

    def end(self) -> str | None:
        """Wait until all is logged, `tracker.timeout` seconds at most.

        Returns:
            one line for a person: how to sync, or what went wrong; None when there is nothing to say.
        """
        if self._off:
            return None
        said, failure = self._leave() if self._child is not None else ("", None)
        told = _last_json(said)
        failure = self._problem or failure or told.get("failure")
        if failure is not None:
            return (
                f"warning: W&B did not log everything ({redact(failure, os.environ)}); no result is lost, and the same "
                "command logs what is missing, tracker.mode=offline without the network"
            )
        remark = f"warning: W&B: {redact(told['remark'], os.environ)}; " if told.get("remark") else ""
        if told.get("mode") == "offline" and list(self._home.glob("offline-run-*")):
            return f"{remark}W&B: logged offline; to upload: wandb sync {shlex.quote(str(self._home))}/offline-run-*"
        runs = "1 run" if told.get("logged") == 1 else f"{told.get('logged')} runs"
        return f"W&B: {runs} logged online" if told.get("logged") else None

    def _leave(self) -> tuple[str, str | None]:
        """What the child said, and why it did not come to its end."""
        assert self._child is not None
        child, self._child = self._child, None
        try:
            said, _ = child.communicate(timeout=self._tracker.timeout)
        except subprocess.TimeoutExpired:
            _end(child)
            return "", f"took longer than tracker.timeout={self._tracker.timeout:g} s"
        except BaseException:  # Ctrl-C
            _end(child)
            raise
        else:
            complaints = (self._home / _COMPLAINTS).read_text(encoding="utf-8", errors="replace")
        finally:
            self._tidy()
        if child.returncode == 0:
            return said, None
        lines = [line.strip() for line in complaints.splitlines() if line.strip()]
        return said, lines[-1] if lines else f"exit code {child.returncode}"

    def _tidy(self) -> None:
        for left in (*self._home.glob(".payload-*"), self._home / _COMPLAINTS):
            left.unlink(missing_ok=True)

    def _payload(self, content: dict[str, Any]) -> str:
        descriptor, name = tempfile.mkstemp(prefix=".payload-", suffix=".json", dir=self._home)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
        return name


def _end(child: subprocess.Popen[str]) -> None:
    """End the child; W&B's service process goes with it, by its own watch on its parent."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _last_json(said: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return told
