"""Which runs stand beside each other, and what one wild run may do."""

from __future__ import annotations

import pytest

from autoresearchd.judge import Samples, Spread, standing
from autoresearchd.judge.evidence import CLIP, OLD_RUNS, gather, weigh
from tests.judge.lab import BASELINE, RULES, run

SIGMA = 0.01
NOISE = Spread(std_dev=SIGMA, degrees=40)


@pytest.mark.parametrize("lucky", [0.9, 0.0, -1e9])
def test_one_lucky_outlier_counts_for_no_more_than_luck_is_usual(lucky: float) -> None:
    candidate = [run("new", 0, 1.0), run("new", 10_000, 1.0), run("new", 10_001, lucky)]
    numbers = gather(Samples(candidate=candidate, best=BASELINE, baseline=BASELINE), metric=RULES.metric)
    found = weigh(numbers, direction=RULES.direction, noise=NOISE)
    assert found.gain == pytest.approx(CLIP * SIGMA / 3)


def test_of_bests_earlier_runs_the_newest_stand_beside_those_made_for_the_comparison() -> None:
    best = [run("base", seed, 1.0) for seed in (*range(4), *range(10_000, 10_012))]
    candidate = [run("new", seed, 1.0) for seed in (0, 10_010, 10_011, 10_012)]
    numbers = gather(Samples(candidate=candidate, best=best, baseline=BASELINE), metric=RULES.metric)
    assert numbers.fresh == (10_010, 10_011)
    assert numbers.missing == (10_012,)
    assert list(numbers.best) == [*range(10_010 - OLD_RUNS, 10_010), *numbers.fresh]


def test_what_a_best_was_kept_for_speaks_for_it_only_as_long_as_nothing_else_does() -> None:
    only = [run("best", 0, 0.5)]
    more = [*only, run("best", 10_000, 0.9), run("best", 20_000, 1.0)]
    for best, spoken, honest in ((only, [0], 0), (more, [10_000, 20_000], 1)):
        numbers = gather(Samples(candidate=[run("new", 0, 1.0)], best=best, baseline=BASELINE), metric=RULES.metric)
        assert (list(numbers.best), numbers.honest) == (spoken, honest)
        assert numbers.block == (1 if best is only else 2), "a comparison is made where nothing was selected"


def test_a_baseline_was_selected_by_nothing_however_few_its_runs() -> None:
    twice = BASELINE[:2]
    numbers = gather(Samples(candidate=[run("new", 0, 1.0)], best=twice, baseline=twice), metric=RULES.metric)
    assert (list(numbers.best), numbers.honest) == ([0, 1], 2)


@pytest.mark.parametrize(("gain", "is_win"), [(1.5 * SIGMA, False), (3.5 * SIGMA, True)])
def test_what_may_be_chance_is_no_win_that_somebody_elses_is_added_to(gain: float, is_win: bool) -> None:
    samples = Samples(candidate=[run("new", 0, 1.0 - gain)], best=BASELINE, baseline=BASELINE)
    found = standing(samples, rules=RULES, spread=NOISE)
    assert (found is not None) == is_win
    assert standing(Samples(candidate=[], best=BASELINE, baseline=BASELINE), rules=RULES, spread=NOISE) is None
