"""The noise is measured over every tree with repeats, whatever became of it."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.judge import Spread, estimate
from autoresearchd.judge.spread import shrunk
from tests.judge.lab import run

Pool = list[Measurement]


def pools_of(rng: random.Random, count: int, size: int, std_dev: float) -> list[Pool]:
    """Trees of very different quality and one spread, measured by plan."""
    levels = [rng.uniform(0, 100) for _ in range(count)]
    return [[run(f"t{i}", seed, rng.gauss(level, std_dev)) for seed in range(size)] for i, level in enumerate(levels)]


def test_nothing_is_known_before_the_first_repeat() -> None:
    assert estimate([], metric="val_bpb").degrees == 0
    assert estimate([[run("a", 0, 1.0)], [run("b", 0, 2.0)]], metric="val_bpb").degrees == 0


def test_one_tree_gives_its_sample_standard_deviation() -> None:
    numbers = [1.0, 1.2, 1.1, 0.9]
    spread = estimate([[run("a", seed, number) for seed, number in enumerate(numbers)]], metric="val_bpb")
    assert spread.std_dev == pytest.approx(statistics.stdev(numbers))
    assert spread.degrees == 3


def test_trees_pool_whatever_their_level() -> None:
    spread = estimate(pools_of(random.Random(1), 40, 4, 0.5), metric="val_bpb")
    assert spread.degrees == 120
    assert spread.std_dev == pytest.approx(0.5, rel=0.12)


def test_one_wild_run_does_not_blind_the_judge() -> None:
    pools = pools_of(random.Random(2), 10, 4, 0.5)
    honest = estimate(pools, metric="val_bpb").std_dev
    pools[0][1] = run("t0", 1, 1e6)
    assert estimate(pools, metric="val_bpb").std_dev < 2 * honest


def test_repeats_that_agree_to_the_last_digit_are_no_noise() -> None:
    assert estimate([[run("a", seed, 1.0) for seed in range(10)]], metric="val_bpb") == Spread(std_dev=0.0, degrees=9)


def test_failed_runs_and_runs_elsewhere_are_not_compared() -> None:
    pool = [run("a", 0, 1.0), run("a", 1, 9.0, environment="gpu"), run("a", 2, None, ending=Ending.CRASH)]
    assert estimate([pool], metric="val_bpb").degrees == 0


def test_once_enough_is_known_the_lucky_first_runs_are_left_out() -> None:
    lucky = [[run(f"t{i}", 0, 50.0), *(run(f"t{i}", 10_000 + k, 1.0 + 0.1 * k) for k in range(4))] for i in range(4)]
    assert estimate(lucky, metric="val_bpb").std_dev < 0.2
    assert estimate(lucky[:1], metric="val_bpb").std_dev > 10


@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_the_order_of_trees_and_runs_does_not_matter(rng: random.Random, seed: int) -> None:
    pools = pools_of(random.Random(seed), 5, 3, 1.0)
    mixed = [rng.sample(pool, len(pool)) for pool in rng.sample(pools, len(pools))]
    assert estimate(pools, metric="val_bpb") == estimate(mixed, metric="val_bpb")


def test_few_repeats_of_its_own_count_little_and_never_make_a_tree_look_quiet() -> None:
    pooled = Spread(std_dev=1.0, degrees=30)
    assert shrunk(Spread(std_dev=0.01, degrees=2), pooled) == pooled
    louder = shrunk(Spread(std_dev=4.0, degrees=2), pooled)
    assert 1.0 < louder.std_dev < 2.0
    assert shrunk(Spread(std_dev=0.5, degrees=3), Spread(std_dev=0.0, degrees=0)).std_dev == 0.5
