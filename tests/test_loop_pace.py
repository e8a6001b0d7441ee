"""A loop with much to do: others hear of it between, and a plan that never ends is a bug that is said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd import loop
from autoresearchd.experiment import Environment, Experiment, Outcome
from autoresearchd.loop import Loop
from autoresearchd.program import Program
from autoresearchd.proposal import Proposal
from tests.support.fakes import FakePipeline, proposal
from tests.support.night import Night
from tests.support.projects import PROGRAM, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


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


@pytest.mark.parametrize("rung", ["", '[[scale]]\nname = "d12"\n'], ids=["one scale", "two scales"])
def test_a_plan_that_wants_the_same_again_and_again_of_a_lab_that_does_not_change_is_a_bug(
    tmp_path: Path, rung: str
) -> None:
    scales = {"d12": Environment("test/d12")} if rung else {}
    night = Night(lab(tmp_path / "project"), program=PROGRAM + rung, scales=scales)
    night.steps(6)
    deaf = Loop(replace(night.lab, pipeline=Deaf()), night.loop.program)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="the plan and the ledger disagree"):
        deaf.step(night.now + 10.0)


class Deaf(FakePipeline):
    """Forgets what it is asked."""

    def ask(self, program: Program, pending: tuple[Proposal | Experiment, ...]) -> None:
        del program, pending
