"""The lab through the stock git client's own short names."""

from __future__ import annotations

from pathlib import Path

from autoresearchd.experiment import Outcome
from tests.report.lab import Lab
from tests.support.projects import git


def test_git_lab_lists_every_experiment_and_git_kept_the_line_of_best(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with lab.ledger.hold():
        lab.baseline(1.5)
        kept = lab.conclude(lab.open("Raise the rate", "RATE = 0.2\n"), Outcome.KEEP, 1.4)
        lab.conclude(lab.open("Break it", "RATE = 1 / 0\n"), Outcome.CRASH)
        lab.open("Still open", "RATE = 0.5\n")
    every = git(lab.path, "lab").splitlines()
    assert sorted(" ".join(line.split()[1:]) for line in every) == [
        "0000 baseline val_bpb=1.500000 autorese.. Measure the baseline",
        "0001 keep val_bpb=1.400000 space Raise the rate",
        "0002 crash space Break it",
        "0003 space Still open",
    ]
    assert len({line.index(" space ") for line in every if " space " in line}) == 1, "columns are aligned"
    assert [line.split()[0] for line in git(lab.path, "kept").splitlines()][:1] == [kept.experiment.commit[:7]]
    assert len(git(lab.path, "kept").splitlines()) == 2, "the project's own history is left out"
    assert len(git(lab.path, "lab", "--grep", "Raise").splitlines()) == 1
