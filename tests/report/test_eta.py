"""When a session will be over."""

from __future__ import annotations

import pytest

from autoresearchd.program import Budget
from autoresearchd.report.eta import Pace, done, seconds_left
from tests.report.nouns import device, status


def test_without_an_end_there_is_no_guess() -> None:
    assert seconds_left(status(session_limit=None)) is None
    assert seconds_left(status(session_limit=None), budget=Budget()) is None


def test_the_pace_so_far_goes_on() -> None:
    # 6.5 of 13 experiments in 600 s.
    assert seconds_left(status(session_limit=13)) == pytest.approx(600.0)


def test_the_pace_is_measured_from_where_it_was_said() -> None:
    since = Pace(at=1_700_000_500.0, done=1.5)
    assert seconds_left(status(session_limit=13), since=since) == pytest.approx(130.0)


def test_the_hours_end_a_session() -> None:
    assert seconds_left(status(session_deadline=status().now + 1200.0)) == pytest.approx(1200.0)


def test_the_nearer_end_counts() -> None:
    assert seconds_left(status(session_limit=13, session_deadline=status().now + 3000.0)) == pytest.approx(600.0)
    assert seconds_left(status(session_limit=1000), budget=Budget(experiments=7)) == pytest.approx(0.5 * 600 / 6.5)


def test_before_anything_is_done_there_is_no_guess() -> None:
    fresh = status(session_limit=8, session_opened=1, devices=(device(fraction=0.9),))
    assert seconds_left(fresh) is None


@pytest.mark.parametrize("state", ["held", "paused", "finished", "stopped"])
def test_a_daemon_that_does_not_go_on_has_no_end(state: str) -> None:
    assert seconds_left(status(session_limit=13, state=state)) is None


def test_runs_of_best_and_of_the_baseline_are_no_experiments() -> None:
    again = status(open=(0,), session_opened=0, devices=(device(experiment=0),))
    assert done(again) == 0.0
    assert done(status(devices=(device(experiment=4),))) == 6.0
