"""Caring for a lab by the command line, beside the daemon that works in it, and on a disk that gets full."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger
from tests.acceptance.daemon import command, events, foreign_lab, start, status_of, stop, wait_for
from tests.support.patience import until
from tests.support.projects import git


def test_fsck_and_backup_work_beside_a_daemon_and_a_restored_lab_goes_on(tmp_path: Path) -> None:
    folder, copy = foreign_lab(tmp_path / "project"), tmp_path / "shelf" / "copy.git"
    lab = folder / "experiments.git"
    daemon = start(folder)
    try:
        wait_for(folder, "experiment_concluded", count=3)
        assert json.loads(command(folder, "fsck", "--json").stdout) == {"sound": True, "findings": []}
        wait_for(folder, "experiment_concluded", count=5)
        assert "is sound" in command(folder, "backup", str(copy)).stdout
    finally:
        stop(daemon)
    assert "is sound" in command(folder, "backup", str(copy)).stdout
    lab.rename(tmp_path / "lost.git")
    git(folder, "clone", "-q", "--mirror", str(copy), str(lab))
    command(folder, "run", "--experiments", "1")
    lost, now = Ledger(tmp_path / "lost.git"), Ledger(lab)
    assert list(now.concluded())[: len(lost.concluded())] == list(lost.concluded())
    assert len(now.entries()) > len(lost.entries()) - 1
    assert now.fsck() == ()


def test_fsck_says_what_is_wrong_and_the_way_out_with_exit_code_one(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    lab = folder / "experiments.git"
    assert "is sound: 0 experiments" in command(folder, "fsck").stdout
    git(lab, "update-ref", "refs/heads/mine", "best")
    done = command(folder, "fsck", check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[:2] == [
        "refs/heads/mine does not belong in a lab",
        "    → `git update-ref -d refs/heads/mine` in experiments.git",
    ]
    wrong = command(folder, "fsck", "--json", check=False)
    assert (wrong.returncode, json.loads(wrong.stdout)["sound"]) == (1, False)
    git(lab, "update-ref", "-d", "refs/heads/mine")
    command(folder, "fsck")
    assert command(folder, "fsck", "--program", "nowhere.toml", check=False).returncode == 2


def test_a_lab_of_a_newer_release_is_one_sentence_and_exit_code_two(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    lab = folder / "experiments.git"
    blob = git(lab, "hash-object", "-w", "--stdin", given="99\n").strip()
    git(lab, "update-ref", "refs/autoresearch/format", blob)
    for asked in ("run", "log", "fsck"):
        done = command(folder, asked, check=False)
        assert done.returncode == 2
        assert "has format 99" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for little more than what has to be free."""
    place = tmp_path / "disk"
    place.mkdir()
    size = FREE_FLOOR_BYTES + 64 * 2**20
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_on_a_disk_that_gets_full_nothing_is_started_until_there_is_room_again(small_disk: Path) -> None:
    folder = foreign_lab(small_disk / "project")
    daemon = start(folder)
    try:
        wait_for(folder, "experiment_concluded", count=2)
        filler = small_disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 60 * 2**20)
        held = wait_for(folder, "held")[0]
        assert f"MiB are free on the disk of {folder / 'experiments.git'}" in held["why"]
        until(lambda: status_of(folder)["state"] == "held")
        assert "MiB are free" in command(folder, "status").stdout
        filler.unlink()
        wait_for(folder, "resumed")
        wait_for(folder, "experiment_concluded", count=3)
    finally:
        stop(daemon)
    said = [entry["event"] for entry in events(folder)]
    assert "run_started" not in said[said.index("held") : said.index("resumed")]
    assert Ledger(folder / "experiments.git").fsck() == ()
