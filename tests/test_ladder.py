"""Promotion as a whole, on commits of known effect: what is promoted, what is left, and that it comes to an end."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import CommitOid, Environment, TreeOid
from autoresearchd.ladder import next_move, units
from autoresearchd.promotion import Blocked, Climb, Note, Runs
from autoresearchd.standing import Standing
from bench.bisect import CRASH, RULES, Slope, ours

QUIET = 1e-6
"""Noise so small that every effect of these tests is shown at once."""
EFFECTS = st.sampled_from([-2.0, 2.0, CRASH])
"""One that gains nothing is taken for a gain in one of twenty cases, however small the noise."""


@st.composite
def slopes(draw: st.DrawFn) -> Slope:
    """Up to eight kept commits on two rungs, some of which conflict without an earlier one."""
    count = draw(st.integers(1, 8))
    gains = {name: draw(st.lists(EFFECTS, min_size=count, max_size=count)) for name in ("d2", "d3")}
    bound = draw(st.dictionaries(st.integers(1, count), st.integers(0, count), max_size=2))
    needs = {place: on for place, on in bound.items() if on < place < count}
    return Slope(gains=gains, needs=needs, sigma=QUIET, rules=replace(RULES, max_repeats=4))


def climb(slope: Slope, order: random.Random | None = None) -> None:
    """All the way, the runs in any order."""
    for _ in range(3_000):
        if not slope.step(lambda wanted: order.randrange(len(wanted)) if order else 0):
            return
    raise AssertionError("it does not come to an end")


@settings(max_examples=60, deadline=None)
@given(slopes())
def test_a_commit_that_loses_on_a_rung_alone_is_never_promoted(slope: Slope) -> None:
    climb(slope)
    together = set(slope.needs) | set(slope.needs.values())
    for place in set(slope.promoted) - together:
        assert all(gains[place] == 2.0 for gains in slope.gains.values())
    assert all(slope.fell(place) for place in set(range(slope.count)) - set(slope.promoted)), "some were never settled"
    for place in slope.promoted:
        assert slope.needs.get(place, place) in slope.promoted, "what it needs was left behind"


@settings(max_examples=60, deadline=None)
@given(slopes())
def test_whatever_gains_on_every_rung_by_itself_is_promoted(slope: Slope) -> None:
    slope.needs.clear()
    climb(slope)
    wanted = [place for place in range(slope.count) if all(gains[place] == 2.0 for gains in slope.gains.values())]
    assert sorted(slope.promoted) == wanted


@settings(max_examples=40, deadline=None)
@given(slopes(), st.integers(0, 2**20))
def test_the_order_in_which_runs_end_changes_nothing_of_what_is_promoted(slope: Slope, seed: int) -> None:
    one, other = (replace(slope, runs={}, standings={}, promoted=[], climbing=None) for _ in range(2))
    climb(one)
    climb(other, random.Random(seed))
    assert one.promoted == other.promoted


@pytest.mark.parametrize(
    ("gains", "seed"), [([2.0], 221), ([2.0, 0.0], 150), ([2.0, 2.0], 202), ([1.0, 0.0], 77), ([1.0, -2.0, 0.0], 30)]
)
def test_nor_does_it_in_marginal_cases_where_the_next_run_tells_more_of_the_noise(
    gains: list[float], seed: int
) -> None:
    found = set()
    for order in (None, *map(random.Random, range(1, 9))):
        slope = Slope(gains={"d2": gains}, seed=seed, rules=replace(RULES, max_repeats=4))
        climb(slope, order)
        found.add(tuple(slope.promoted))
    assert len(found) == 1


@settings(max_examples=40, deadline=None)
@given(slopes(), st.integers(1, 60))
def test_a_promotion_that_was_interrupted_goes_on_where_it_was(slope: Slope, steps: int) -> None:
    uninterrupted = replace(slope, runs={}, standings={}, promoted=[], climbing=None)
    climb(uninterrupted)
    for _ in range(steps):
        slope.step()
    again = replace(slope)  # all that is known is in git: refs, notes and filed runs
    climb(again)
    assert again.promoted == uninterrupted.promoted
    assert again.trained() == uninterrupted.trained(), "something was trained twice"


class TooMany(Slope):
    """Five commits that gain beside any of the others, and lose more than that all together."""

    def train(self, tree: TreeOid, seed: int, scale: str) -> None:
        super().train(tree, seed, scale)
        runs = next(runs for runs in self.runs.values() if runs[-1].run == f"{tree}-{seed}-{scale}")
        if tree == "0+1+2+3+4":
            runs[-1] = replace(runs[-1], metrics={"loss": runs[-1].metrics["loss"] + 50.0})


def test_what_holds_one_by_one_and_loses_as_one_stack_is_not_promoted_as_one() -> None:
    slope = TooMany(gains={"d2": [2.0] * 5}, sigma=QUIET, rules=replace(RULES, max_repeats=4))
    climb(slope)
    assert slope.promoted == [0, 1, 2, 3]
    assert slope.fell(4)


def test_what_is_kept_meanwhile_waits_for_the_next_look() -> None:
    slope = Slope(gains={"d2": [2.0, 2.0]}, sigma=QUIET)
    slope.gains["d2"] = [2.0]
    slope.step()
    slope.step()
    slope.gains["d2"] = [2.0, 2.0]
    first = next_move(slope.ladder())
    assert isinstance(first, Runs)
    assert all("1" not in run.tree for run in first.wanted)
    climb(slope)
    assert slope.promoted == [0, 1]


def test_a_rung_on_which_nothing_trains_blocks_and_burns_no_more_runs() -> None:
    slope = Slope(gains={"d2": [2.0, 2.0]}, sigma=QUIET)
    slope.broken = True
    climb(slope)
    assert slope.blocked
    assert isinstance(next_move(slope.ladder()), Blocked)
    assert slope.trained() <= 4
    assert not any(slope.fell(place) for place in range(2)), "the commits were blamed for the rung"


def test_a_broken_rung_is_tried_again_after_a_rest_and_goes_on_once_it_trains() -> None:
    slope = Slope(gains={"d2": [2.0, 2.0]}, sigma=QUIET)
    slope.broken = True
    climb(slope)
    rested = replace(slope.ladder(), now=1e6)
    again = next_move(rested)
    assert isinstance(again, Runs)
    slope.broken = False
    (run,) = again.wanted
    slope.train(run.tree, run.seed, run.scale)
    climb(slope)
    assert slope.promoted == [0, 1]


def test_no_commit_falls_by_a_crash_of_the_machine() -> None:
    slope = Slope(gains={"d2": [2.0]}, sigma=QUIET)
    slope.step()
    slope.step()
    assert slope.trained() == 1, "what was promoted trains"
    slope.broken = True
    slope.step()
    slope.step()
    assert slope.trained() == 3, "the commit failed, and then what was promoted did too"
    slope.broken = False
    climb(slope)
    assert slope.promoted == [0]


def test_what_changes_nothing_is_said_to_change_by_nothing() -> None:
    slope = Slope(gains={"d2": [0.0]}, sigma=0.0)
    climb(slope)
    (standing,) = slope.standings[CommitOid("c0")]
    assert standing.evidence.startswith("Δ +0, n=")
    assert not standing.holds


def test_what_did_not_hold_on_a_rung_waits_again_once_the_rung_is_another() -> None:
    slope = Slope(gains={"d2": [2.0]})
    fell = Standing(scale="d2", holds=False, environment=Environment("d2"), evidence="Δ 0, n=4")
    slope.standings[CommitOid("c0")] = [fell]
    assert next_move(slope.ladder()) is None
    slope.standings[CommitOid("c0")] = [replace(fell, environment=Environment("d2 of last week"))]
    assert next_move(slope.ladder()) == Climb(tip=CommitOid("c0"))


def test_a_commit_of_which_nothing_is_left_on_what_was_promoted_falls_without_a_run() -> None:
    slope = Slope(gains={"d2": [2.0]})
    slope.step()
    ladder = slope.ladder()
    move = next_move(replace(ladder, stack=lambda commits: ladder.base))
    assert isinstance(move, Note)
    (standing,) = move.standings.values()
    assert not standing.holds
    assert standing.evidence.startswith("nothing is left of it")


def test_what_conflicts_alone_is_kept_together() -> None:
    slope = Slope(gains={"d2": [2.0] * 4}, needs={2: 0})
    ladder = slope.ladder()
    assert units(ladder.stack, ladder.line) == (("c0", "c2"), ("c1",), ("c3",))


def test_twenty_commits_of_which_three_gain_nothing_take_fewer_runs_than_two_for_each() -> None:
    gains = [0.0 if place in (4, 9, 17) else 2.0 for place in range(20)]
    slope = Slope(gains={"d2": gains}, seed=3)
    promoted = ours(slope)
    assert len(promoted) >= 15
    assert slope.trained() < 40


def test_more_commits_than_one_look_bears_are_promoted_look_by_look() -> None:
    slope = Slope(gains={"d2": [2.0] * 30}, sigma=QUIET, rules=replace(RULES, max_repeats=4))
    slope.climbing = CommitOid("c29")  # far: what once fell waits again since its rung was changed
    climb(slope)
    assert sorted(slope.promoted) == list(range(30))
