"""Killed at any instant, the next start finds a lab whose best is backed, and no experiment is lost or twice there."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from autoresearchd.errors import AlreadyRunning
from autoresearchd.experiment import Concluded, Experiment, Outcome
from autoresearchd.ledger import Ledger, refs
from tests.ledger.lab import METRIC, NOW, fsck, git, measurement, new_ledger, opened, verdict, with_baseline

ROOT = Path(__file__).parents[2]
KILLS = 50
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
# Stops itself at the chosen call, as a power cut would: nothing after it is done, nothing is cleaned up.
CUT = """
import os, signal, sys
from pathlib import Path
import autoresearchd.ledger.lab as lab
import autoresearchd.ledger.refs as refs
import autoresearchd.ledger.trees as trees
from autoresearchd.ledger import Ledger
from tests.ledger.test_crash import work
path, point = Path(sys.argv[1]), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def dying(call, when, before):
    def inner(*arguments, **named):
        if before and when(arguments):
            die()
        found = call(*arguments, **named)
        if not before and when(arguments):
            die()
        return found
    return inner
def on(ref):
    return lambda arguments: arguments[1].startswith(ref)
always = lambda arguments: True
ledger = Ledger(path)
match point:
    case "after the tree":
        trees.file_edits = dying(trees.file_edits, always, False)
    case "after the commit, before the branch":
        refs.create = dying(refs.create, on(refs.EXPERIMENTS), True)
    case "after the branch":
        refs.create = dying(refs.create, on(refs.EXPERIMENTS), False)
    case "after the run's objects":
        refs.move = dying(refs.move, on(refs.RUNS), True)
    case "after the run":
        refs.move = dying(refs.move, on(refs.RUNS), False)
    case "after the concluded commit, before best":
        refs.move = dying(refs.move, on(refs.BEST), True)
    case "inside best":
        write = refs._locked.__exit__
        refs._locked.__exit__ = lambda self, *error: die() if self._name == refs.BEST else write(self, *error)
    case "after best":
        refs.move = dying(refs.move, on(refs.BEST), False)
with ledger.hold():
    work(ledger)
"""
POINTS = [
    "after the tree",
    "after the commit, before the branch",
    "after the branch",
    "after the run's objects",
    "after the run",
    "after the concluded commit, before best",
    "inside best",
    "after best",
]


def work(ledger: Ledger) -> None:
    """The life of one experiment: opened, run, kept; every third is discarded, every fifth needs a replay."""
    number = ledger.entries()[-1].number + 1
    experiment = opened(ledger, f"RATE = {number}\n", path=f"file{number}.py", title=f"Try {number}")
    if number % 5 == 0:
        finish(ledger, opened(ledger, f"RATE = {number}\n", path=f"other{number}.py", title="Get ahead"))
    finish(ledger, experiment)
    if number % 7 == 0:
        ledger.pack()


def finish(ledger: Ledger, experiment: Experiment) -> None:
    """From wherever an open experiment is to its verdict."""
    if ledger.landed(experiment) is not None:
        ledger.settle(experiment)
        return
    if experiment.parent != ledger.best().commit:
        replayed = ledger.replay(experiment, now=NOW)
        assert replayed is not None
        experiment = replayed
    ledger.record(measurement(experiment.tree))
    outcome = Outcome.DISCARD if experiment.number % 3 == 0 else Outcome.KEEP
    ledger.conclude(experiment, verdict(outcome), metric=METRIC, now=NOW)


def recover(ledger: Ledger) -> None:
    """What the next daemon does: it settles what has landed, and goes on with what is open."""
    for experiment in sorted(ledger.opened(), key=lambda each: ledger.landed(each) is None):
        finish(ledger, experiment)


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


def _done_before_a_kill(path: Path, delay: float) -> int:
    """Let a daemon work for a while, then SIGKILL it; how many experiments it said were done."""
    with _labouring(path) as (worker, report):
        time.sleep(delay)  # the instant of the crash, not a synchronisation
        worker.kill()
        done = 0
        with suppress(EOFError):  # all that it said has been read
            while report.recv() == "done":
                done += 1
    assert worker.exitcode == -signal.SIGKILL
    return done


def test_fifty_kills_at_random_instants_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The locks of killed workers are minutes old to their successors in life; here the next one starts at once.
    monkeypatch.setattr(refs, "LOCK_GRACE_SECONDS", 0.0)
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    random.seed(1)
    done = 0
    for _ in range(KILLS):
        done += _done_before_a_kill(ledger.path, random.uniform(0.0, 0.04))
        with ledger.hold():
            recover(ledger)
            assert ledger.verify() == ()
    _sound(ledger)
    assert done > 0
    assert len(ledger.entries()) > done


@pytest.mark.parametrize("point", POINTS)
def test_each_crash_point_is_survived(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refs, "LOCK_GRACE_SECONDS", 0.0)
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    work(ledger)
    before = ledger.best()
    done = subprocess.run([sys.executable, "-c", CUT, str(ledger.path), point], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (ledger.path / "refs/heads/best.lock").exists() == (point == "inside best")
    again = Ledger(ledger.path)
    with again.hold():
        assert (again.best() != before) == (point == "after best")
        waiting = again.opened()
        assert len(waiting) == (0 if point in POINTS[:2] else 1)
        recover(again)
        work(again)
    _sound(again)
    assert len(again.entries()) == 3 + len(waiting)


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
