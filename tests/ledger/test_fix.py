"""An open experiment whose code is corrected: still one commit with its number and name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoresearchd.errors import StaleRef, UnfilablePath
from autoresearchd.experiment import Ending, Experiment, Outcome
from autoresearchd.ledger import Ledger
from autoresearchd.proposal import Edit, Proposal
from tests.ledger.lab import FILES, METRIC, NOW, fsck, git, kept, measurement, opened, verdict

WRONG, RIGHT = (FILES["train.py"].replace("RATE = 0.1", f"RATE = {rate}") for rate in ("0.2 * two", "0.4"))


def correction(ledger: Ledger, text: str = RIGHT, *, path: str = "train.py", cost_usd: float = 0.25) -> Proposal:
    return Proposal(
        parent=ledger.best().commit,
        edits=(Edit(path=path, content=text.encode()),),
        title="Say 2",
        rationale="Mended after it crashed (NameError): Say 2.",
        category="other",
        proposer="llm",
        cost_usd=cost_usd,
    )


def crashed(ledger: Ledger) -> Experiment:
    experiment = opened(ledger, WRONG, title="Double the rate")
    ledger.record(measurement(experiment.tree, ending=Ending.CRASH))
    return experiment


def test_a_correction_is_the_same_experiment_with_other_code(ledger: Ledger) -> None:
    before = crashed(ledger)
    after = ledger.fix(before, correction(ledger), now=NOW + 5)
    same = ("number", "ref", "title", "category", "proposer", "parent", "opened")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert ledger.files(after.tree, lambda path: path == "train.py") == {"train.py": RIGHT.encode()}
    assert after.rationale == f"{before.rationale}\n\nMended after it crashed (NameError): Say 2."
    assert (after.fix_attempts, after.cost_usd) == (1, (before.cost_usd or 0.0) + 0.25)
    assert ledger.opened() == (after,)
    assert git(ledger.path, "rev-list", "--count", f"{after.parent}..{after.ref}").strip() == "1"
    said = git(ledger.path, "log", "-1", "--format=%(trailers:key=Fix-Attempts,valueonly)", after.ref)
    assert said.strip() == "1"
    assert [run.ending for run in ledger.measurements(before.tree)] == [Ending.CRASH]
    assert fsck(ledger.path) == ""


def test_corrections_are_counted_and_added_up_in_git(ledger: Ledger) -> None:
    first = crashed(ledger)
    ledger.fix(ledger.fix(first, correction(ledger, WRONG + "# 2\n"), now=NOW), correction(ledger), now=NOW)
    (found,) = Ledger(ledger.path).opened()
    assert (found.fix_attempts, found.cost_usd) == (2, (first.cost_usd or 0.0) + 0.5)
    ledger.record(measurement(found.tree))
    done = ledger.conclude(found, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    assert done.experiment.fix_attempts == 2
    assert ledger.verify() == ()


def test_a_replay_does_not_forget_the_corrections(ledger: Ledger) -> None:
    fixed = ledger.fix(crashed(ledger), correction(ledger), now=NOW)
    kept(ledger, FILES["train.py"].replace("WIDTH = 8", "WIDTH = 16"))
    replayed = ledger.replay(fixed, now=NOW)
    assert replayed is not None
    assert (replayed.fix_attempts, replayed.cost_usd) == (1, fixed.cost_usd)


def test_a_correction_for_what_others_moved_changes_nothing(ledger: Ledger) -> None:
    experiment = crashed(ledger)
    moved = git(ledger.path, "commit-tree", "-m", "mine", "-p", experiment.parent, experiment.tree).strip()
    git(ledger.path, "update-ref", experiment.ref, moved)
    with pytest.raises(StaleRef):
        ledger.fix(experiment, correction(ledger), now=NOW)
    assert git(ledger.path, "rev-parse", experiment.ref).strip() == moved


def test_a_correction_that_git_cannot_hold_leaves_the_experiment_as_it_is(ledger: Ledger) -> None:
    experiment = crashed(ledger)
    with pytest.raises(UnfilablePath):
        ledger.fix(experiment, correction(ledger, path="../outside.py"), now=NOW)
    assert ledger.opened() == (experiment,)


def test_what_a_correction_costs_may_be_unknown(ledger: Ledger) -> None:
    fixed = ledger.fix(crashed(ledger), replace(correction(ledger), cost_usd=None), now=NOW)
    assert fixed.fix_attempts == 1
