"""The two boundaries, against an oracle: the test they describe, played many times."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest

from autoresearchd.judge.bounds import EFFECT, MISS, Bound, bounds, expected_best_runs, keep_levels


def played(plan: tuple[Bound, ...], gain: float, *, games: int) -> tuple[float, float]:
    """Shares of games that end in a keep and in a discard, for a true gain in standard deviations of one run."""
    rng = random.Random(7)
    need = [NormalDist().inv_cdf(1 - bound.keep_level) if bound.keep_level else math.inf for bound in plan]
    kept = discarded = 0
    for _ in range(games):
        score, before = 0.0, 0.0
        for look, bound in enumerate(plan, 1):
            information = 1 / (1 / look + 1 / expected_best_runs(look))
            step = information - before
            score, before = score + rng.gauss(gain * step, math.sqrt(step)), information
            if score / information < bound.discard_below:
                discarded += 1
                break
            if score / math.sqrt(information) >= need[look - 1]:
                kept += 1
                break
    return kept / games, discarded / games


@pytest.mark.parametrize(("alpha", "looks"), [(0.05, 8), (0.05, 3), (0.2, 5)])
def test_a_change_that_does_nothing_is_kept_no_more_often_than_allowed(alpha: float, looks: int) -> None:
    games = 8_000
    kept, _ = played(bounds(alpha, looks), 0.0, games=games)
    assert kept <= alpha + 3 * math.sqrt(alpha / games)
    assert kept >= 0.5 * alpha, "the bound wastes evidence"


def test_a_gain_of_the_planned_effect_is_discarded_no_more_often_than_planned() -> None:
    _, discarded = played(bounds(0.05, 8), EFFECT, games=8_000)
    assert discarded <= MISS + 0.015


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.1, 0.4])
@pytest.mark.parametrize("looks", [1, 2, 3, 8, 64])
def test_there_is_a_bound_for_every_look_of_every_program(alpha: float, looks: int) -> None:
    plan = bounds(alpha, looks)
    assert len(plan) == looks
    assert all(math.isfinite(bound.discard_below) and 0 <= bound.keep_level <= alpha * 1.000001 for bound in plan)


@pytest.mark.parametrize(("alpha", "looks"), [(0.05, 1), (0.05, 2), (0.05, 12), (0.2, 5)])
def test_whoever_looks_until_something_is_shown_keeps_nothing_more_often_than_allowed(alpha: float, looks: int) -> None:
    rng, games, shown = random.Random(3), 8_000, 0
    need = [NormalDist().inv_cdf(1 - level) for level in keep_levels(alpha, looks)]
    for _ in range(games):
        score = 0.0
        for look, bound in enumerate(need, 1):
            score += rng.gauss()
            if score / math.sqrt(look) >= bound:
                shown += 1
                break
    assert shown / games == pytest.approx(alpha, abs=3 * math.sqrt(alpha / games))


def test_one_run_never_keeps_unless_it_is_all_that_is_allowed() -> None:
    assert bounds(0.01, 8)[0].keep_level == 0
    assert bounds(0.01, 1)[0].keep_level == pytest.approx(0.01)
