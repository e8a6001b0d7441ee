"""What the judge promises whatever the numbers are: no evidence no keep, and neither units nor directions matter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import Direction, Ending, Lines, Measurement, Outcome
from autoresearchd.judge import Conclude, Decision
from autoresearchd.judge.seeds import BLOCK
from tests.judge.lab import BASELINE, RULES, SPREAD, judged, run

HIGHER = replace(RULES, direction=Direction.HIGHER)
SEEDS = (0, *range(BLOCK, BLOCK + 4))
"""Of a candidate, as far as its runs decide; the next block is only reported."""
NUMBERS = st.floats(0.9, 1.02)
CANDIDATES = st.tuples(
    st.lists(NUMBERS, min_size=1, max_size=len(SEEDS)), st.lists(NUMBERS, max_size=2), st.lists(NUMBERS, max_size=3)
)
"""What a candidate gave, what it gave once it had won, and what best gave beside it."""
LINES = st.builds(Lines, added=st.integers(0, 60), removed=st.integers(0, 60))
DELTAS = st.sampled_from([0.0, 0.005, 0.02])


def runs(numbers: tuple[list[float], list[float], list[float]]) -> tuple[list[Measurement], list[Measurement]]:
    """Of the candidate and of best, which is the baseline."""
    ours, reserved, beside = numbers
    won = [run("new", 2 * BLOCK + place, number) for place, number in enumerate(reserved)]
    fresh = [run("base", BLOCK + place, number) for place, number in enumerate(beside)]
    return [*(run("new", seed, number) for seed, number in zip(SEEDS, ours, strict=False)), *won], [*BASELINE, *fresh]


def times(runs: Sequence[Measurement], factor: float) -> list[Measurement]:
    return [replace(run, metrics={"val_bpb": factor * run.metrics["val_bpb"]}) for run in runs]


def times_said(decision: Decision, factor: float) -> Decision:
    """What is said of the same runs, were their numbers so many times as large; words with numbers in them aside."""
    if not isinstance(decision, Conclude):
        return decision
    said = decision.verdict
    values = {
        "metric": None if said.metric is None else factor * said.metric,
        "baseline": None if said.baseline is None else factor * said.baseline,
        "std_error": None if said.std_error is None else abs(factor) * said.std_error,
    }
    return Conclude(replace(said, **values, why="", flag=said.flag and "beyond"))


@settings(max_examples=300, deadline=None)
@given(CANDIDATES, LINES, DELTAS)
def test_nothing_is_kept_but_on_repeats_beside_new_runs_of_best_and_beyond_chance(
    numbers: tuple[list[float], list[float], list[float]], lines: Lines, min_delta: float
) -> None:
    candidate, best = runs(numbers)
    decision = judged(candidate, best, rules=replace(RULES, min_delta=min_delta), lines=lines)
    if not isinstance(decision, Conclude) or decision.verdict.outcome is not Outcome.KEEP:
        return
    said = decision.verdict
    decided = [number for number, seed in zip(numbers[0], SEEDS, strict=False) if seed]
    assert decided, "kept for one lucky run"
    assert len(numbers[2]) >= min(2, len(decided)), "best was not measured beside it"
    assert said.confidence is not None
    assert said.confidence >= RULES.confidence
    smaller = lines.net < 0 and min_delta > 0
    worst_of_best = max(run.metrics["val_bpb"] for run in best)
    assert min(decided) < worst_of_best + (min_delta if smaller else 0.0), "it is worse"


@settings(max_examples=200, deadline=None)
@given(CANDIDATES, LINES, DELTAS, st.integers(-30, 30))
def test_a_metric_in_another_unit_is_judged_the_same(
    numbers: tuple[list[float], list[float], list[float]], lines: Lines, min_delta: float, power: int
) -> None:
    (candidate, best), factor = runs(numbers), 2.0**power  # by a power of two not even the last digit changes
    plain = judged(candidate, best, rules=replace(RULES, min_delta=min_delta), lines=lines)
    scaled = judged(
        times(candidate, factor),
        times(best, factor),
        baseline=times(BASELINE, factor),
        rules=replace(RULES, min_delta=factor * min_delta),
        spread=replace(SPREAD, std_dev=factor * SPREAD.std_dev),
        lines=lines,
    )
    assert times_said(scaled, 1.0) == times_said(plain, factor)


@settings(max_examples=200, deadline=None)
@given(CANDIDATES, LINES, DELTAS)
def test_where_higher_is_better_the_judge_is_its_own_mirror_image(
    numbers: tuple[list[float], list[float], list[float]], lines: Lines, min_delta: float
) -> None:
    candidate, best = runs(numbers)
    plain = judged(candidate, best, rules=replace(RULES, min_delta=min_delta), lines=lines)
    mirrored = judged(
        times(candidate, -1.0),
        times(best, -1.0),
        baseline=times(BASELINE, -1.0),
        rules=replace(HIGHER, min_delta=min_delta),
        lines=lines,
    )
    assert times_said(mirrored, 1.0) == times_said(plain, -1.0)


@settings(max_examples=200, deadline=None)
@given(CANDIDATES, st.floats(0.0, 1.0))
def test_what_is_kept_would_be_kept_if_it_were_better_still(
    numbers: tuple[list[float], list[float], list[float]], more: float
) -> None:
    rules = replace(RULES, sane_gain=1e9)  # what is hard to believe is another matter
    candidate, best = runs(numbers)
    better = [replace(run, metrics={"val_bpb": run.metrics["val_bpb"] - more}) for run in candidate]
    plain, improved = judged(candidate, best, rules=rules), judged(better, best, rules=rules)
    if isinstance(plain, Conclude) and plain.verdict.outcome is Outcome.KEEP:
        assert isinstance(improved, Conclude)
        assert improved.verdict.outcome is Outcome.KEEP


@settings(max_examples=150, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.lists(st.floats(0.9, 1.1), min_size=0, max_size=8),
    st.lists(st.floats(0.9, 1.1), min_size=1, max_size=8),
    st.lists(st.sampled_from(list(Ending)), max_size=1),
    st.integers(-40, 40),
)
def test_the_decision_never_depends_on_the_order_in_which_equal_evidence_arrived(
    rng: random.Random, ours: list[float], theirs: list[float], failures: list[Ending], net: int
) -> None:
    seeds = [0, *range(10_000, 10_010)]
    candidate = [run("new", seed, number) for seed, number in zip(seeds, ours, strict=False)]
    candidate += [run("new", 77_000 + i, None, ending=ending) for i, ending in enumerate(failures)]
    best = [
        run("best", seed, number) for seed, number in zip([*seeds[:4], *range(20_000, 20_010)], theirs, strict=False)
    ]
    rules, lines = replace(RULES, min_delta=0.005), Lines(added=50 + net, removed=50)
    expected = judged(candidate, best, rules=rules, lines=lines)
    shuffled = judged(
        rng.sample(candidate, len(candidate)),
        rng.sample(best, len(best)),
        baseline=rng.sample(BASELINE, len(BASELINE)),
        rules=rules,
        lines=lines,
    )
    assert shuffled == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0.5, 1.5), max_size=6), st.floats(-100, 100), st.floats(0.01, 100))
def test_neither_unit_nor_zero_of_a_metric_matters(ours: list[float], shift: float, scale: float) -> None:
    def changed(runs: list[Measurement]) -> list[Measurement]:
        return [replace(r, metrics={"val_bpb": shift + scale * r.metrics["val_bpb"]}) for r in runs]

    candidate = [run("new", seed, number) for seed, number in zip([0, *range(10_000, 10_009)], ours, strict=False)]
    plain = judged(candidate)
    moved = judged(changed(candidate), changed(BASELINE), spread=replace(SPREAD, std_dev=scale * SPREAD.std_dev))
    if isinstance(plain, Conclude):
        assert isinstance(moved, Conclude)
        assert moved.verdict.outcome is plain.verdict.outcome
    else:
        assert moved == plain
