"""What people ask of a loop: their ideas are tried, and it pauses, skips and ends when they say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from autoresearchd import controls
from autoresearchd.errors import UserError
from autoresearchd.experiment import Outcome
from tests.support.fakes import proposal
from tests.support.night import Night
from tests.support.projects import git, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


def test_an_idea_pushed_by_a_person_is_trained_and_its_branch_removed(night: Night) -> None:
    night.steps(6)
    project = night.ledger.path.parent
    (project / "train.py").write_text("RATE = 0.3\nDEPTH = 2\n")
    git(project, "commit", "-q", "-am", "Lower the rate")
    git(project, "push", "-q", str(night.ledger.path), "HEAD:refs/heads/idea/rate")
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    assert git(night.ledger.path, "for-each-ref", "refs/heads/idea") == ""


def test_an_idea_that_cannot_be_one_is_dropped_with_a_reason_in_the_log(night: Night) -> None:
    night.steps(6)
    git(night.ledger.path, "update-ref", "refs/heads/idea/nothing", night.ledger.best().commit)
    with structlog.testing.capture_logs() as logs:
        night.steps(2)
    refused = [entry for entry in logs if entry["event"] == "idea_refused"]
    assert refused[0]["why"] == "it changes nothing in best"
    assert git(night.ledger.path, "for-each-ref", "refs/heads/idea") == ""


def test_a_best_that_somebody_put_on_what_was_discarded_holds_the_lab_until_it_is_put_back(night: Night) -> None:
    night.steps(6)
    night.propose(2.0)
    night.steps(6)
    assert night.outcome(1) is Outcome.DISCARD
    best = night.ledger.best().commit
    discarded = night.ledger.concluded()[1].experiment.commit
    night.propose(0.5)
    night.steps(1)
    started = len(night.executor.started)
    git(night.ledger.path, "update-ref", "refs/heads/best", discarded)
    night.propose(0.4)
    night.steps(10)
    assert [experiment.number for experiment in night.ledger.opened()] == [2], "nothing is opened, replayed or kept"
    assert len(night.executor.started) == started
    assert "0001 is on best without a verdict that moves it" in night.loop.status.why
    assert f"git update-ref refs/heads/best {best}" in night.loop.status.why
    git(night.ledger.path, "update-ref", "refs/heads/best", best)
    night.steps()
    assert night.outcome(2) is Outcome.KEEP
    assert night.ledger.verify() == ()


def test_a_change_outside_the_editable_paths_is_rejected_and_never_trained(night: Night) -> None:
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(proposal(best, "print('loss=0')\n", path="evaluate.py"))
    started = len(night.executor.started)
    night.steps(3)
    assert night.outcome(1) is Outcome.REJECTED
    assert len(night.executor.started) == started


def test_what_was_never_trained_is_none_of_the_experiments_that_a_session_was_asked_for(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"), experiments=1)
    night.steps(6)
    night.pipeline.put(proposal(night.ledger.best().commit, "print('loss=0')\n", path="evaluate.py"))
    assert night.steps(6) is None
    assert (night.outcome(1), night.loop.status.session_opened) == (Outcome.REJECTED, 0)
    night.propose(2.0)
    assert night.steps() is not None
    assert (night.outcome(2), night.loop.status.session_opened) == (Outcome.DISCARD, 1)


def test_a_proposal_with_a_path_that_git_cannot_hold_is_refused_and_the_night_goes_on(night: Night) -> None:
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(proposal(best, "x", path="../outside.py"))
    night.pipeline.put(proposal(best, "x", path=".git/config"))
    night.pipeline.put(proposal(best, "x", path="n" * 256))
    night.propose(2.0)
    night.steps()
    assert night.outcome(1) is Outcome.DISCARD
    assert night.outcome(2) is None


def test_paused_by_the_switch_nothing_starts_until_it_is_gone(night: Night) -> None:
    night.steps(6)
    night.ledger.pause_switch.touch()
    night.propose(2.0)
    night.steps(3)
    assert (night.loop.status.state, night.loop.status.why) == ("paused", ""), "not: paused: paused"
    night.ledger.pause_switch.unlink()
    night.steps(5)
    assert night.outcome(1) is Outcome.DISCARD


def test_a_skipped_experiment_is_stopped_leaves_no_run_and_its_idea_may_come_again(night: Night) -> None:
    night.steps(6)
    night.propose(0.5)
    night.hanging = True
    night.steps(3)
    assert [run.experiment for run in night.loop.live()] == [1]
    with pytest.raises(UserError, match="0000 cannot be skipped"):
        night.ledger.skip(0)
    night.ledger.skip(1)
    night.steps(3)
    assert night.outcome(1) is Outcome.SKIPPED
    assert night.executor.live == {}
    tree = night.ledger.entries()[1].tree
    assert night.ledger.measurements(tree) == ()
    with pytest.raises(UserError, match="0001 cannot be skipped"):
        night.ledger.skip(1)
    night.hanging = False
    night.propose(0.5)
    night.steps()
    assert night.outcome(2) is Outcome.KEEP


def test_asked_to_end_after_its_runs_it_judges_what_trains_and_begins_nothing(night: Night) -> None:
    night.steps(6)
    night.hanging = True
    night.propose(0.5, 0.4)
    night.steps(2)
    controls.stop_switch(night.ledger.path).touch()
    assert night.steps(3) is None
    assert night.loop.status.state == "ending"
    assert night.loop.status.why == "stopped by `autoresearchd stop --after-run`"
    started = len(night.executor.started)
    night.hanging = False
    finish = night.steps()
    assert finish is not None
    assert len(night.executor.started) == started
    assert night.outcome(1) in (Outcome.KEEP, None)
    assert night.outcome(2) is None


def test_asked_to_end_before_it_has_begun_it_ends(night: Night) -> None:
    controls.stop_switch(night.ledger.path).parent.mkdir(exist_ok=True)
    controls.stop_switch(night.ledger.path).touch()
    assert night.steps(1) is not None
    assert night.ledger.entries() == []
