"""The store: whole or not there, checked on read, and safe with a second writer."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdft_exp import owner as owner_module
from sdft_exp import store as store_module
from sdft_exp.errors import UserError
from sdft_exp.owner import OWNER, life
from sdft_exp.stage import Stage
from sdft_exp.store import MEASURED, Busy, Made, Store, main, version_differences, versions


@dataclass(frozen=True)
class Params:
    number: int = 1


STAGE = Stage("mix", Params(), label="a small stage")


def write(out: Path) -> None:
    (out / "rows.jsonl").write_text("one\ntwo\n")
    (out / "deep").mkdir(exist_ok=True)
    (out / "deep" / "more.bin").write_bytes(bytes(range(256)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_an_artifact_is_published_whole_with_its_manifest(store: Store) -> None:
    assert store.verify(STAGE.address).state == "absent"
    assert store.produce(STAGE, write) == Made("ran")
    assert store.verify(STAGE.address).state == "whole"
    manifest = store.manifest(STAGE.address)
    # sha256sum of "one\ntwo\n"
    assert manifest["files"]["rows.jsonl"] == "c3f9c8c283a2b1f2f1896f27a01cbe3cddc0c9d93f752e4639035a0f5b36f6e8"
    assert set(manifest["files"]) == {"rows.jsonl", "deep/more.bin"}
    assert manifest["key_inputs"]["params"] == {"number": 1}
    assert {"versions", "git_commit", "host", "seconds", "peak_memory_bytes"} <= set(manifest)
    assert list((store.root / ".partial").iterdir()) == []


def test_what_was_measured_is_in_the_manifest_and_no_file_of_the_artifact(store: Store) -> None:
    def work(out: Path) -> None:
        write(out)
        (out / MEASURED).write_text('{"steps": [1]}')

    store.produce(STAGE, work)
    assert store.verify(STAGE.address).state == "whole"
    manifest = store.manifest(STAGE.address)
    assert manifest["measured"] == {"steps": [1]} and set(manifest["files"]) == {"rows.jsonl", "deep/more.bin"}
    assert not (store.path(STAGE.address) / MEASURED).exists()


def test_what_is_there_is_not_made_again(store: Store) -> None:
    store.produce(STAGE, write)
    assert store.produce(STAGE, lambda out: pytest.fail("made again")) == Made("hit")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "rows.jsonl").write_text("one\n"), "rows.jsonl does not match its digest"),
        (lambda folder: (folder / "rows.jsonl").unlink(), "rows.jsonl is missing"),
        (lambda folder: (folder / "extra").write_text(""), "extra is not in the manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json does not match"),
        (lambda folder: (folder / "manifest.sha256").unlink(), "cannot be read"),
    ],
)
def test_damage_is_named_and_set_aside(store: Store, damage, reason: str) -> None:
    store.produce(STAGE, write)
    damage(store.path(STAGE.address))
    check = store.verify(STAGE.address)
    assert check.state == "damaged"
    assert reason in check.reason
    assert store.produce(STAGE, write) == Made("repaired", check.reason)
    assert store.verify(STAGE.address).state == "whole"
    (aside,) = (store.root / ".damaged").iterdir()
    assert aside.name.startswith(f"mix-{STAGE.key}-")
    assert store.produce(STAGE, lambda out: pytest.fail("repaired twice")) == Made("hit")


def test_one_flipped_bit_is_damage(store: Store) -> None:
    store.produce(STAGE, write)
    path = store.path(STAGE.address) / "deep" / "more.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert store.verify(STAGE.address).state == "damaged"


def hold(root: Path) -> None:
    def work(out: Path) -> None:
        (out / "begun").write_text("half")
        time.sleep(60)

    Store(root).produce(STAGE, work)


def test_a_killed_attempt_is_gone_on_from(store: Store) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(store.root,))
    process.start()
    deadline = time.time() + 30
    while not list(store.root.glob(".partial/*/begun")) and time.time() < deadline:
        time.sleep(0.02)
    with pytest.raises(Busy):
        store.produce(STAGE, write)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = []

    def go_on(out: Path) -> None:
        found.append((out / "begun").read_text())
        (out / "begun").unlink()
        write(out)

    assert store.produce(STAGE, go_on) == Made("ran")
    assert found == ["half"]
    assert store.verify(STAGE.address).state == "whole"


def test_a_live_writers_folder_is_never_taken_even_when_locks_lie(store: Store, monkeypatch) -> None:
    """Two writers with no lock between them: each has a folder of its own, and the first to finish wins."""
    monkeypatch.setattr("sdft_exp.store.filelock.FileLock", lambda *_, **__: _NoLock())
    folders = []

    def slow(out: Path) -> None:
        folders.append(out)
        write(out)
        if len(folders) == 1:
            assert store.produce(STAGE, slow) == Made("ran")

    assert store.produce(STAGE, slow) == Made("hit")
    assert len(set(folders)) == 2
    assert store.verify(STAGE.address).state == "whole"


class _NoLock:
    def acquire(self) -> None:
        """Lie."""

    def release(self) -> None:
        """Lie."""


def owned_elsewhere(attempt: Path, silent: float) -> None:
    """Another host's writer is at work in `attempt`, whose last sign of life was so many seconds ago."""
    (attempt / OWNER).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "0"}))
    then = time.time() - silent
    os.utime(attempt / OWNER, (then, then))


def test_another_hosts_writer_is_waited_for_until_it_is_silent(store: Store) -> None:
    left = store.root / ".partial" / f"mix-{STAGE.key}-live"
    left.mkdir(parents=True)
    (left / "begun").write_text("half")
    owned_elsewhere(left, silent=120)
    with pytest.raises(Busy):
        store.produce(STAGE, write)
    assert (left / "begun").is_file()
    owned_elsewhere(left, silent=151)
    found = []

    def go_on(out: Path) -> None:
        found.append((out / "begun").read_text())
        (out / "begun").unlink()
        write(out)

    assert store.produce(STAGE, go_on) == Made("ran")
    assert found == ["half"]


def test_a_writer_at_work_gives_signs_of_life(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "_BEAT_SECONDS", 0.01)

    def work(out: Path) -> None:
        os.utime(out / OWNER, (0, 0))
        while (out / OWNER).stat().st_mtime == 0:
            time.sleep(0.01)
        write(out)

    assert store.produce(STAGE, work) == Made("ran")


def test_a_writer_that_failed_is_not_waited_for(store: Store) -> None:
    def work(out: Path) -> None:
        (out / "begun").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.produce(STAGE, work)
    (left,) = (store.root / ".partial").iterdir()
    assert [path.name for path in left.iterdir()] == ["begun"]


def test_a_writer_taken_for_dead_gives_way_to_the_one_that_took_its_folder(store: Store) -> None:
    """Where locks lie, another host may take over a writer that was silent for long: asleep, say."""

    def robbed(out: Path) -> None:
        out.rename(out.with_name(f"mix-{STAGE.key}-stolen"))
        (out / "rows.jsonl").write_text("")

    with pytest.raises(Busy):
        store.produce(STAGE, robbed)

    def outrun(out: Path) -> None:
        out.rename(out.with_name(f"mix-{STAGE.key}-finished"))
        target = store.path(STAGE.address)
        assert Store(store.root / "other").produce(STAGE, write) == Made("ran")
        target.parent.mkdir()
        Store(store.root / "other").path(STAGE.address).rename(target)
        (out / "rows.jsonl").write_text("")

    assert store.produce(STAGE, outrun) == Made("hit")
    assert store.verify(STAGE.address).state == "whole"


def test_an_artifact_whose_writer_died_right_after_the_rename_is_whole(store: Store) -> None:
    store.produce(STAGE, write)
    (store.path(STAGE.address) / OWNER).write_text("{}")
    assert store.verify(STAGE.address).state == "whole"


def test_an_artifact_that_goes_while_it_is_read_is_absent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.produce(STAGE, write)

    def gone(path: Path) -> str:
        store.set_aside(STAGE.address)
        raise FileNotFoundError(path)

    monkeypatch.setattr(store_module, "sha256_file", gone)
    assert store.verify(STAGE.address).state == "absent"


def test_an_attempt_that_died_while_publishing_leaves_no_stale_manifest(store: Store) -> None:
    left = store.root / ".partial" / f"mix-{STAGE.key}-dead"
    left.mkdir(parents=True)
    (left / "manifest.json").write_text("old")
    (left / "manifest.sha256").write_text("old")
    owned_elsewhere(left, silent=151)
    store.produce(STAGE, write)
    assert set(store.manifest(STAGE.address)["files"]) == {"rows.jsonl", "deep/more.bin"}


def test_a_store_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths\.store=.*cannot be written.*paths\.store=DIR"):
        Store(tmp_path / "file").produce(STAGE, write)


def test_version_differences_name_library_and_versions() -> None:
    assert version_differences({"versions": versions()}) == []
    assert version_differences({"versions": {"torch": "0.1"}}) == [f"torch 0.1 -> {versions()['torch']}"]


def test_the_command_lists_verifies_and_cleans(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.produce(STAGE, write)
    where = ["--store", str(store.root)]
    assert main(["ls", *where]) == 0
    assert f"mix      {STAGE.key[:12]}" in capsys.readouterr().out
    assert main(["verify", *where]) == 0
    (store.path(STAGE.address) / "rows.jsonl").write_text("")
    assert main(["verify", *where]) == 1
    assert "rows.jsonl does not match its digest" in capsys.readouterr().out
    assert main(["gc", *where, "--dry-run", "--unused-days", "0"]) == 0
    assert store.path(STAGE.address).is_dir()
    assert main(["gc", *where, "--unused-days", "1"]) == 0
    assert store.path(STAGE.address).is_dir()
    assert main(["gc", *where, "--unused-days", "0"]) == 0
    assert not store.path(STAGE.address).exists()


def clean(store: Store) -> None:
    assert main(["gc", "--store", str(store.root), "--unused-days", "0"]) == 0


def test_gc_leaves_what_is_not_the_stores(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.produce(STAGE, write)
    others = [
        "photos/2024/beach.jpg",  # no stage
        f"backup/{STAGE.key}/manifest.json",  # no stage, though it looks like an artifact
        "mix/notes/manifest.json",  # no key
        f"mix/{'a' * 64}/rows.jsonl",  # no manifest
        "mix/README",
        "train",
        ".partial/mine/file",
        ".damaged/file",
    ]
    for name in others:
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    assert store.addresses() == sorted([f"mix/{'a' * 64}", STAGE.address])
    assert main(["ls", "--store", str(store.root)]) == 0
    assert main(["verify", "--store", str(store.root)]) == 1
    assert capsys.readouterr().out.count("damaged mix/") == 1
    clean(store)
    assert not store.path(STAGE.address).exists()
    assert [name for name in others if (store.root / name).read_text() != "precious"] == []


def test_gc_leaves_an_attempt_that_another_host_works_on(store: Store) -> None:
    def work(out: Path) -> None:
        write(out)
        (out / OWNER).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "0"}))
        clean(store)
        assert (out / "rows.jsonl").is_file()

    assert store.produce(STAGE, work) == Made("ran")


def test_gc_removes_dead_attempts_and_damaged_artifacts(store: Store) -> None:
    for beside in (".partial", ".damaged"):
        (store.root / beside / f"mix-{STAGE.key}-0123abcd").mkdir(parents=True)
    clean(store)
    assert not list(store.root.glob(".partial/*"))
    assert not list(store.root.glob(".damaged/*"))


def test_gc_leaves_an_artifact_whose_lock_is_held(store: Store) -> None:
    store.produce(STAGE, write)
    with store._locked(STAGE.address):
        clean(store)
    assert store.verify(STAGE.address).state == "whole"
    clean(store)
    assert store.verify(STAGE.address).state == "absent"


def test_an_attempt_has_its_owner_until_it_is_renamed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = []

    def watched(path: Path) -> None:
        if ".partial" in path.parts:
            (attempt,) = (store.root / ".partial").iterdir()
            owned.append((attempt / OWNER).is_file())

    monkeypatch.setattr(store_module, "_fsync", watched)
    store.produce(STAGE, write)
    assert owned == [True] * 6  # two files, manifest and its digest, two folders
    assert not (store.path(STAGE.address) / OWNER).exists()
    assert store.verify(STAGE.address).state == "whole"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_an_owner_that_died_and_that_nobody_waited_for_is_dead(store: Store, tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    stat = Path(f"/proc/{process.pid}/stat")
    owner = tmp_path / OWNER
    started = stat.read_text().rpartition(")")[2].split()[19]
    owner.write_text(json.dumps({"host": owner_module._host(), "pid": process.pid, "started": started}))
    assert life(tmp_path) == "here"
    process.kill()
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert life(tmp_path) == "dead"
    process.wait()
