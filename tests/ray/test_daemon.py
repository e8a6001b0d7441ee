"""The whole daemon with its runs on Ray: killed in the middle of one, started again, and a better idea is kept."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command, events, foreign_project, patch_of, start, stop, wait_for
from tests.ray.labs import PROGRAM, training
from tests.support.patience import until
from tests.support.projects import fsck
from tests.support.raynodes import RayCluster

TABLE = """
[ray]
address = "@ADDRESS"
slots = 1
cache = "@CACHE"
"""


def trainings(cache: Path) -> list[int]:
    """Processes of runs that work in this cache."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = environ.read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if f"AUTORESEARCH_OUT={cache}/".encode() in words:
            found.append(int(environ.parent.name))
    return found


def test_the_daemon_is_killed_and_goes_on_and_keeps_what_is_better(tmp_path: Path, cluster: RayCluster) -> None:
    go, cache = tmp_path / "go", tmp_path / "cache"
    program = PROGRAM + TABLE.replace("@ADDRESS", cluster.address).replace("@CACHE", str(cache))
    folder = foreign_project(tmp_path / "project", train=training(go), program=program)
    command(folder, "init")
    daemon = start(folder)
    wait_for(folder, "run_started")
    until(lambda: trainings(cache))
    stop(daemon, signal.SIGKILL)
    until(lambda: not trainings(cache))

    go.touch()
    command(folder, "propose", "-", "--title", "Lower the rate", given=patch_of(folder, "RATE = 1.0", "RATE = 0.5"))
    assert start(folder, "--experiments", "1").wait(600) == 0, events(folder)[-5:]
    ledger = Ledger(folder / "experiments.git")
    kept = ledger.find(1)
    assert isinstance(kept, Concluded)
    assert kept.verdict.outcome is Outcome.KEEP
    assert kept.verdict.device == "ray:0"
    runs = [run for entry in ledger.entries() for run in ledger.measurements(entry.tree)]
    assert max(Counter((run.tree, run.seed) for run in runs).values()) == 1, "a run was counted twice"
    assert ledger.verify() == ()
    assert fsck(ledger.path) == ""
    assert trainings(cache) == []
