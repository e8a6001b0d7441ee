"""What becomes of jobs when the disk or Slurm has its moments; stand-ins for Slurm's commands, as real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoresearchd.cluster import Slurm
from autoresearchd.experiment import TreeOid
from autoresearchd.run import dispatch, parcel
from autoresearchd.run.dispatch import Dispatcher, Lost, News, Order
from autoresearchd.run.sbatch import Cluster
from tests.run.room import spec

PATIENCE = 120.0
TREE = TreeOid("a" * 40)


class Queue:
    """A Slurm of shell scripts, with what it was told and what it shows in files."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "shown").touch()
        self.command("sbatch", f"echo run >> {folder}/sent; wc -l < {folder}/sent")
        self.command("squeue", f"echo look >> {folder}/looks; cat {folder}/shown")
        self.command("scancel", f'echo "$@" >> {folder}/scancelled')
        patch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
        patch.setattr(dispatch, "LOOK_SECONDS", 0.02)
        self.dispatcher = Dispatcher(
            Cluster(Slurm(), mark="ours"), folder=folder / "jobs", poll_seconds=0.02, ring=lambda: None
        )
        self.found: list[News] = []

    def command(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def show(self, text: str) -> None:
        (self.folder / "fresh").write_text(text)
        (self.folder / "fresh").rename(self.folder / "shown")

    def submit(self, run: str) -> Path:
        self.dispatcher.submit(Order(spec=spec(TREE, run=run), words=("true",), files={}, seconds=60))
        return self.folder / "jobs" / run

    def told(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, (self.found, self.told("scancelled"))
            self.found += self.dispatcher.news()
            time.sleep(0.01)

    def looks(self, more: int = 3) -> None:
        """Wait until the queue was looked at again, a few times."""
        wanted = len(self.told("looks")) + more
        self.wait(lambda: len(self.told("looks")) >= wanted)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    queue = Queue(tmp_path, monkeypatch)
    yield queue
    assert queue.dispatcher.close(PATIENCE)


def test_a_moment_in_which_the_shared_disk_cannot_be_read_costs_no_run(slurm: Queue) -> None:
    slurm.show("1|RUNNING|node-1|None|ours\n")
    folder = slurm.submit("run-1")
    slurm.wait(folder.exists)
    slurm.looks()
    folder.rename(slurm.folder / "away")
    slurm.looks()
    (slurm.folder / "away").rename(folder)
    slurm.looks()
    assert (slurm.found, slurm.told("scancelled")) == ([], [])


def test_a_folder_that_stays_unreadable_is_given_up(slurm: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "UNREAD_SECONDS", 0.0)
    slurm.show("1|RUNNING|node-1|None|ours\n")
    folder = slurm.submit("run-1")
    slurm.wait(folder.exists)
    slurm.looks()
    folder.rename(slurm.folder / "away")
    slurm.wait(lambda: slurm.found)
    assert set(slurm.told("scancelled")) == {"--quiet 1"}


def test_a_job_whose_comment_somebody_rewrote_is_still_ours(slurm: Queue) -> None:
    slurm.show("1|RUNNING|node-1|None|of the site\n2|RUNNING|node-1|None|of the site\n")
    slurm.submit("run-1")
    slurm.wait(lambda: slurm.told("sent"))
    slurm.looks(6)
    assert (slurm.found, slurm.told("scancelled")) == ([], [])


def test_a_job_that_slurm_does_not_show_is_cancelled_before_its_run_is_done_again(slurm: Queue) -> None:
    slurm.submit("run-1")
    slurm.wait(lambda: slurm.found)
    (lost,) = slurm.found
    assert isinstance(lost, Lost)
    assert "forgotten by Slurm" in lost.why
    assert slurm.told("scancelled") == ["--quiet 1"]


def test_while_slurm_takes_its_time_for_one_order_what_came_back_is_seen_before_the_next(slurm: Queue) -> None:
    slurm.show("1|RUNNING|node-1|None|ours\n2|RUNNING|node-1|None|ours\n")
    folder, jobs = slurm.folder, slurm.folder / "jobs"
    slurm.command(
        "sbatch",
        f"echo run >> {folder}/sent; number=$(wc -l < {folder}/sent)\n"
        f"[ $number = 1 ] && echo '?' > {jobs}/run-1/{parcel.MEASUREMENT_FILE} && sleep 0.1\n"
        f"until [ $number = 1 ] || [ -e {folder}/go ]; do sleep 0.01; done; echo $number",
    )
    slurm.submit("run-1")
    slurm.submit("run-2")
    slurm.wait(lambda: slurm.found)
    assert slurm.told("sent") in (["run"], ["run", "run"])
    (folder / "go").touch()
    slurm.wait(lambda: len(slurm.told("sent")) == 2)
