"""Killed at random instants, the next start finds a lab whose best is backed, and no experiment is lost or twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from autoresearchd.errors import AlreadyRunning
from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.ledger import Ledger
from tests.ledger.lab import fsck, git, new_ledger, opened, with_baseline
from tests.ledger.labours import finish, recover
from tests.support.forks import PROCESSES

KILLS = 50


def work(ledger: Ledger) -> None:
    """The life of one experiment: opened, run, kept; every third is discarded, every fifth needs a replay."""
    number = ledger.entries()[-1].number + 1
    experiment = opened(ledger, f"RATE = {number}\n", path=f"file{number}.py", title=f"Try {number}")
    if number % 5 == 0:
        finish(ledger, opened(ledger, f"RATE = {number}\n", path=f"other{number}.py", title="Get ahead"))
    finish(ledger, experiment)
    if number % 7 == 0:
        ledger.pack()


def _sound(ledger: Ledger) -> None:
    """Nothing lost, nothing twice, best backed, git content."""
    entries = ledger.entries()
    assert [entry.number for entry in entries] == list(range(len(entries)))
    assert ledger.opened() == ()
    assert ledger.verify() == ()
    on_best = git(ledger.path, "log", "--format=%(trailers:key=Experiment,valueonly,separator=)", "best").split()
    kept = [entry.number for entry in entries if entry.outcome in (Outcome.KEEP, Outcome.BASELINE)]
    assert sorted(map(int, on_best)) == kept
    for entry in entries:
        found = ledger.find(entry.number)
        assert isinstance(found, Concluded)
        assert len(ledger.measurements(entry.tree)) == 1
    assert fsck(ledger.path) == ""


def _labour(path: Path, report: Connection) -> None:
    """A daemon that goes on with what is open and then works until it is killed."""
    ledger = Ledger(path)
    with ledger.hold():
        recover(ledger)
        report.send("ready")
        while True:
            work(ledger)
            report.send("done")


@contextmanager
def _labouring(path: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """A daemon in a process of its own, ready; killed in the end."""
    mine, theirs = PROCESSES.Pipe(duplex=False)
    worker = PROCESSES.Process(target=_labour, args=(path, theirs))
    worker.start()
    theirs.close()
    try:
        assert mine.recv() == "ready"
        yield worker, mine
    finally:
        worker.kill()
        worker.join()


def _done_before_a_kill(path: Path, at_least: int, delay: float) -> int:
    """Let a daemon do some experiments and go on for a while, then SIGKILL it; how many it said were done."""
    with _labouring(path) as (worker, report):
        done = sum(report.recv() == "done" for _ in range(at_least))
        time.sleep(delay)  # the instant of the crash, not a synchronisation
        worker.kill()
        with suppress(EOFError):  # all that it said has been read
            while report.recv() == "done":
                done += 1
    assert worker.exitcode == -signal.SIGKILL
    return done


@pytest.mark.usefixtures("_restarts_at_once")
def test_fifty_kills_at_random_instants_lose_nothing(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    random.seed(1)
    done = 0
    for _ in range(KILLS):
        done += _done_before_a_kill(ledger.path, random.randint(0, 1), random.uniform(0.0, 0.03))
        with ledger.hold():
            recover(ledger)
            assert ledger.verify() == ()
    _sound(ledger)
    assert done > 0
    assert len(ledger.entries()) > done


def test_a_daemon_that_is_alive_is_named_and_a_dead_one_is_not(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    assert ledger.holder() is None
    with _labouring(ledger.path) as (worker, _):
        assert ledger.holder() == worker.pid
        with pytest.raises(AlreadyRunning) as raised, ledger.hold():
            pass
        assert raised.value.pid == worker.pid
    assert ledger.holder() is None
    with ledger.hold():
        assert ledger.holder() == os.getpid()
    assert ledger.holder() is None
