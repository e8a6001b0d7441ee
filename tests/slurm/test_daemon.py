"""The whole daemon with its runs on a real Slurm."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command, events, foreign_lab, queue, start, wait_for
from tests.slurm.single_host import PATIENCE, ask, jobs
from tests.support.forks import Started
from tests.support.projects import fsck, git

TARGET = """
import os
import random
import time
from pathlib import Path

OFFSET = 2.0

gate = Path(os.environ["AUTORESEARCH_DATA"], "gate")
print("waiting", flush=True)
while gate.read_text() != "open":
    time.sleep(0.05)
random.seed(int(os.environ["AUTORESEARCH_SEED"]))
print(f"loss={OFFSET + random.gauss(0, 0.05)}")
"""
PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 1
data = "data"
[metric]
name = "loss"
pattern = '^loss=(\\S+)$'
[accept]
baseline_runs = 2
[devices]
use = "cpu"
executor = "slurm"
[slurm]
slots = 2
cache = "{cache}"
poll_seconds = 0.5
"""


def test_a_daemon_on_slurm_keeps_what_is_better_though_it_is_killed_and_a_job_cancelled(
    slurm: Path, tmp_path: Path
) -> None:
    folder = foreign_lab(tmp_path / "lab", train=TARGET, program=PROGRAM.format(cache=tmp_path / "cache"))
    (folder / "data").mkdir()
    (folder / "data" / "gate").write_text("shut")
    queue(folder, "Halve the offset", "= 2.0", "= 1.0")

    killed = start(folder, "--experiments", "1")
    until(lambda: phases(folder, killed.pid) == ["training", "training"], folder, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    orphans = set(jobs(slurm).values())
    assert len(orphans) == 2

    daemon = start(folder, "--experiments", "1")
    until(lambda: not orphans & set(jobs(slurm).values()), folder, daemon)
    until(lambda: phases(folder, daemon.pid) == ["training", "training"], folder, daemon)
    ask(slurm, "scancel", next(iter(jobs(slurm).values())))
    wait_for(folder, "run_lost")
    (gate,) = tmp_path.glob("cache/data/*/data/gate")
    gate.write_text("open")
    assert daemon.wait(4 * PATIENCE) == 0

    ledger = Ledger(folder / "experiments.git")
    assert git(ledger.path, "log", "-1", "--format=%(trailers:key=Verdict,valueonly)", "best").strip() == "keep"
    filed = [run for entry in ledger.entries() for run in ledger.measurements(entry.tree)]
    ended = [entry["run"] for entry in wait_for(folder, "run_finished")]
    assert sorted(run.run for run in filed) == sorted(ended)
    assert len({(run.tree, run.seed) for run in filed}) == len(filed)
    assert not jobs(slurm)
    assert not fsck(ledger.path)
    assert "it holds" in command(folder, "reproduce", "1").stdout


def phases(folder: Path, pid: int) -> list[str]:
    """What the devices do, as the daemon with this pid says it."""
    try:
        said = json.loads((folder / "experiments.git" / "autoresearchd" / "status.json").read_text())
    except FileNotFoundError:
        return []
    return [device["phase"] for device in said["devices"] if said["pid"] == pid]


def until(done: Callable[[], bool], folder: Path, daemon: Started) -> None:
    """Wait for what a daemon is to do."""
    end = time.monotonic() + 2 * PATIENCE
    while not done():
        assert daemon.poll() is None, (folder / "daemon.jsonl").read_text()[-4000:]
        assert time.monotonic() < end, f"it never happened: {events(folder)[-5:]}"
        time.sleep(0.1)
