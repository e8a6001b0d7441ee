"""A step on best that is not backed is found, however it got there."""

from __future__ import annotations

import re

import pytest

from autoresearchd.ledger import Ledger
from tests.ledger.lab import git, kept, opened


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no record", "cannot be read"),
        ("no number of ours", "not what its branch holds"),
        ("a copied number", "not what its branch holds"),
        ("no verdict", "without a verdict"),
        ("a discard", "without a verdict"),
        ("another tree", "without a finished run"),
        ("a merge", "not linear"),
        ("another history", "does not grow out of"),
    ],
)
def test_a_step_on_best_without_its_evidence_is_found(ledger: Ledger, how: str, said: str) -> None:
    record = kept(ledger, "RATE = 0.2\n").experiment
    message = git(ledger.path, "log", "-1", "--format=%B", "best")
    best = ledger.best()
    tree, parents = best.tree, [best.commit]
    match how:
        case "no record":
            message = "Trust me\n"
        case "no number of ours":
            message = message.replace("Experiment: 0001", "Experiment: 0077")
        case "no verdict":
            message = re.sub(r"Verdict: .*\n", "", message)
        case "a discard":
            message = message.replace("Verdict: keep", "Verdict: discard")
        case "another tree":
            tree = opened(ledger, "RATE = 9\n").tree
        case "a merge":
            parents += [record.parent]
        case "another history":
            parents = []
        case _:
            assert how == "a copied number"
    arguments = [part for parent in parents for part in ("-p", parent)]
    forged = git(ledger.path, "commit-tree", tree, *arguments, given=message).strip()
    assert ledger.verify() == ()
    git(ledger.path, "update-ref", "refs/heads/best", forged)
    assert any(said in problem for problem in Ledger(ledger.path).verify()), Ledger(ledger.path).verify()


def test_best_without_its_baseline_is_found(ledger: Ledger) -> None:
    opened(ledger, "RATE = 0.2\n")
    git(ledger.path, "update-ref", "-d", "refs/heads/exp/0000-measure-the-baseline")
    assert "0000 is missing" in Ledger(ledger.path).verify()[0]
