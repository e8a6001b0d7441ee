"""Which live runs are hopeless, and which are never called so."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autoresearchd.experiment import CurvePoint, Device, Direction, Environment, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.judge import hopeless
from tests.judge.lab import run

STEPS = 200
Loss = Callable[[float], float]


def usual(fraction: float) -> float:
    """A loss that falls as most do, faster in the warm-down."""
    return 2.0 + 3.0 / (1 + 20 * fraction) - 0.3 * max(0.0, fraction - 0.7)


def curve(loss: Loss, *, until: float = 1.0, seed: int = 0, seconds: float = 300.0) -> tuple[CurvePoint, ...]:
    rng = random.Random(seed)
    steps = range(1, int(STEPS * until) + 1)
    return tuple(
        CurvePoint(step=s, seconds=seconds * s / STEPS, train_loss=loss(s / STEPS) + rng.gauss(0, 0.03)) for s in steps
    )


def live(loss: Loss, fraction: float | None, *, seconds: float = 300.0) -> Progress:
    spec = RunSpec(run="r", tree=TreeOid("new"), seed=0, device=Device(name="cpu:0"), environment=Environment("cpu"))
    points = curve(loss, until=fraction or 0.5, seed=99, seconds=seconds)
    return Progress(spec=spec, started=0.0, fraction=fraction, curve=points)


BEST: list[Measurement] = [run("best", seed, 1.0, curve=curve(usual, seed=seed)) for seed in range(3)]


def stuck(fraction: float) -> float:
    return 4.5


def test_a_run_that_does_not_learn_is_stopped_with_both_numbers() -> None:
    why = hopeless(live(stuck, 0.5), BEST, direction=Direction.LOWER)
    assert "hopeless at 50 %" in why
    assert "4.5" in why


def test_an_exploded_run_is_stopped() -> None:
    assert hopeless(live(lambda _: math.inf, 0.4), BEST, direction=Direction.LOWER)


def test_what_lags_no_more_than_bests_own_runs_differ_goes_on() -> None:
    lagging = live(lambda f: usual(0.5 * f) + 0.6, 0.5)
    assert hopeless(lagging, BEST, direction=Direction.LOWER)
    apart = [*BEST, run("best", 3, 1.0, curve=curve(lambda f: usual(f) + 0.4, seed=3))]
    assert hopeless(lagging, apart, direction=Direction.LOWER) == ""


@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.5, 0.6, 0.7])
def test_a_run_as_good_as_best_or_a_little_worse_goes_on(fraction: float) -> None:
    for loss in (usual, lambda f: usual(f) + 0.05, lambda f: usual(0.8 * f)):
        assert hopeless(live(loss, fraction), BEST, direction=Direction.LOWER) == ""


@pytest.mark.parametrize("fraction", [None, 0.05, 0.2, 0.75, 0.9, 1.0])
def test_nothing_is_stopped_in_the_warm_up_or_in_the_last_stretch(fraction: float | None) -> None:
    assert hopeless(live(stuck, fraction), BEST, direction=Direction.LOWER) == ""


def test_nothing_is_stopped_for_want_of_knowledge() -> None:
    assert hopeless(live(stuck, 0.5), [], direction=Direction.LOWER) == ""
    assert hopeless(live(stuck, 0.5), BEST[:1], direction=Direction.LOWER) == ""
    assert hopeless(live(stuck, 0.5), [run("best", s, 1.0) for s in range(3)], direction=Direction.LOWER) == ""
    coarse = [run("best", s, 1.0, curve=curve(usual, seed=s)[::40]) for s in range(3)]
    assert hopeless(live(stuck, 0.5), coarse, direction=Direction.LOWER) == ""


@pytest.mark.parametrize("fraction", [0.33, 0.5, 0.7])
def test_forty_points_a_run_are_enough_to_stop_one_that_does_not_learn(fraction: float) -> None:
    """What our own target writes; a window that it never fills would prune nothing, and nobody would notice."""
    sparse = [run("best", s, 1.0, curve=curve(usual, seed=s)[4::5]) for s in range(3)]
    for loss, stopped in ((stuck, True), (usual, False), (lambda f: usual(0.8 * f), False)):
        running = live(loss, fraction)
        running = replace(running, curve=running.curve[4::5])
        assert bool(hopeless(running, sparse, direction=Direction.LOWER)) is stopped


def test_where_higher_is_better_a_loss_proves_nothing() -> None:
    assert hopeless(live(stuck, 0.5), BEST, direction=Direction.HIGHER) == ""


def test_where_the_budget_is_steps_a_slow_machine_is_no_slow_learner() -> None:
    best = [run("best", s, 1.0, curve=curve(usual, seed=s, seconds=100.0 * (1 + s))) for s in range(3)]
    assert hopeless(live(stuck, 0.5, seconds=9000.0), best, direction=Direction.LOWER)
    assert hopeless(live(usual, 0.5, seconds=9000.0), best, direction=Direction.LOWER) == ""


def test_where_the_budget_is_time_curves_are_read_by_the_clock() -> None:
    best = [run("best", s, 1.0, curve=curve(usual, seed=s)[: STEPS - s]) for s in range(3)]
    assert hopeless(live(stuck, 0.5), best, direction=Direction.LOWER)
    assert hopeless(live(usual, 0.5), best, direction=Direction.LOWER) == ""


def test_the_order_of_bests_runs_does_not_matter() -> None:
    assert hopeless(live(stuck, 0.5), BEST, direction=Direction.LOWER) == hopeless(
        live(stuck, 0.5), BEST[::-1], direction=Direction.LOWER
    )
