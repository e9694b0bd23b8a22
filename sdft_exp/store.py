"""The store of artifacts, addressed by content keys: `python -m sdft_exp.store ls|verify|gc`. Imports no torch.

    <root>/<stage>/<key>/            artifacts, whole or not there at all
    <root>/.partial/<stage>-<key>-*  one folder an attempt: what a killed stage left, to go on from
    <root>/.locks/<stage>-<key>      advisory locks
    <root>/.damaged/<stage>-<key>-*  artifacts that failed their digest, moved aside

An artifact is written beside, fsynced and renamed, so that a reader never sees half of one. Locks are advisory (a
network file system may lie): each attempt has a folder of its own, and the first one renamed into place wins, so two
writers of one key are wasteful and never harmful. Whose writer is dead is taken over: on this host the kernel knows, of
another host's writer a sign of life is the time of its owner.json.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import filelock

from sdft_exp.errors import UserError
from sdft_exp.owner import OWNER, claim, life, signs_of_life
from sdft_exp.stage import Stage

MANIFEST = "manifest.json"
MEASURED = "measured.json"  # what a stage leaves of times and memory goes into the manifest: no two runs' are equal
SEAL = "manifest.sha256"
LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "datasets",
    "lm-eval",
    "numpy",
    "math-verify",
    "alpaca-eval",
    "openai",
    "sentence-transformers",
    "nltk",
    "sacrebleu",
    "rouge-score",
    "rouge-chinese",
    "jieba",
)

_KEY = re.compile("[0-9a-f]{64}")
_BESIDE = re.compile(rf"(?:new-)?(\w+)-({_KEY.pattern})-[0-9a-f]{{8}}")  # folders in .partial and .damaged
_PROBE = bytes(1 << 20)

State = Literal["whole", "absent", "damaged"]


class Busy(Exception):
    """Another process holds the lock of this stage: come back later."""


@dataclass(frozen=True)
class Check:
    """What `verify` found of one artifact; `reason` says what is damaged."""

    state: State
    reason: str = ""


@dataclass(frozen=True)
class Made:
    """How `produce` ended: made (`ran`), found whole (`hit`), or made again for the `damage` it had (`repaired`)."""

    status: Literal["ran", "hit", "repaired"]
    damage: str = ""


def default_root() -> str:
    """`$SDFT_STORE`, or `~/.cache/sdft_exp`."""
    return os.environ.get("SDFT_STORE") or "~/.cache/sdft_exp"


class Store:
    """Artifacts under `root`; made when first written to."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def path(self, address: str) -> Path:
        return self.root / address

    def manifest(self, address: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path(address) / MANIFEST).read_text(encoding="utf-8"))
        return content

    def verify(self, address: str) -> Check:
        """Compare every file of an artifact with the digests in its manifest."""
        folder = self.path(address)
        if not folder.is_dir():
            return Check("absent")
        try:
            manifest = (folder / MANIFEST).read_bytes()
            if _sha256_bytes(manifest) != (folder / SEAL).read_text(encoding="utf-8").strip():
                return Check("damaged", f"{MANIFEST} does not match {SEAL}")
            recorded: dict[str, str] = json.loads(manifest)["files"]
        except (OSError, ValueError, KeyError) as error:
            return self._unreadable(folder, MANIFEST, error)
        try:
            present = {name for name in _files(folder) if name not in (MANIFEST, SEAL, OWNER)}
            for name in sorted(present ^ set(recorded)):
                return Check("damaged", f"{name} is {'missing' if name in recorded else 'not in the manifest'}")
            for name, digest in recorded.items():
                if sha256_file(folder / name) != digest:
                    return Check("damaged", f"{name} does not match its digest")
        except OSError as error:
            return self._unreadable(folder, "a file", error)
        return Check("whole")

    def _unreadable(self, folder: Path, name: str, error: Exception) -> Check:
        if not folder.is_dir():  # another process set it aside under our eyes
            return Check("absent")
        return Check("damaged", f"{name} cannot be read ({type(error).__name__})")

    def check_writable(self) -> None:
        """Write a megabyte and take it away again.

        Raises:
            UserError: the store cannot be written: the disk is full, or it is read-only, say.
        """
        base = self.root / ".partial"
        try:
            base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=base) as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(_cannot_write(self.root, error)) from None

    def set_aside(self, address: str) -> Path:
        """Move a damaged artifact out of the way; returns where it lies now."""
        target = self.root / ".damaged" / f"{_flat(address)}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process moved it first
            self.path(address).rename(target)
        return target

    def produce(self, stage: Stage, work: Callable[[Path], None]) -> Made:
        """Make the artifact of `stage` by `work(folder)`, unless it is there and whole; a damaged one is set aside.

        Raises:
            Busy: somebody else is at it.
            UserError: the store cannot be written.
        """
        with self._locked(stage.address):
            check = self.verify(stage.address)  # again: since the plan another process may have repaired it
            if check.state == "whole":
                return Made("hit")
            if check.state == "damaged":
                self.set_aside(stage.address)
            attempt = self._attempt(stage)
            started = time.monotonic()
            try:
                with signs_of_life(attempt):
                    work(attempt)
                    first = self._publish(stage, attempt, started)
            except Exception:
                # Where locks lie another writer may have had our folder, taking us for dead.
                if self.verify(stage.address).state == "whole":
                    return Made("hit")
                if not attempt.is_dir():
                    raise Busy(stage.address) from None
                self.check_writable()  # a full disk comes in many guises: it is what there is to tell
                raise
            finally:
                with contextlib.suppress(OSError):  # whole or not, we are done with it: the next one need not wait
                    (attempt / OWNER).unlink()
            if not first:
                return Made("hit")
            return Made("repaired", check.reason) if check.state == "damaged" else Made("ran")

    @contextlib.contextmanager
    def _locked(self, address: str) -> Iterator[None]:
        path = self.root / ".locks" / _flat(address)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path, blocking=False)
            lock.acquire()
        except filelock.Timeout:
            raise Busy(address) from None
        except OSError as error:
            raise UserError(_cannot_write(self.root, error)) from None
        try:
            yield
        finally:
            lock.release()

    def _attempt(self, stage: Stage) -> Path:
        """A folder to work in: what a dead attempt left, taken over, or a new one.

        Raises:
            Busy: an attempt of another host's shows life, though we hold the lock.
            UserError: the store cannot be written.
        """
        base = self.root / ".partial"
        try:
            base.mkdir(parents=True, exist_ok=True)
            name = f"{_flat(stage.address)}-{uuid.uuid4().hex[:8]}"
            # Its owner is in it before it has a name that others look for: without one it would count as dead.
            folder = base / f"new-{name}"
            for left in sorted(base.glob(f"{_flat(stage.address)}-*"), key=_changed, reverse=True):
                match life(left):
                    case "elsewhere":
                        raise Busy(stage.address)
                    case "dead" if _taken_over(left, folder):
                        break
            else:
                folder.mkdir()
            for stale in (MANIFEST, SEAL):  # its writer died while publishing: they are written anew
                (folder / stale).unlink(missing_ok=True)
            claim(folder)
            folder.rename(base / name)
        except OSError as error:
            raise UserError(_cannot_write(self.root, error)) from None
        return base / name

    def _publish(self, stage: Stage, attempt: Path, started: float) -> bool:
        """Move the attempt to where its artifact belongs; False: another writer was first. `started`: monotonic."""
        names = [name for name in _files(attempt) if name not in (OWNER, MEASURED)]
        manifest = {
            "stage": stage.name,
            "key": stage.key,
            "label": stage.label,
            "key_inputs": stage.key_inputs,
            "files": {name: sha256_file(attempt / name) for name in names},
            "versions": versions(),
            "git_commit": git_commit(),
            "host": platform.node(),
            "seconds": round(time.monotonic() - started, 3),
            "peak_memory_bytes": _peak_memory(),
        }
        measured = attempt / MEASURED
        if measured.is_file():
            manifest["measured"] = json.loads(measured.read_text(encoding="utf-8"))
            measured.unlink()
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
        (attempt / MANIFEST).write_bytes(text)
        (attempt / SEAL).write_text(_sha256_bytes(text) + "\n", encoding="utf-8")
        for name in [*names, MANIFEST, SEAL]:
            _fsync(attempt / name)
        for folder in {attempt, *(path.parent for path in (attempt / name for name in names))}:
            _fsync(folder)
        target = self.path(stage.address)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            attempt.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(attempt)  # another writer was first; both made the same
            return False
        (target / OWNER).unlink(missing_ok=True)  # not earlier: without it the attempt counts as dead
        for folder in (target, target.parent):
            _fsync(folder)
        # Attempts of other writers of this key that died are of no use any more.
        for left in (self.root / ".partial").glob(f"{_flat(stage.address)}-*"):
            if life(left) == "dead":
                shutil.rmtree(left, ignore_errors=True)
        return True

    def touch(self, address: str) -> None:
        """Note that an artifact was used now; `gc` goes by it."""
        with contextlib.suppress(OSError):  # a read-only store serves hits all the same
            os.utime(self.path(address) / SEAL)

    def at_work(self) -> list[str]:
        """Addresses of what live processes are making now, sorted."""
        found = set()
        for attempt in (self.root / ".partial").glob("*"):
            beside = _BESIDE.fullmatch(attempt.name)
            with contextlib.suppress(OSError):  # a read-only store cannot tell of another host's
                if beside and life(attempt) != "dead":
                    found.add(f"{beside[1]}/{beside[2]}")
        return sorted(found)

    def addresses(self) -> list[str]:
        """Every artifact's `<stage>/<key>`, sorted; whatever else lies in the folder is not the store's."""
        stages = [path.stem for path in (Path(__file__).parent / "stages").glob("[!_]*.py")]
        return sorted(
            f"{stage}/{folder.name}"
            for stage in stages
            for folder in (self.root / stage).glob("*")
            if _KEY.fullmatch(folder.name) and folder.is_dir()
        )


def version_differences(manifest: dict[str, Any]) -> list[str]:
    """Libraries whose version now differs from the one that made the artifact, as `torch 2.12.0 -> 2.13.0`."""
    now = versions()
    return [f"{name} {made} -> {now.get(name)}" for name, made in manifest["versions"].items() if now.get(name) != made]


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results hang on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def git_commit() -> str | None:
    """The commit of the checkout that this package lies in, with `+` when it has changes; None outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _flat(address: str) -> str:
    return address.replace("/", "-")


def _taken_over(left: Path, folder: Path) -> bool:
    try:
        left.rename(folder)
    except FileNotFoundError:  # another process was faster
        return False
    return True


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process took it
        return 0.0


def _cannot_write(root: Path, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room and run the same command to go on, or name" if full else "name"
    reason = error.strerror or error
    return f"paths.store={root}: cannot be written ({reason}); {advice} another folder, paths.store=DIR"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _peak_memory() -> int:
    import resource

    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _size(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in _files(folder))


def _ls(store: Store) -> int:
    for address in store.addresses():
        try:
            label = store.manifest(address)["label"]
        except (OSError, ValueError, KeyError):
            label = "(unreadable)"
        stage, _, key = address.partition("/")
        print(f"{stage:8} {key[:12]} {_size(store.path(address)) / 1e6:9.2f} MB  {label}")
    return 0


def _verify(store: Store) -> int:
    bad = 0
    addresses = store.addresses()
    for address in addresses:
        check = store.verify(address)
        if check.state == "damaged":
            bad += 1
            print(f"damaged {address}: {check.reason}")
    print(
        f"{store.root}: {len(addresses)} artifacts, {bad} damaged" + ("; the next run makes them again" if bad else "")
    )
    return 1 if bad else 0


def _gc(store: Store, unused_days: float, dry_run: bool) -> int:
    limit = time.time() - unused_days * 86400
    found = [(address, store.path(address)) for address in store.addresses()]
    for beside in (".damaged", ".partial"):
        for folder in (store.root / beside).glob("*"):
            if match := _BESIDE.fullmatch(folder.name):
                found.append((f"{match[1]}/{match[2]}", folder))
    sizes = []
    for address, folder in found:
        with contextlib.suppress(Busy), store._locked(address):  # somebody at work on it keeps it
            if not _useless(store, folder, limit):
                continue
            sizes.append(_size(folder))
            if not dry_run:
                # An artifact goes by way of .damaged, so that a reader never sees half of one.
                shutil.rmtree(store.set_aside(address) if folder == store.path(address) else folder)
    print(f"{store.root}: {'would remove' if dry_run else 'removed'} {len(sizes)} folders, {sum(sizes) / 1e6:.2f} MB")
    return 0


def _useless(store: Store, folder: Path, limit: float) -> bool:
    """Whether `gc` may remove a folder whose lock it holds: nobody works in it, and no run used it since `limit`."""
    if not folder.is_dir():  # another `gc` was faster
        return False
    match folder.parent.name:
        case ".damaged":
            return True
        case ".partial":
            return life(folder) == "dead"
    return (folder / MANIFEST).is_file() and _last_use(folder) < limit


def _last_use(folder: Path) -> float:
    try:
        return (folder / SEAL).stat().st_mtime
    except OSError:
        return 0.0


def main(arguments: list[str] | None = None) -> int:
    """List, check or clean a store."""
    parser = argparse.ArgumentParser(prog="python -m sdft_exp.store", description="The store of artifacts.")
    parser.add_argument("command", choices=["ls", "verify", "gc"])
    parser.add_argument("--store", default=default_root(), help="its folder (default: %(default)s)")
    parser.add_argument("--unused-days", type=float, default=30, help="gc: what nobody used for so long (default: 30)")
    parser.add_argument("--dry-run", action="store_true", help="gc: say what would go")
    chosen = parser.parse_args(arguments)
    store = Store(chosen.store)
    if chosen.command == "ls":
        return _ls(store)
    if chosen.command == "verify":
        return _verify(store)
    return _gc(store, chosen.unused_days, chosen.dry_run)


if __name__ == "__main__":
    sys.exit(main())
