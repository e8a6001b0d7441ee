"""A backup has everything that is history, and a lab that is restored from it goes on as if nothing had happened."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autoresearchd.errors import AlreadyRunning, UserError
from autoresearchd.ledger import Ledger, back_up, runs_back
from tests.ledger.lab import discarded, kept, measurement, new_ledger, opened, with_baseline
from tests.ledger.test_crash import _labouring
from tests.support.damage import RUNS, forge, harm
from tests.support.projects import git


def refs(path: Path) -> dict[str, str]:
    said = git(path, "for-each-ref", "--format=%(refname) %(objectname)").split()
    return dict(zip(said[::2], said[1::2], strict=True))


@pytest.fixture
def lab(ledger: Ledger) -> Ledger:
    kept(ledger, "RATE = 0.2\n")
    discarded(ledger, "RATE = 0.3\n")
    opened(ledger, "RATE = 0.4\n")
    git(ledger.path, "update-ref", "refs/heads/idea/mine", "best~1")
    return ledger


def test_a_backup_has_every_ref_and_later_what_is_new(lab: Ledger, tmp_path: Path) -> None:
    copy = tmp_path / "shelf" / "lab.git"
    assert back_up(lab.path, copy) == ()
    assert refs(copy) == refs(lab.path)
    waiting = lab.opened()[0]
    lab.record(measurement(waiting.tree))
    kept(lab, "RATE = 0.5\n")
    lab.pack()
    assert back_up(lab.path, copy) == ()
    assert refs(copy) == refs(lab.path)
    assert {path.stat().st_nlink for path in copy.rglob("objects/*/*")} == {1}, "shared files share their damage"


def test_what_is_deleted_in_the_lab_stays_in_the_backup_but_ideas_that_were_taken_up(
    lab: Ledger, tmp_path: Path
) -> None:
    copy = tmp_path / "lab.git"
    back_up(lab.path, copy)
    lost = lab.find(2)
    assert lost is not None
    ref = next(name for name in refs(lab.path) if "/exp/0002" in name)
    for name in (ref, "refs/heads/idea/mine"):
        git(lab.path, "update-ref", "-d", name)
    back_up(lab.path, copy)
    assert refs(copy) == {**refs(lab.path), ref: refs(copy)[ref]}
    assert any("0002" in finding.what for finding in Ledger(lab.path).fsck())
    git(lab.path, "fetch", "-q", str(copy), "refs/heads/exp/*:refs/heads/exp/*")  # as fsck says
    assert Ledger(lab.path).fsck() == ()
    assert Ledger(lab.path).find(2) == lost


def test_a_restored_lab_goes_on_and_has_lost_nothing(lab: Ledger, tmp_path: Path) -> None:
    copy, again = tmp_path / "lab.git", tmp_path / "restored.git"
    back_up(lab.path, copy)
    git(tmp_path, "clone", "-q", "--mirror", str(copy), str(again))
    restored = Ledger(again)
    with restored.hold():
        assert refs(again) == refs(lab.path)
        assert list(restored.concluded()) == list(lab.concluded())
        assert restored.opened() == lab.opened()
        for entry in lab.entries():
            assert restored.measurements(entry.tree) == lab.measurements(entry.tree)
        made = kept(restored, "RATE = 0.5\n")
    assert made.experiment.number == 4
    assert restored.best_record() == made
    assert Ledger(again).fsck() == ()


def test_a_restored_lab_is_guarded_as_a_new_one(lab: Ledger, tmp_path: Path) -> None:
    copy, again = tmp_path / "lab.git", tmp_path / "restored.git"
    back_up(lab.path, copy)
    git(tmp_path, "clone", "-q", "--mirror", str(copy), str(again))
    restored = Ledger(again)
    with restored.hold():
        kept(restored, "RATE = 0.5\n")
    before = refs(again)
    git(again, "fetch", "-q", check=False)
    assert refs(again) == before, "one `git fetch` would undo what came after the backup"
    with pytest.raises(AssertionError, match="deny"):
        git(tmp_path / "project", "push", "-q", str(again), "+HEAD:refs/heads/best")
    settings = ("receive.hideRefs", "receive.fsckObjects", "gc.auto", "core.logAllRefUpdates")
    for key in settings:
        assert git(again, "config", "--get-all", key) == git(lab.path, "config", "--get-all", key)


def test_runs_that_were_taken_away_come_back_and_what_was_filed_since_stays(lab: Ledger, tmp_path: Path) -> None:
    copy, (waiting,) = tmp_path / "lab.git", lab.opened()
    back_up(lab.path, copy)
    before = git(lab.path, "ls-tree", "-r", "--name-only", RUNS).split()
    forge(lab.path, before[0], None)
    forge(lab.path, before[1], "{}")
    lab.record(measurement(waiting.tree))
    assert runs_back(lab.path, copy) == 2
    assert runs_back(lab.path, copy) == 0
    assert len(Ledger(lab.path).measurements(waiting.tree)) == 1
    assert set(before) < set(git(lab.path, "ls-tree", "-r", "--name-only", RUNS).split())
    assert Ledger(lab.path).fsck() == ()
    git(lab.path, "update-ref", "-d", RUNS)
    assert runs_back(lab.path, copy) == len(before)
    assert git(lab.path, "ls-tree", "-r", RUNS) == git(copy, "ls-tree", "-r", RUNS)


def test_runs_come_back_from_no_other_labs_backup_and_not_beside_a_daemon(lab: Ledger, tmp_path: Path) -> None:
    back_up(lab.path, tmp_path / "copy")
    held = refs(lab.path)
    with lab.hold(), pytest.raises(AlreadyRunning):
        runs_back(lab.path, tmp_path / "copy")
    with pytest.raises(UserError, match="no backup of"):
        runs_back(lab.path, lab.path)
    assert refs(lab.path) == held


@pytest.mark.parametrize("there", ["a file", "another lab", "the backup of another lab"])
def test_nothing_else_is_overwritten_by_a_backup(lab: Ledger, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = new_ledger(folder)
    with_baseline(other)
    target = {"a file": folder / "project", "another lab": other.path}.get(there, tmp_path / "copy.git")
    if there == "the backup of another lab":
        back_up(other.path, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="no backup of"):
        back_up(lab.path, target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_a_backup_that_cannot_be_written_is_one_sentence(lab: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be copied"):
        back_up(lab.path, tmp_path / "file" / "lab.git")


def test_damage_in_the_lab_is_said_by_its_backup_and_the_last_one_keeps_what_it_has(
    lab: Ledger, tmp_path: Path
) -> None:
    copy = tmp_path / "lab.git"
    back_up(lab.path, copy)
    before = refs(copy)
    kept(lab, "RATE = 0.5\n")
    harm(lab.path, git(lab.path, "rev-parse", "refs/heads/best^{tree}").strip(), None)
    with pytest.raises(UserError, match="cannot be copied"):
        back_up(lab.path, copy)
    assert refs(copy) == before
    assert Ledger(copy).fsck() == ()


def test_a_backup_beside_a_working_daemon_is_sound(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    with _labouring(ledger.path) as (_, report):
        for _ in range(3):
            assert report.recv() == "done"
            assert back_up(ledger.path, tmp_path / "lab.git") == ()
    assert len(Ledger(tmp_path / "lab.git").entries()) > 3
    assert subprocess.run(["git", "-C", str(tmp_path / "lab.git"), "fsck"], capture_output=True).returncode == 0
