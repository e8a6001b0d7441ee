"""The whole daemon with its runs on Ray: killed in the middle of one, started again, and a better idea is kept."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command, events, foreign_project, patch_of, start, stop, wait_for
from tests.support.projects import fsck
from tests.support.raynodes import RayCluster

PATIENCE = 300.0
TRAIN = """
import os, random, time
from pathlib import Path

RATE = 1.0
GO = Path("@GO")
while not GO.exists():
    time.sleep(0.05)
print("loss:", RATE + random.Random(int(os.environ["AUTORESEARCH_SEED"])).gauss(0, 0.001))
"""
PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 5
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[devices]
use = "cpu"
executor = "ray"
[ray]
address = "@ADDRESS"
slots = 1
cache = "@CACHE"
[sandbox]
mode = "none"
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


def until(cache: Path, *, trains: bool) -> None:
    end = time.monotonic() + PATIENCE
    while bool(trainings(cache)) is not trains:
        assert time.monotonic() < end, trainings(cache)
        time.sleep(0.1)


def test_the_daemon_is_killed_and_goes_on_and_keeps_what_is_better(tmp_path: Path, cluster: RayCluster) -> None:
    go, cache = tmp_path / "go", tmp_path / "cache"
    program = PROGRAM.replace("@ADDRESS", cluster.address).replace("@CACHE", str(cache))
    folder = foreign_project(tmp_path / "project", train=TRAIN.replace("@GO", str(go)), program=program)
    command(folder, "init")
    daemon = start(folder)
    wait_for(folder, "run_started")
    until(cache, trains=True)
    stop(daemon, signal.SIGKILL)
    until(cache, trains=False)

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
