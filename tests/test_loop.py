"""Observe, plan, act on a real experiments.git, with runs that end as the test says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from autoresearchd import controls, loop
from autoresearchd.errors import UserError
from autoresearchd.experiment import (
    Concluded,
    Device,
    Ending,
    Environment,
    Experiment,
    Measurement,
    Outcome,
    Proposal,
    RunSpec,
    Verdict,
)
from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger, fetch_commit
from autoresearchd.loop import Loop
from autoresearchd.program import Program, parse
from autoresearchd.world import Finish, Session
from tests.support.fakes import FakeExecutor, FakePipeline, failed, finished, proposal
from tests.support.projects import PROGRAM, fsck, git, lab

NOISE = (0.0, 0.01, -0.01, 0.005, -0.005, 0.002, -0.002)
MUCH = 10 * FREE_FLOOR_BYTES


class Night:
    """One lab, its loop, and a clock that the test moves."""

    def __init__(
        self, ledger: Ledger, *, experiments: int | None = None, devices: int = 1, program: str = PROGRAM
    ) -> None:
        self.ledger, self.now, self.free = ledger, 1000.0, MUCH
        self.executor = FakeExecutor(self.result)
        self.pipeline = FakePipeline(self.next_idea)
        self.ideas: list[Proposal] = []
        self.broken = ""
        self.hanging = False
        self.loop = Loop(
            ledger=ledger,
            executor=self.executor,
            pipeline=self.pipeline,  # type: ignore[arg-type]
            program=parse(program),
            devices=tuple(Device(name=f"cpu:{index}") for index in range(devices)),
            environment=Environment("test"),
            session=Session(started=self.now, experiments=experiments),
            free_bytes=lambda: self.free,
        )

    def result(self, spec: RunSpec, now: float) -> Measurement | None:
        """The loss is RATE; a file that says `raise` crashes."""
        if self.hanging:
            return None
        if self.broken:
            return failed(spec, Ending.CRASH, self.broken, now=now)
        text = self.ledger.files(spec.tree, lambda path: path == "train.py")["train.py"].decode()
        if "raise" in text:
            return failed(spec, Ending.CRASH, "ValueError: raised", now=now)
        rate = float(text.split("\n")[0].removeprefix("RATE = "))
        done = finished(spec, "loss", rate + NOISE[spec.seed % len(NOISE)], now=now)
        more = {"audit_loss": rate + 0.5} if spec.audit else {}
        return replace(done, metrics={**done.metrics, "speed": 10 * rate, **more}, audited=spec.audit)

    def next_idea(self) -> Proposal | None:
        return self.ideas.pop(0) if self.ideas else None

    def propose(self, *rates: float | str) -> None:
        best = self.ledger.best().commit
        for rate in rates:
            self.pipeline.put(proposal(best, f"RATE = {rate}\nDEPTH = 2\n", title=f"Set RATE to {rate}"))

    def steps(self, count: int = 60) -> Finish | None:
        for _ in range(count):
            self.now += 10.0
            if (finish := self.loop.step(self.now)) is not None:
                return finish
        return None

    def outcome(self, number: int) -> Outcome | None:
        found = self.ledger.find(number)
        return found.verdict.outcome if isinstance(found, Concluded) else None


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


def test_what_an_older_line_kept_is_kept_again_where_the_project_went_back_to_before(night: Night) -> None:
    night.steps(6)
    night.propose(0.5)
    night.steps()
    ledger, project = night.ledger, night.ledger.path.parent
    git(project, "commit", "-q", "--allow-empty", "-m", "Take all of it back")
    onto = fetch_commit(ledger.path, project, "HEAD")
    began = ledger.open_rebase(ledger.course(onto, refuse=lambda _: "", now=1.0).alone, why="", now=1.0)
    ledger.conclude(began, Verdict(outcome=Outcome.BASELINE, metric=1.0), metric="loss", now=1.0)
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
    assert first.loop.observe(first.now).largest_gain is None
    first.propose(0.25)
    first.steps()
    log = git(first.ledger.path, "log", "-1", "best", "--format=%(trailers:key=Flag,valueonly,separator=)").strip()
    assert log.startswith("a gain of 0.75")
    assert git(first.ledger.path, "log", "-1", "best", "--format=%(trailers:key=Metric-audit-loss,valueonly)").strip()
    for night in (first, Night(Ledger(first.ledger.path), program=program)):
        assert night.loop.observe(night.now).largest_gain == pytest.approx(0.75, abs=0.02)


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


def test_a_change_outside_the_editable_paths_is_rejected_and_never_trained(night: Night) -> None:
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(proposal(best, "print('loss=0')\n", path="evaluate.py"))
    started = len(night.executor.started)
    night.steps(3)
    assert night.outcome(1) is Outcome.REJECTED
    assert len(night.executor.started) == started


def test_a_proposal_with_a_path_that_git_cannot_hold_is_refused_and_the_night_goes_on(night: Night) -> None:
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(proposal(best, "x", path="../outside.py"))
    night.pipeline.put(proposal(best, "x", path=".git/config"))
    night.propose(2.0)
    night.steps()
    assert night.outcome(1) is Outcome.DISCARD
    assert night.outcome(2) is None


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


def test_paused_by_the_switch_nothing_starts_until_it_is_gone(night: Night) -> None:
    night.steps(6)
    night.ledger.pause_switch.touch()
    night.propose(2.0)
    night.steps(3)
    assert night.loop.status.state == "paused"
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


def test_what_trains_now_is_shown_with_its_number_and_the_end_of_its_log(night: Night) -> None:
    night.hanging = True
    night.steps(3)
    (run,) = night.loop.live()
    assert (run.experiment, run.device, run.log_tail) == (0, "cpu:0", f"{run.run} says nothing")


def test_idle_time_is_counted_by_its_reason_and_training_is_none(night: Night) -> None:
    night.steps(6)
    asked = night.loop.status.idle_seconds
    assert asked.keys() == {"no_idea"}
    night.ledger.pause_switch.touch()
    night.steps(1)
    night.steps(4)
    night.ledger.pause_switch.unlink()
    night.steps(1)
    paused = night.loop.status.idle_seconds
    assert paused["paused"] == 50.0
    night.hanging = True
    night.propose(0.5)
    night.steps(3)
    training = night.loop.status.idle_seconds
    night.steps(3)
    assert night.loop.status.state == "training"
    assert night.loop.status.idle_seconds == training
    night.free = 0
    night.hanging = False
    night.steps(3)
    assert night.loop.status.idle_seconds["machine"] == 20.0


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


def test_the_status_is_plain_json_and_adds_up(night: Night) -> None:
    night.steps(6)
    night.propose(0.5, "0 + raise")
    night.steps()
    data = json.loads(json.dumps(night.loop.status.to_json()))
    assert (data["tried"], data["kept"], data["failed"]) == (2, 1, 1)
    assert data["best"] < data["baseline"]
    assert data["verdicts"] == {"baseline": 1, "keep": 1, "crash": 1}


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
    night.steps(8)
    assert night.loop.status.state == "held"
    assert "No space left on device" in night.loop.status.why
    started = len(night.executor.started)
    full[0] = False
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    tree = night.executor.started[started - 1].tree
    assert {run.run for run in night.ledger.measurements(tree)} >= {night.executor.started[started - 1].run}


def test_every_best_is_audited_once_and_the_status_shows_the_line_also_after_a_restart(tmp_path: Path) -> None:
    program = PROGRAM.replace("pattern = '^loss=(\\S+)$'", 'evaluate = "true"\naudit = "audit"')
    night = Night(lab(tmp_path / "project"), program=program)
    night.steps(6)
    night.propose(0.5)
    night.steps()
    audits = night.loop.status.audits
    assert [(point.number, point.audit) for point in audits] == [(0, 1.5), (1, 1.0)]
    assert [point.value for point in audits] == pytest.approx([1.0, 0.5], abs=0.02)
    assert sum(spec.audit for spec in night.executor.started) == 2
    again = Night(night.ledger, program=program)
    again.steps(2)
    assert again.loop.status.audits == audits
    assert not any(spec.audit for spec in again.executor.started)


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


def test_with_much_to_do_others_hear_of_the_daemon_between_and_it_does_not_sleep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PLANS_A_STEP", 3)  # as for a fleet of hundreds, of which each device wants a plan or two
    night = Night(lab(tmp_path / "project"), devices=6)
    night.steps(6)
    night.hanging = True
    night.propose(*(2.0 + number for number in range(6)))
    night.steps(1)
    assert 0 < len(night.executor.live) < 6
    assert night.loop.status.state == "training"
    asleep, other = os.pipe()
    while night.loop.is_unfinished:
        night.loop.wait(10_000.0, asleep)
        night.steps(1)
    os.close(asleep)
    os.close(other)
    assert len(night.executor.live) == 6


def test_much_that_nobody_may_try_does_not_end_the_daemon(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PLANS_A_STEP", 3)
    night.steps(6)
    best = night.ledger.best().commit
    for number in range(8):
        night.pipeline.put(proposal(best, f"{number}\n", path="evaluate.py"))
    night.steps(1)
    assert night.loop.is_unfinished
    night.steps()
    assert [night.outcome(number) for number in range(1, 9)] == [Outcome.REJECTED] * 8


def test_a_plan_that_wants_the_same_again_and_again_of_a_lab_that_does_not_change_is_a_bug(night: Night) -> None:
    night.steps(6)
    night.loop.pipeline = Deaf()  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="the plan and the ledger disagree"):
        night.steps(1)


class Deaf(FakePipeline):
    """Forgets what it is asked."""

    def ask(self, program: Program, pending: tuple[Proposal | Experiment, ...]) -> None:
        del program, pending
