"""Many changes told apart by runs that have another half of them each."""

from __future__ import annotations

import itertools
import random

import pytest

from autoresearchd.experiment import Direction
from autoresearchd.judge import Rules, Seen, Spread, halves
from autoresearchd.judge.spread import UNKNOWN

RULES = Rules(metric="loss")


@pytest.mark.parametrize("changes", range(1, halves.MOST + 1))
@pytest.mark.parametrize("replicate", [0, 1])
def test_each_change_is_in_half_of_the_runs_and_any_two_in_a_quarter(changes: int, replicate: int) -> None:
    design = halves.design(changes, replicate)
    assert len(design) <= max(4, changes + 9)
    for one in range(changes):
        assert 2 * sum(one in half for half in design) == len(design)
    for one, other in itertools.combinations(range(changes), 2):
        assert 4 * sum(one in half and other in half for half in design) == len(design)


def runs(gains: list[float], replicates: int, *, sigma: float = 0.0, seed: int = 0) -> list[Seen]:
    """What a design shows of these gains, with a level of its own in each replicate."""
    rng = random.Random(seed)
    return [
        Seen(
            half=half,
            replicate=replicate,
            number=50.0 + 7.0 * replicate - sum(gains[place] for place in half) + rng.gauss(0.0, sigma),
        )
        for replicate in range(replicates)
        for half in halves.design(len(gains), replicate)
    ]


def test_without_noise_every_gain_is_found_to_the_last_digit() -> None:
    gains = [0.5, -0.25, 0.0, 3.0, 1.0]
    found = halves.effects(runs(gains, 2), changes=5, direction=Direction.LOWER, spread=UNKNOWN)
    assert found is not None
    assert [effect.gain for effect in found] == pytest.approx(gains, abs=1e-9)


def test_where_higher_is_better_a_higher_number_is_a_gain() -> None:
    found = halves.effects(runs([-2.0], 3), changes=1, direction=Direction.HIGHER, spread=UNKNOWN)
    assert found is not None
    assert found[0].gain == pytest.approx(2.0)


def test_a_change_that_no_finished_run_has_cannot_be_told() -> None:
    seen = [run for run in runs([1.0, 1.0, 1.0], 2) if 1 not in run.half]
    assert halves.effects(seen, changes=3, direction=Direction.LOWER, spread=UNKNOWN) is None
    assert halves.holds(None, RULES) is False


def test_lost_runs_cost_certainty_and_nothing_else() -> None:
    seen = runs([1.0, 0.5, 0.0, 2.0], 2)
    del seen[3], seen[9]
    found = halves.effects(seen, changes=4, direction=Direction.LOWER, spread=Spread(std_dev=0.1, degrees=20))
    assert found is not None
    assert [effect.gain for effect in found] == pytest.approx([1.0, 0.5, 0.0, 2.0], abs=1e-9)


def test_one_look_without_any_repeat_decides_nothing() -> None:
    found = halves.effects(runs([9.0, 0.0, 0.0], 1), changes=3, direction=Direction.LOWER, spread=UNKNOWN)
    assert found is not None
    assert found[0].noise.degrees == 0
    assert halves.holds(found[0], RULES) is None


def test_of_changes_that_gain_nothing_few_hold_and_of_two_sigma_nearly_all() -> None:
    gains = [0.0] * 4 + [2.0] * 16
    false, missed, nights = 0, 0, 60
    for seed in range(nights):
        found = halves.effects(
            runs(gains, 1, sigma=1.0, seed=seed), changes=20, direction=Direction.LOWER, spread=UNKNOWN
        )
        assert found is not None
        words = [halves.holds(effect, RULES) for effect in found]
        false += sum(bool(word) for word in words[:4])
        missed += sum(not word for word in words[4:])
    assert false / nights / 4 < 0.11, "0.05 is meant"
    assert missed / nights / 16 < 0.1
