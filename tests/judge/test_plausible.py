"""What a run says of itself must be possible, and a gain beyond all that was seen must come again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import CurvePoint, Ending, Environment, Measurement, TreeOid
from autoresearchd.judge.plausible import FASTER, TWICE, implausible, sane_gain


def run(*, train: float = 300.0, wall: float = 350.0, drawn: int | None = None, **metrics: float) -> Measurement:
    return Measurement(
        run="r",
        tree=TreeOid("t"),
        seed=0,
        environment=Environment("e"),
        device="cuda:0",
        ending=Ending.FINISHED,
        metrics=metrics,
        curve=() if drawn is None else (CurvePoint(step=drawn, seconds=1.0, train_loss=1.0),),
        started=0.0,
        train_seconds=train,
        wall_seconds=wall,
    )


BASELINE = run(tokens_per_second=1e6, steps=1000, drawn=1000)


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (run(train=400.0, wall=450.0), "it trained for 400 s, 300 s were given"),
        (run(train=1.0, wall=60.0), "it trained for 1 of the 300 s that it was given"),
        (run(wall=1000.0), "training may hide in it"),
        (run(train=40.0, wall=360.0), "training may hide in it"),
        (run(tokens_per_second=1e9), "it claims 1e+09 tokens/s"),
        (run(total_tokens_M=1e6), "it claims 3.333e+09 tokens/s"),
        (run(train=100.0, wall=150.0, tokens=3.3e9), "it claims 3.3e+07 tokens/s"),
        (run(steps=1e6, drawn=1000), "it claims 1e+06 steps, and its curve ends at 1000"),
        (run(num_steps=1000), "it claims 1000 steps, and its curve ends at 0"),
    ],
)
def test_a_run_that_lies_about_its_time_or_tokens_is_not_believed(candidate: Measurement, says: str) -> None:
    assert says in implausible(candidate, baseline_runs=[BASELINE], train_seconds=300.0)


@pytest.mark.parametrize(
    "candidate",
    [
        run(),
        run(train=305.0, wall=480.0),
        run(train=40.0, wall=80.0),
        run(tokens_per_second=9e6),
        run(tokens=9e6 * 300),
        run(steps=3000, drawn=2990),
    ],
)
def test_slower_starts_and_faster_code_are_ordinary(candidate: Measurement) -> None:
    assert implausible(candidate, baseline_runs=[BASELINE], train_seconds=300.0) == ""


@pytest.mark.parametrize(
    ("steps", "says"), [(150, ""), (140, ""), (160, "it took 160 steps, 150 were given"), (5, "it took 5 of the 150")]
)
@pytest.mark.parametrize("by", ["metric", "curve"])
def test_a_budget_in_steps_is_kept(steps: int, says: str, by: str) -> None:
    usual = run(steps=150, drawn=150)
    found = run(drawn=steps) if by == "curve" else run(steps=steps, drawn=steps)
    assert implausible(found, baseline_runs=[usual], train_steps=150).startswith(says)


@pytest.mark.parametrize(("used", "says"), [(40.0, ""), (45.0, "it used 45 s of processor time, the baseline 13 s")])
def test_more_steps_than_are_said_show_in_the_processor_time(used: float, says: str) -> None:
    usual, found = run(steps=150, drawn=150, cpu_seconds=13.0), run(steps=150, drawn=150, cpu_seconds=used)
    assert implausible(found, baseline_runs=[usual], train_steps=150).startswith(says)
    assert bool(implausible(found, baseline_runs=[usual], train_steps=150)) is bool(says)
    assert implausible(found, baseline_runs=[usual], train_seconds=300.0) == "", "time has a clock of its own"


def test_steps_have_no_clock_and_no_baseline_no_usual() -> None:
    assert implausible(run(train=9e3, wall=9e3), baseline_runs=[]) == ""


@pytest.mark.parametrize("seconds", [2.0, 900.0])
def test_a_script_that_takes_its_own_time_may_go_on_doing_so(seconds: float) -> None:
    """It knows nothing of a budget: neither too long nor too short are what the baseline did."""
    usual = run(train=seconds, wall=seconds + 5, steps=10_000, drawn=10_000)
    assert implausible(usual, baseline_runs=[usual], train_seconds=300.0) == ""
    assert implausible(usual, baseline_runs=[usual], train_steps=150) == ""


NUMBERS = st.floats(0, 1e9)
RUNS = st.builds(
    lambda train, besides, **said: run(train=train, wall=train + besides, **said),
    train=st.floats(0, 1e4),
    besides=st.floats(0, 1e5),
    drawn=st.none() | st.integers(0, 10**6),
    steps=NUMBERS,
    tokens=NUMBERS,
    tokens_per_second=NUMBERS,
)


@given(st.lists(RUNS, max_size=3), RUNS, st.none() | st.floats(1, 1e4), st.none() | st.integers(1, 10**6))
def test_what_the_baseline_did_is_always_plausible_by_its_curve_start_and_speed(
    others: list[Measurement], own: Measurement, seconds: float | None, steps: int | None
) -> None:
    why = implausible(own, baseline_runs=[*others, own], train_seconds=seconds, train_steps=steps)
    assert "\n" not in why
    assert why == ""


@given(RUNS, st.floats(FASTER * 1.01, 1e6))
def test_no_speed_beyond_the_bound_is_believed_whatever_else_is_said(own: Measurement, times: float) -> None:
    usual = replace(own, metrics={"tokens_per_second": 1e3})
    claimed = replace(own, metrics={"tokens_per_second": 1e3 * times})
    assert "tokens/s" in implausible(claimed, baseline_runs=[usual])


@pytest.mark.parametrize(
    ("std_dev", "largest", "bound"),
    [
        (0.01, None, 0.3),
        (0.01, 0.05, 0.3),
        (0.01, 0.5, 1.0),
        (0.0, 0.5, 1.0),
        (0.0, None, math.inf),
        (0.01, -0.2, 0.3),
    ],
    ids=["before the first keep", "small keeps", "a large keep", "no noise", "nothing known", "kept for its size"],
)
def test_the_sanity_bound_follows_the_noise_and_the_largest_gain(
    std_dev: float, largest: float | None, bound: float
) -> None:
    assert sane_gain(std_dev=std_dev, spreads=30.0, largest=largest) == pytest.approx(bound)


@given(st.floats(0, 1e6), st.floats(1e-3, 1e3), st.none() | st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_the_sanity_bound_is_never_below_what_was_verified_and_knows_no_unit(
    std_dev: float, spreads: float, largest: float | None, unit: float
) -> None:
    found = sane_gain(std_dev=std_dev, spreads=spreads, largest=largest)
    assert found > 0
    assert largest is None or largest <= 0 or found >= TWICE * largest
    scaled = sane_gain(std_dev=unit * std_dev, spreads=spreads, largest=None if largest is None else unit * largest)
    assert scaled == pytest.approx(unit * found) or std_dev < 1e-300
