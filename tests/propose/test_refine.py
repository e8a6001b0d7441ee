"""Line search: farther after success, between after failure, nothing where nothing worked."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Environment, Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose.constants import Value
from autoresearchd.propose.refine import Refine, following
from autoresearchd.standing import Standing
from tests.propose.fakes import FakeLab, apply
from tests.propose.synthetic import values_of

SOURCE = "MATRIX_LR = 0.02\nDEPTH = 4\nTIE_WEIGHTS = False\nBATCH_SIZE = 2**16\n"


def lab() -> FakeLab:
    return FakeLab({"train.py": SOURCE}, value=1.0)


def with_(**values: str) -> dict[str, str]:
    lines = dict(line.split(" = ") for line in SOURCE.splitlines())
    return {"train.py": "".join(f"{name} = {text}\n" for name, text in {**lines, **values}.items())}


def refined(lab: FakeLab, *pending: Proposal) -> dict[str, Value] | None:
    """What differs from best in the next proposal."""
    proposal = asyncio.run(Refine().propose(lab.context(pending=pending)))
    if proposal is None:
        return None
    before, after = values_of(lab.files), values_of(apply(lab.files, proposal.edits))
    return {name: value for name, value in after.items() if before[name] != value}


def test_nothing_is_refined_where_nothing_worked() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.04"), Outcome.DISCARD, 1.2)
    bench.try_files(with_(DEPTH="8"), Outcome.CRASH, None)
    assert refined(bench) is None


def test_a_success_is_followed_by_a_step_as_long_again() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.04"), Outcome.KEEP, 0.9)
    assert refined(bench) == {"MATRIX_LR": 0.08}


def test_a_success_that_does_not_hold_on_a_larger_scale_is_not_followed() -> None:
    bench = lab()
    kept = bench.try_files(with_(MATRIX_LR="0.04"), Outcome.KEEP, 0.9)
    standing = Standing(scale="d12", holds=False, environment=Environment("large"), evidence="Δ +0.001, n=24")
    bench.history.known[kept.experiment.commit] = [standing]
    assert refined(bench) is None


def test_a_second_success_doubles_the_step() -> None:
    bench = lab()
    bench.try_files(with_(BATCH_SIZE="2**17"), Outcome.KEEP, 0.9)
    bench.try_files(with_(BATCH_SIZE="2**18"), Outcome.KEEP, 0.8)
    assert refined(bench) == {"BATCH_SIZE": 2**19}


def test_after_a_step_too_far_the_parabola_says_where_between() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.04"), Outcome.KEEP, 0.9)
    bench.try_files(with_(MATRIX_LR="0.08"), Outcome.DISCARD, 0.92)
    found = refined(bench)
    assert found is not None
    # Scores 0, 0.1, 0.08 at 0, 1, 2 steps: the top lies at 1 + 1/3.
    assert found["MATRIX_LR"] == pytest.approx(0.04 * 2 ** (1 / 3), rel=0.01)


def test_a_failure_beyond_is_a_wall_and_the_next_point_lies_before_it() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.04"), Outcome.KEEP, 0.9)
    bench.try_files(with_(MATRIX_LR="0.08"), Outcome.UNSTABLE, None)
    found = refined(bench)
    assert found is not None
    assert 0.04 < float(found["MATRIX_LR"]) < 0.08


def test_a_near_miss_gets_a_longer_step_from_best() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.01"), Outcome.INCONCLUSIVE, 0.99)
    assert refined(bench) == {"MATRIX_LR": 0.005}


def test_two_constants_that_worked_together_move_together() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.01", DEPTH="8"), Outcome.KEEP, 0.9)
    assert refined(bench) == {"MATRIX_LR": 0.005, "DEPTH": 16}


def test_switches_and_changes_of_code_have_no_direction() -> None:
    bench = lab()
    bench.try_files(with_(TIE_WEIGHTS="True"), Outcome.KEEP, 0.9)
    bench.try_files({"train.py": SOURCE.replace("False", "True") + "print(1)\n"}, Outcome.KEEP, 0.8)
    assert refined(bench) is None


def test_what_is_waiting_is_not_proposed_again() -> None:
    bench = lab()
    bench.try_files(with_(MATRIX_LR="0.04"), Outcome.KEEP, 0.9)
    first = asyncio.run(Refine().propose(bench.context()))
    assert first is not None
    assert first.title == "Raise MATRIX_LR from 0.04 to 0.08"
    assert refined(bench, first) is None


def test_a_line_ends_where_the_range_ends() -> None:
    bench = FakeLab({"train.py": "WARMDOWN = 0.5\n"}, value=1.0)
    bench.try_files({"train.py": "WARMDOWN = 1.0\n"}, Outcome.KEEP, 0.9)
    assert refined(bench) is None


def test_a_parabola_is_found_in_few_points() -> None:
    points: list[tuple[float, float | None]] = [(0.0, 0.0), (1.0, 3.5**2 - 2.5**2)]
    while (place := following(points, shortest=0.1)) is not None:
        points = sorted([*points, (place, 3.5**2 - (place - 3.5) ** 2)], key=lambda point: point[0])
    assert len(points) <= 6
    assert max(score or 0.0 for _, score in points) > 0.99 * 3.5**2


@given(
    st.dictionaries(st.floats(0.05, 8), st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=6),
    st.floats(0.01, 0.5),
)
def test_a_next_point_is_never_one_of_the_old_ones(found: dict[float, float | None], shortest: float) -> None:
    points = sorted({0.0: 0.0, **found}.items())
    place = following(points, shortest=shortest)
    assert place is None or all(abs(place - t) >= 0.999 * shortest for t, _ in points)
    assert place is None or place > 0
