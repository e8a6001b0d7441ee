"""What a loop says of itself: what trains, why devices are idle, what the audits gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.night import Night
from tests.support.projects import PROGRAM, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


def test_what_trains_now_is_shown_with_its_number_and_the_end_of_its_log(night: Night) -> None:
    night.hanging = True
    night.steps(3)
    (run,) = night.loop.live()
    assert (run.experiment, run.device, run.log_tail) == (0, "cpu:0", f"{run.run} says nothing")


def test_who_else_is_on_a_device_is_shown_while_it_trains_and_while_it_is_idle(night: Night) -> None:
    night.executor.company = {"cpu:0": ("python (pid 7, 70000 MiB)",)}
    for night.hanging in (True, False):
        night.steps(6)
        (device,) = json.loads(json.dumps(night.loop.status.to_json()))["devices"]
        assert (device["phase"] == "idle", device["residents"]) == (not night.hanging, ["python (pid 7, 70000 MiB)"])


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


def test_the_status_is_plain_json_and_adds_up(night: Night) -> None:
    night.steps(6)
    night.propose(0.5, "0 + raise")
    night.steps()
    data = json.loads(json.dumps(night.loop.status.to_json()))
    assert (data["tried"], data["kept"], data["failed"]) == (2, 1, 1)
    assert data["best"] < data["baseline"]
    assert data["verdicts"] == {"baseline": 1, "keep": 1, "crash": 1}


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
