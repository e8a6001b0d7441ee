"""A loop whose disk is full, whose branches somebody deletes, or whose best does not train: it says so and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Measurement, Outcome
from autoresearchd.ledger import Ledger
from tests.support.night import MUCH, Night
from tests.support.projects import fsck, git, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


def test_a_branch_that_somebody_deletes_holds_nothing_up(night: Night) -> None:
    night.steps(6)
    night.propose(0.5, 2.0)
    night.hanging = True
    night.steps(3)
    (open_one,) = night.ledger.opened()
    git(night.ledger.path, "update-ref", "-d", open_one.ref)
    night.hanging = False
    night.steps()
    assert night.ledger.find(open_one.number) is None
    assert night.outcome(open_one.number + 1) is Outcome.KEEP, "the next one is tried"
    assert fsck(night.ledger.path) == ""


def test_a_baseline_without_its_branch_is_still_what_best_grows_on(night: Night) -> None:
    night.steps(6)
    night.propose(0.5)
    night.steps()
    baseline, line = night.ledger.baseline(), [step.experiment.number for step in night.ledger.line()]
    assert isinstance(baseline, Concluded)
    git(night.ledger.path, "update-ref", "-d", baseline.experiment.ref)
    night.ledger.refresh()
    night.propose(0.25)
    night.steps()
    assert night.outcome(2) is Outcome.KEEP
    assert [step.experiment.number for step in night.ledger.line()] == [2, *line]
    for ledger in (night.ledger, Ledger(night.ledger.path)):
        assert ledger.baseline() == baseline
    subjects = git(night.ledger.path, "log", "best", "--format=%s").splitlines()
    assert subjects == ["Set RATE to 0.25", "Set RATE to 0.5", "Measure the baseline", "Import"]


def test_a_best_without_its_branch_is_still_the_best_that_the_status_shows(night: Night) -> None:
    night.steps(6)
    night.propose(0.5)
    night.steps()
    before = night.loop.status
    git(night.ledger.path, "branch", "-D", "exp/0001-set-rate-to-0-5")
    night.ledger.refresh()
    night.steps(1)
    for loop in (night.loop, Night(Ledger(night.ledger.path)).loop):
        assert (loop.status.best_number, loop.status.best_title) == (1, "Set RATE to 0.5")
        assert loop.status.best == before.best


def test_a_baseline_that_is_deleted_before_its_verdict_is_missed_and_its_number_not_given_again(night: Night) -> None:
    night.hanging = True
    night.steps(2)
    (baseline,) = night.ledger.opened()
    git(night.ledger.path, "update-ref", "-d", baseline.ref)
    night.hanging = False
    night.steps(5)
    assert night.loop.status.state == "held"
    assert "the baseline's branch is missing" in night.loop.status.why
    assert night.ledger.entries() == []
    with pytest.raises(UserError, match="has given numbers already"):
        night.ledger.open_baseline(now=1.0)
    git(night.ledger.path, "branch", "exp/0000-measure-the-baseline", "refs/autoresearch/newest")
    night.steps(5)
    assert night.outcome(0) is Outcome.BASELINE


def test_a_full_disk_starts_nothing_says_so_and_goes_on_once_there_is_room(night: Night) -> None:
    night.steps(6)
    night.free = 0
    night.propose(0.5)
    started = len(night.executor.started)
    night.steps(5)
    assert len(night.executor.started) == started
    assert night.loop.status.state == "held"
    assert "less than 512 MiB are free" in night.loop.status.why
    night.free = MUCH
    night.steps()
    assert night.outcome(1) is Outcome.KEEP


def test_a_broken_baseline_is_said_and_tried_again_without_burning_the_device(night: Night) -> None:
    night.broken = "ModuleNotFoundError: no module named torch"
    night.steps(30)
    assert night.loop.status.state == "held"
    assert "no module named torch" in night.loop.status.why
    assert len(night.executor.started) < 10, "300 s of failing every second is no back-off"
    night.broken = ""
    night.steps(200)
    assert night.outcome(0) is Outcome.BASELINE


def test_a_lock_left_on_best_holds_up_the_keep_but_not_the_daemon(night: Night) -> None:
    night.steps(6)
    lock = night.ledger.path / "refs" / "heads" / "best.lock"
    lock.touch()
    night.propose(0.5)
    night.steps()
    assert night.outcome(1) is None
    lock.unlink()
    night.steps(3)
    assert night.outcome(1) is Outcome.KEEP


def test_a_run_that_ends_while_nothing_can_be_written_is_filed_once_it_can(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.steps(6)
    night.propose(0.5)
    record, full = night.ledger.record, [True]

    def record_unless_full(measurement: Measurement) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        record(measurement)

    monkeypatch.setattr(night.ledger, "record", record_unless_full)
    with capture_logs() as said:
        night.steps(8)
    assert [entry["event"] for entry in said].count("run_not_filed") == 1, "said once, however long it lasts"
    assert night.loop.status.state == "held"
    assert "No space left on device" in night.loop.status.why
    started = len(night.executor.started)
    full[0] = False
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    tree = night.executor.started[started - 1].tree
    assert {run.run for run in night.ledger.measurements(tree)} >= {night.executor.started[started - 1].run}
