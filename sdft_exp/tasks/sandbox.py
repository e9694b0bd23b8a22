"""Runs Python that a model wrote, each program in its own bubblewrap sandbox; without bubblewrap nothing is run.

A program sees the system's Python (`/usr`, read-only, no site packages, hence no numpy), an empty `/tmp` that is gone
afterwards and nothing else of the disk; no network; its own processes only. Memory, processes, files, processor time
and wall time are capped, and it runs as `nobody` where we are root. Its output is thrown away.

What this does NOT protect from:
- A hole in the kernel or in bubblewrap. The kernel is shared and no system call is filtered.
- A program that sets out to fool its judge: it shares a process with its own tests, and can report that they passed.
- Memory beyond one process's share: it is capped for each process, so `PROCESSES` of them may hold that many times
  `memory`; System V shared memory (through ctypes) is bounded by the time limit alone.
- Reading what is world-readable under `/usr`, learning the machine's kernel and processors, timing its neighbours.
- Slowness: programs share the processors with all else, and a busy machine makes wall time pass.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Literal

from sdft_exp.errors import UserError
from sdft_exp.progress import tell

SECONDS = 10.0  # bigcode-evaluation-harness: LANGUAGE_TO_TIMEOUT["python"]
MEMORY = 512 << 20
SCRATCH = 16 << 20
PROCESSES = 8  # bubblewrap's own and the program's main one among them
PYTHON = "/usr/bin/python3"
INSTALL = "install it: apt-get install bubblewrap (or `make sandbox`, as root)"

_NOBODY = 65534
_CPU_SIGNAL = 128 + 24  # how bubblewrap reports SIGXCPU

# Runs inside. It moves its report out of the way of the program's own output, and says `started` first, so that a
# sandbox that could not be set up is never taken for a program that failed.
_RUNNER = """
import os, sys
report, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
source = sys.stdin.buffer.read()
os.write(report, b"started\\n")
for stream in (0, 1, 2):
    os.dup2(nowhere, stream)
try:
    exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
    word = b"passed\\n"
except MemoryError:
    word = b"memory\\n"
except BaseException:
    word = b"failed\\n"
os.write(report, word)
os._exit(0)
"""

Reason = Literal["passed", "failed", "timeout", "memory", "ended"]


@dataclass(frozen=True)
class Outcome:
    """How a program went.

    Attributes:
        reason: "failed" raised an exception (a failed assertion, `exit()`, a syntax error); "timeout" used up its
            processor or wall time; "memory" raised MemoryError; "ended" left before its last line in another way
            (`os._exit`, a signal).
    """

    reason: Reason

    @property
    def passed(self) -> bool:
        return self.reason == "passed"


def missing() -> str | None:
    """What of the sandbox this machine lacks, and how to get it, in a line; None where programs can be run."""
    for program, what in (("bwrap", "bubblewrap"), ("prlimit", "util-linux"), (PYTHON, "a system Python")):
        if shutil.which(program) is None:
            remedy = INSTALL if program == "bwrap" else f"install {what}"
            return f"model-written code runs only in a sandbox, and {program} ({what}) is not there; {remedy}"
    return None


def run(program: str, *, seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
    """Run one program and say how it went.

    Args:
        seconds: of processor time, for each process of the program; twice that by the clock for the whole.
        memory: in bytes, of address space, for each process.

    Raises:
        UserError: the sandbox is not installed or cannot be set up here. The program has not been run then.
    """
    lacking = missing()
    if lacking:
        raise UserError(lacking)
    # Files, not pipes: the size of a file is capped, so a program that floods its report cannot fill our memory.
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as complaint:
        process = subprocess.Popen(
            _command(seconds, memory), stdin=subprocess.PIPE, stdout=report, stderr=complaint, cwd="/", **_nobody()
        )
        try:
            process.communicate(program.encode("utf-8", "surrogateescape"), timeout=2 * seconds)
            timed_out = False
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            process.kill()  # and with it all inside, by --die-with-parent
            process.wait()
        words = _head(report).split()
        if words[:1] != ["started"]:
            raise UserError(_cannot_start(_head(complaint), timed_out))
        return Outcome(_reason(words[1:], process.returncode, timed_out))


def run_many(
    programs: Sequence[str], workers: int | None = None, *, seconds: float = SECONDS, memory: int = MEMORY
) -> list[Outcome]:
    """Run programs, `workers` at once (one a processor if None); the outcomes in the order of the programs."""
    outcomes = []
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        for outcome in pool.map(functools.partial(run, seconds=seconds, memory=memory), programs):
            outcomes.append(outcome)
            tell(len(outcomes), len(programs), "programs")
    return outcomes


def _command(seconds: float, memory: int) -> list[str]:
    cpu = max(1, round(seconds))
    # Both limits apply inside the new user namespace: there, processes are counted for this sandbox alone.
    limits = f"--as={memory} --cpu={cpu}:{cpu + 1} --nproc={PROCESSES} --fsize={SCRATCH} --nofile=64 --core=0".split()
    view = (
        "--unshare-all --die-with-parent --new-session --clearenv --setenv PATH /usr/bin "
        f"--uid {_NOBODY} --gid {_NOBODY} "
        "--ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin "
        f"--proc /proc --dev /dev --size {SCRATCH} --tmpfs /tmp --chdir /tmp "
        "--remount-ro /dev --remount-ro /"
    ).split()
    return ["bwrap", *view, "--", "prlimit", *limits, "--", PYTHON, "-I", "-S", "-c", _RUNNER]


def _nobody() -> dict[str, Any]:
    """Drop root before bubblewrap starts: root's processes are not counted against --nproc."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _head(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(500).decode("utf-8", "replace")


def _reason(words: list[str], status: int, timed_out: bool) -> Reason:
    if timed_out or status == _CPU_SIGNAL:
        return "timeout"
    # Copies that a program forks report too; all must agree.
    if status == 0 and set(words) == {"passed"}:
        return "passed"
    if "memory" in words:
        return "memory"
    return "failed" if words else "ended"


def _cannot_start(complaint: str, timed_out: bool) -> str:
    said = " ".join(complaint.split()) or ("no start in time" if timed_out else "no message")
    return (
        f"the sandbox for model-written code cannot be set up ({said}); it needs bubblewrap and a kernel or container "
        "that allows unprivileged user namespaces (docs/sandbox.md)"
    )
