"""What the judge promises whatever the numbers are: no evidence no keep, and neither units nor directions matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import Direction, Lines, Measurement, Outcome
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
