"""Many changes told apart by runs that have another half of them each."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import Direction
from autoresearchd.judge import Effect, Rules, Seen, Spread, halves
from autoresearchd.judge.spread import UNKNOWN

RULES = Rules(metric="loss")
HIGHER = replace(RULES, direction=Direction.HIGHER)


@pytest.mark.parametrize("changes", range(1, halves.MOST + 1))
@pytest.mark.parametrize("most", [1, 4, 12, 30])
def test_each_change_is_in_half_of_the_runs_and_any_two_in_a_quarter(changes: int, most: int) -> None:
    designs = halves.designs(changes, replace(RULES, max_repeats=most))
    for design in designs:
        for one in range(changes):
            assert 2 * sum(one in half for half in design) == len(design)
        for one, other in itertools.combinations(range(changes), 2):
            assert 4 * sum(one in half and other in half for half in design) == len(design)
    runs, told = sum(map(len, designs)), changes + len(designs)
    assert runs >= told + halves.SPARE, "the noise is never known"
    assert runs <= max(2 * most + 12, changes + 12), "more than it takes"


def runs(gains: Sequence[float], replicates: int, *, sigma: float = 0.0, seed: int = 0) -> list[Seen]:
    """What designs show of these gains, with a level of its own in each replicate."""
    rng = random.Random(seed)
    return [
        Seen(
            half=half,
            replicate=replicate,
            number=50.0 + 7.0 * replicate - sum(gains[place] for place in half) + rng.gauss(0.0, sigma),
        )
        for replicate, design in enumerate(halves.designs(len(gains), RULES)[:replicates])
        for half in design
    ]


def told(
    seen: Sequence[Seen], changes: int, rules: Rules = RULES, spread: Spread = UNKNOWN
) -> tuple[Effect, ...] | None:
    return halves.effects(seen, changes=changes, rules=rules, spread=spread)


def test_without_noise_every_gain_is_found_to_the_last_digit() -> None:
    gains = [0.5, -0.25, 0.0, 3.0, 1.0]
    found = told(runs(gains, 2), 5)
    assert found is not None
    assert [effect.gain for effect in found] == pytest.approx(gains, abs=1e-9)


def test_what_two_changes_do_only_together_is_not_taken_for_what_others_do() -> None:
    gains = [0.5, -0.25, 0.0, 3.0, 1.0, -2.0, 0.0]
    seen = [replace(run, number=run.number - 8.0 * ({0, 1} <= run.half)) for run in runs(gains, 2)]
    found = told(seen, 7)
    assert found is not None
    beside_the_other = [4.5, 3.75]  # in half of the runs
    assert [effect.gain for effect in found] == pytest.approx([*beside_the_other, *gains[2:]], abs=1e-9)


def test_where_higher_is_better_a_higher_number_is_a_gain() -> None:
    found = told(runs([-2.0], 3), 1, HIGHER)
    assert found is not None
    assert found[0].gain == pytest.approx(2.0)


def test_a_change_that_no_finished_run_has_cannot_be_told() -> None:
    assert told([run for run in runs([1.0, 1.0, 1.0], 2) if 1 not in run.half], 3) is None
    assert told([], 3) is None


def test_lost_runs_cost_certainty_and_nothing_else() -> None:
    seen = runs([1.0, 0.5, 0.0, 2.0], 2)
    del seen[3], seen[9]
    found = told(seen, 4, spread=Spread(std_dev=0.1, degrees=20))
    assert found is not None
    assert [effect.gain for effect in found] == pytest.approx([1.0, 0.5, 0.0, 2.0], abs=1e-9)


def test_one_look_without_any_repeat_decides_nothing() -> None:
    found = told(runs([9.0, 0.0, 0.0], 1), 3)
    assert found is not None
    assert found[0].noise.degrees == 0
    assert found[0].holds is None


def test_noise_known_from_a_run_or_two_shows_nothing_before_the_last_look() -> None:
    first, last = (told(runs([5.0] * 10, looks, sigma=1e-6), 10) for looks in (1, 2))
    assert first is not None
    assert last is not None
    assert 0 < first[0].noise.degrees < halves.SPARE
    assert {effect.holds for effect in first} == {None}
    assert {effect.holds for effect in last} == {True}


def test_what_is_open_at_the_last_look_does_not_hold() -> None:
    found = told(runs([0.0] * 20, 1, sigma=1.0), 20)
    assert found is not None
    assert all(effect.holds is not None for effect in found)


def night(gains: Sequence[float], seed: int) -> list[bool]:
    """What holds in the end, where each look is taken only if the one before left something open."""
    replicates = halves.designs(len(gains), RULES)
    seen = runs(gains, len(replicates), sigma=1.0, seed=seed)
    for look in range(1, len(replicates) + 1):
        found = told([run for run in seen if run.replicate < look], len(gains))
        if found is not None and all(effect.holds is not None for effect in found):
            return [effect.holds is True for effect in found]
    raise AssertionError("something is still open after the last look")


@pytest.mark.parametrize(("nothings", "gaining"), [(1, 2), (2, 8), (3, 15), (4, 16)])
def test_what_gains_nothing_holds_in_one_of_twenty_cases_and_two_sigma_nearly_always(
    nothings: int, gaining: int
) -> None:
    nights = [night([0.0] * nothings + [2.0] * gaining, seed) for seed in range(900 // nothings)]
    false = sum(sum(held[:nothings]) for held in nights) / (nothings * len(nights))
    missed = 1.0 - sum(sum(held[nothings:]) for held in nights) / (gaining * len(nights))
    assert false <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 900)
    assert missed < 0.1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 0.013, 0.7]), min_size=1, max_size=20), st.floats(0.1, 10.0))
def test_where_the_seed_changes_nothing_rounding_is_no_gain(gains: list[float], level: float) -> None:
    seen, exact = list[Seen](), Spread(std_dev=0.0, degrees=9)
    for replicate, design in enumerate(halves.designs(len(gains), RULES)):
        for half in design:
            number = level - sum(gains[place] for place in sorted(half))
            seen.append(Seen(half=half, replicate=replicate, number=number))
    found = told(seen, len(gains), spread=exact)
    assert found is not None
    assert [effect.holds for effect in found] == [gain > 0.0 for gain in gains]


EFFECTS = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(EFFECTS, st.integers(1, 3), st.randoms(use_true_random=False), st.integers(0, 999))
def test_the_order_in_which_runs_end_tells_nothing(
    gains: list[float], replicates: int, rng: random.Random, seed: int
) -> None:
    seen = runs(gains, replicates, sigma=1.0, seed=seed)
    assert told(rng.sample(seen, len(seen)), len(gains)) == told(seen, len(gains))


@settings(max_examples=60, deadline=None)
@given(EFFECTS, st.integers(1, 3), st.integers(0, 999), st.integers(-20, 20))
def test_units_and_directions_change_nothing_of_what_holds(
    gains: list[float], replicates: int, seed: int, power: int
) -> None:
    seen = runs(gains, replicates, sigma=1.0, seed=seed)
    plain = told(seen, len(gains))
    for factor, rules in ((2.0**power, RULES), (-(2.0**power), HIGHER)):
        changed = told([replace(run, number=factor * run.number) for run in seen], len(gains), rules)
        assert changed is not None
        assert plain is not None
        assert [effect.holds for effect in changed] == [effect.holds for effect in plain]
        assert [effect.gain for effect in changed] == [abs(factor) * effect.gain for effect in plain]
