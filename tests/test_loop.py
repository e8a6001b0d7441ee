"""What a lab finds: wins are kept and add up, a restart goes on, and a session ends when it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.experiment import Outcome, Verdict
from autoresearchd.ledger import Ledger, fetch_commit
from tests.support.fakes import proposal
from tests.support.night import Night
from tests.support.projects import PROGRAM, fsck, git, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


def test_a_real_improvement_is_kept_and_a_worse_one_is_remembered(night: Night) -> None:
    night.steps(6)
    night.propose(0.5, 2.0)
    night.steps()
    assert sorted([night.outcome(1), night.outcome(2)]) == [Outcome.DISCARD, Outcome.KEEP]
    assert night.ledger.verify() == ()
    assert fsck(night.ledger.path) == ""
    log = git(night.ledger.path, "log", "best", "--format=%s|%(trailers:key=Verdict,valueonly,separator=)")
    assert log.splitlines() == ["Set RATE to 0.5|keep", "Measure the baseline|baseline", "Import|"]


def test_two_wins_found_at_once_are_both_kept_only_if_they_add_up(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"), devices=2)
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(proposal(best, "RATE = 0.5\nDEPTH = 2\n"))
    night.pipeline.put(proposal(best, "RATE = 0.4\nDEPTH = 2\n"))
    night.steps()
    assert sorted([night.outcome(1), night.outcome(2)]) == [Outcome.KEEP, Outcome.STALE]
    assert len(git(night.ledger.path, "log", "best", "--format=%h").split()) == 3


def test_what_an_older_line_kept_is_kept_again_where_the_project_went_back_to_before(night: Night) -> None:
    night.steps(6)
    night.propose(0.5)
    night.steps()
    ledger, project = night.ledger, night.ledger.path.parent
    git(project, "commit", "-q", "--allow-empty", "-m", "Take all of it back")
    onto = fetch_commit(ledger.path, project, "HEAD")
    began = ledger.open_rebase(ledger.course(onto, refuse=lambda _: "", now=1.0).alone, why="", now=1.0)
    measured = Verdict(outcome=Outcome.BASELINE, metric=1.0, runs=3, seeds=(0, 1, 2))
    ledger.conclude(began, measured, metric="loss", now=1.0)
    again = Night(ledger)
    again.now = night.now
    again.steps()
    assert again.outcome(3) is Outcome.KEEP
    assert [step.experiment.number for step in ledger.line()] == [3, 2]


def test_the_session_ends_after_the_experiments_that_were_asked_for(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"), experiments=2)
    night.steps(6)
    night.propose(2.0, 3.0, 4.0)
    finish = night.steps()
    assert finish is not None
    assert [night.outcome(1), night.outcome(2), night.outcome(3)] == [Outcome.DISCARD, Outcome.DISCARD, None]
    assert night.loop.status.state == "finished"


def test_what_was_hard_to_believe_once_is_known_also_after_a_restart(tmp_path: Path) -> None:
    program = PROGRAM.replace("pattern = '^loss=(\\S+)$'", "evaluate = 'python score.py'\naudit = 'audit'")
    first = Night(lab(tmp_path / "project"), program=program)
    first.steps(6)
    assert first.loop.observe(first.now).past.largest_gain is None
    first.propose(0.25)
    first.steps()
    log = git(first.ledger.path, "log", "-1", "best", "--format=%(trailers:key=Flag,valueonly,separator=)").strip()
    assert log.startswith("a gain of 0.75")
    assert git(first.ledger.path, "log", "-1", "best", "--format=%(trailers:key=Metric-audit-loss,valueonly)").strip()
    for night in (first, Night(Ledger(first.ledger.path), program=program)):
        assert night.loop.observe(night.now).past.largest_gain == pytest.approx(0.75, abs=0.02)


def test_a_restart_goes_on_where_the_night_was_and_counts_no_run_twice(tmp_path: Path) -> None:
    first = Night(lab(tmp_path / "project"))
    first.steps(6)
    first.propose(0.5)
    first.hanging = True
    first.steps(2)
    runs = len(first.ledger.measurements(first.ledger.best().tree))
    second = Night(Ledger(first.ledger.path))
    second.now = first.now
    second.steps()
    assert second.outcome(1) is Outcome.KEEP
    assert len(second.ledger.measurements(second.ledger.concluded()[0].experiment.tree)) >= runs
    assert [entry.number for entry in second.ledger.entries()] == [0, 1]


def test_what_is_weighed_is_what_is_compared_and_the_metric_is_still_in_the_commit(tmp_path: Path) -> None:
    program = PROGRAM + '[[metric.also]]\nname = "speed"\ndirection = "higher"\nweight = 2.0\n'
    night = Night(lab(tmp_path / "project"), program=program)
    night.steps(6)
    night.propose(1.5)  # as much faster as it is worse, and speed weighs double
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    log = git(night.ledger.path, "log", "-1", "best", "--format=%(trailers:separator=|)")
    assert "Metric: composite=0.5" in log or "Metric: composite=0.4" in log
    assert "Metric-loss: loss=1.5" in log or "Metric-loss: loss=1.4" in log
    assert night.loop.status.metric == "composite"
