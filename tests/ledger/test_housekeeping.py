"""Packing goes on beside the daemon, which never waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Housekeeping, Ledger, housekeeping
from tests.ledger.lab import discarded, opened
from tests.support.night import Night
from tests.support.patience import until
from tests.support.projects import fsck, git, lab

GIT = shutil.which("git") or "git"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PACK_EVERY", 2)


def done(keeper: Housekeeping) -> bool:
    keeper.step(0)
    return not keeper.is_at_work


@pytest.fixture
def slow_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git that waits for a file before it does anything; `start` says that it was begun."""
    folder = tmp_path / "slow"
    folder.mkdir()
    script = f'#!/bin/sh\ntouch {folder}/begun\nwhile [ ! -e {folder}/go ]; do sleep 0.05; done\nexec {GIT} "$@"\n'
    (folder / "git").write_text(script)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_the_daemon_judges_on_while_it_packs(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    night = Night(lab(tmp_path / "project"))
    slow = request.getfixturevalue("slow_git")
    keeper = Housekeeping(night.ledger.path)
    night.steps(6)
    keeper.step(2)
    assert not keeper.is_at_work, "that is no quiet moment"
    keeper.step(0)
    until((slow / "begun").exists)
    night.propose(0.5, 2.0)
    night.steps()
    keeper.step(len(night.loop.news()))
    assert sorted([night.outcome(1), night.outcome(2)]) == [Outcome.DISCARD, Outcome.KEEP]
    assert keeper.is_at_work
    assert not (night.ledger.path / "packed-refs").exists()
    (slow / "go").touch()
    until(lambda: done(keeper))
    packed = (night.ledger.path / "packed-refs").read_text()
    assert "refs/heads/exp/0002" in packed
    assert (night.ledger.path / "objects/info/commit-graph").exists()
    assert night.ledger.verify() == ()
    assert fsck(night.ledger.path) == ""


def test_an_end_of_the_daemon_ends_the_packing_and_leaves_no_lock(ledger: Ledger, slow_git: Path) -> None:
    keeper = Housekeeping(ledger.path)
    keeper.step(2)
    keeper.step(0)
    until((slow_git / "begun").exists)
    keeper.close()
    assert not keeper.is_at_work
    (slow_git / "go").touch()
    assert git(ledger.path, "for-each-ref", "--count=1") != ""
    assert list(ledger.path.rglob("*.lock")) == []


DAEMON = """
import sys, time
from pathlib import Path
from autoresearchd.ledger import Housekeeping, housekeeping
housekeeping.PACK_EVERY = 1
keeper = Housekeeping(Path(sys.argv[1]))
keeper.step(1)
keeper.step(0)
print("packing", flush=True)
time.sleep(600)
"""


def test_a_packing_does_not_outlive_a_killed_daemon(ledger: Ledger, slow_git: Path) -> None:
    """The next one would take its locks away under its hands."""
    with subprocess.Popen([sys.executable, "-c", DAEMON, str(ledger.path)], stdout=subprocess.PIPE) as daemon:
        until((slow_git / "begun").exists)
        packing = working_for(ledger.path)
        daemon.kill()
    assert packing
    until(lambda: not working_for(ledger.path))


def working_for(lab: Path) -> list[str]:
    """Processes that have this lab on their command line, the stand-in for a daemon aside."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = line.read_bytes().split(b"\0")
            if str(lab).encode() in words and b"-c" not in words[:2]:
                found.append(line.parent.name)
    return found


def test_a_packing_that_fails_is_said_and_tried_again_when_it_is_due_again(ledger: Ledger) -> None:
    keeper = Housekeeping(ledger.path)
    (ledger.path / "packed-refs.lock").touch()
    with capture_logs() as said:
        keeper.step(2)
        keeper.step(0)
        until(lambda: done(keeper))
    (failed,) = (entry for entry in said if entry["event"] == "packing_failed")
    assert "packed-refs.lock" in failed["why"]
    (ledger.path / "packed-refs.lock").unlink()
    keeper.step(2)
    keeper.step(0)
    until(lambda: done(keeper))
    assert (ledger.path / "packed-refs").exists()


def test_what_a_packing_that_failed_has_left_goes_and_what_is_being_written_stays(ledger: Ledger) -> None:
    packs = ledger.path / "objects/pack"
    packs.mkdir(exist_ok=True)
    left, loose, young = packs / "tmp_pack_Ab1", ledger.path / "objects/00/tmp_obj_Ab1", packs / "tmp_idx_Ab1"
    loose.parent.mkdir(exist_ok=True)
    for file in (left, loose, young):
        file.write_bytes(b"half")
    for file in (left, loose):
        os.utime(file, (0, time.time() - 2 * housekeeping.GIT_SECONDS))
    Housekeeping(ledger.path).step(0)
    assert [file.exists() for file in (left, loose, young)] == [False, False, True]
    assert fsck(ledger.path) == ""


def test_what_short_sessions_left_loose_is_packed_by_a_later_one(ledger: Ledger) -> None:
    discarded(ledger, "RATE = 1\n")
    keeper = Housekeeping(ledger.path)
    keeper.step(0)
    until(lambda: done(keeper))
    assert "refs/heads/exp/0001" in (ledger.path / "packed-refs").read_text()
    keeper = Housekeeping(ledger.path)
    keeper.step(0)
    assert not keeper.is_at_work, "nothing is loose any more"


def test_nothing_is_lost_to_a_lab_that_is_packed_while_it_is_written_and_read(ledger: Ledger) -> None:
    keeper, made = Housekeeping(ledger.path), 0
    reader = Ledger(ledger.path)
    for _ in range(5):
        keeper.step(2)
        keeper.step(0)
        while not done(keeper):
            made += 1
            assert discarded(ledger, f"RATE = 1.{made}\n").experiment.number == made
            reader.refresh()
            assert len(reader.concluded()) == made + 1
            assert len(reader.measurements(reader.entries()[-1].tree)) == 1
    assert made > 0
    assert opened(Ledger(ledger.path), "RATE = 9\n").number == made + 1
    assert Ledger(ledger.path).fsck() == ()
