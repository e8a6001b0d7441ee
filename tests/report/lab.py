"""A small lab on disk: a real project, a real experiments.git, real commits, no training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
from autoresearchd.proposal import Edit, Proposal
from tests.support import projects

NOW = 1_700_000_000.0
FILES = {"train.py": "RATE = 0.1\n"}


def project(folder: Path) -> Path:
    """A project in git with one file that trains, and no program."""
    return projects.project(folder, FILES, program="")


class Lab:
    """A ledger and short ways to put experiments into it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "experiments.git"
        self.ledger = projects.lab(folder / "project", FILES, program="", path=self.path)

    def baseline(self, metric: float) -> Concluded:
        """Experiment 0000, measured."""
        opened = self.ledger.open_baseline(now=NOW)
        self.measure(opened.tree, metric)
        verdict = Verdict(outcome=Outcome.BASELINE, metric=metric, runs=1, seeds=(0,))
        return self.ledger.conclude(opened, verdict, metric="val_bpb", now=NOW)

    def open(self, title: str, text: str, **fields: Any) -> Experiment:
        """An experiment that writes `text` to train.py."""
        defaults = {"rationale": "It may help.", "category": "rate", "proposer": "space"}
        proposal = Proposal(
            parent=self.ledger.best().commit,
            edits=(Edit(path="train.py", content=text.encode()),),
            title=title,
            **(defaults | fields),
        )
        return self.ledger.open_experiment(proposal, now=NOW)

    def conclude(self, opened: Experiment, outcome: Outcome, metric: float | None = None, **fields: Any) -> Concluded:
        """The verdict of an open experiment; one that gives a number has at least one run."""
        if metric is not None and not self.ledger.measurements(opened.tree):
            self.measure(opened.tree, metric)
        verdict = Verdict(outcome=outcome, metric=metric, **fields)
        return self.ledger.conclude(opened, verdict, metric="val_bpb", now=NOW)

    def measure(self, tree: TreeOid, metric: float | None, *, seed: int = 0, **fields: Any) -> None:
        """A run of a tree."""
        defaults: dict[str, Any] = {
            "ending": Ending.FINISHED,
            "metrics": {} if metric is None else {"val_bpb": metric},
            "curve": tuple(CurvePoint(step=s, seconds=float(s), train_loss=5.0 - s) for s in range(4)),
            "started": NOW,
            "train_seconds": 12.0,
            "wall_seconds": 15.0,
        }
        self.ledger.record(
            Measurement(
                run=f"{tree}-{seed}",
                tree=tree,
                seed=seed,
                environment=Environment("cpu"),
                device="cpu:0",
                **(defaults | fields),
            )
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A fresh lab, held as a daemon holds it."""
    made = Lab(tmp_path)
    with made.ledger.hold():
        yield made
