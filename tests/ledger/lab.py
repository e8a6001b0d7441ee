"""A small lab on disk for the ledger's tests: a real project, a real experiments.git, real commits, no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoresearchd.experiment import (
    Concluded,
    CurvePoint,
    Ending,
    Environment,
    Experiment,
    Measurement,
    Outcome,
    TreeOid,
    Verdict,
)
from autoresearchd.ledger import Ledger
from autoresearchd.proposal import Edit, Proposal
from tests.support import projects
from tests.support.projects import fsck, git, git_bytes, write

__all__ = ["fsck", "git", "git_bytes", "write"]

NOW = 1_700_000_000.0
METRIC = "val_bpb"
FILES = {
    "train.py": "RATE = 0.1\nDEPTH = 4\n\n\n\n\n\n\nWIDTH = 8\n",
    "data.py": "DATA = 1\n",
    "README.md": "A project\n",
}


def project(folder: Path) -> Path:
    """A project in git with a file that trains and two that do not, and no program."""
    return projects.project(folder, FILES, program="")


def new_ledger(folder: Path) -> Ledger:
    """A lab of a new project, nothing in it."""
    return projects.lab(folder / "project", FILES, program="", path=folder / "experiments.git")


def with_baseline(ledger: Ledger) -> Concluded:
    """Experiment 0000, measured and on best."""
    opened = ledger.open_baseline(now=NOW)
    ledger.record(measurement(opened.tree))
    return ledger.conclude(opened, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)


def proposal(ledger: Ledger, text: str, *, path: str = "train.py", **fields: Any) -> Proposal:
    """A change of one file of best to `text`."""
    defaults: dict[str, Any] = {
        "title": "Raise the rate",
        "rationale": "It may help.",
        "category": "rate",
        "proposer": "space",
        "edits": (Edit(path=path, content=text.encode()),),
        "parent": ledger.best().commit,
    }
    return Proposal(**(defaults | fields))


def opened(ledger: Ledger, text: str, **fields: Any) -> Experiment:
    """An open experiment on best."""
    return ledger.open_experiment(proposal(ledger, text, **fields), now=NOW)


def kept(ledger: Ledger, text: str, **fields: Any) -> Concluded:
    """An experiment that was measured and moved best."""
    experiment = opened(ledger, text, **fields)
    ledger.record(measurement(experiment.tree))
    return ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW)


def discarded(ledger: Ledger, text: str, **fields: Any) -> Concluded:
    """An experiment that was not good enough."""
    experiment = opened(ledger, text, **fields)
    ledger.record(measurement(experiment.tree))
    return ledger.conclude(experiment, verdict(Outcome.DISCARD), metric=METRIC, now=NOW)


def busy(ledger: Ledger) -> Ledger:
    """On its baseline: 0001 and 0004 kept, 0002 kept after them by a replay, 0003 discarded, 0005 open."""
    kept(ledger, "RATE = 0.2\n")
    waiting = opened(ledger, "x\n", path="x.py", title="Replayed")
    discarded(ledger, "RATE = 0.3\n")
    kept(ledger, "RATE = 0.4\n")
    replayed = ledger.replay(waiting, now=NOW)
    assert replayed is not None
    ledger.record(measurement(replayed.tree))
    ledger.conclude(replayed, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    opened(ledger, "RATE = 0.5\n")
    return ledger


def verdict(outcome: Outcome, **fields: Any) -> Verdict:
    """A verdict with its evidence."""
    defaults: dict[str, Any] = {"metric": 0.98, "baseline": 1.0, "runs": 1, "seeds": (0,), "why": "as measured"}
    return Verdict(outcome=outcome, **(defaults | fields))


def measurement(tree: TreeOid, seed: int = 0, **fields: Any) -> Measurement:
    """A finished run of a tree."""
    defaults: dict[str, Any] = {
        "run": f"{tree}-{seed}",
        "tree": tree,
        "seed": seed,
        "environment": Environment("cpu"),
        "device": "cpu:0",
        "ending": Ending.FINISHED,
        "metrics": {METRIC: 0.98},
        "curve": (CurvePoint(step=0, seconds=0.5, train_loss=5.0), CurvePoint(step=1, seconds=1.0, train_loss=4.0)),
        "started": NOW + seed,
        "train_seconds": 12.0,
        "wall_seconds": 15.0,
        "log_tail": "step 1 ✓",
    }
    return Measurement(**(defaults | fields))


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a folder: mode, size, time of change and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[path.relative_to(folder).as_posix()] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, content)
    return found
