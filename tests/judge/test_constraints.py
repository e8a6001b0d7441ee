"""Bounds on the other numbers: absolute, or relative to what the baseline measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoresearchd.experiment import Measurement, Outcome
from autoresearchd.judge import Conclude, Rules
from autoresearchd.judge.constraints import broken, unchecked
from tests.judge.lab import judged, program, run

BASE = [run("base", 0, 1.0, others={"peak_memory_mib": 1000.0, "tokens_per_second": 500.0})]


def constraints(text: str) -> Rules:
    return Rules.of(program(text))


RELATIVE = '[[constraint]]\nmetric = "peak_memory_mib"\nmax = 1.1\nrelative_to = "baseline"'
LONGER = '[[constraint]]\nmetric = "train_seconds"\nmax = 1.1\nrelative_to = "baseline"'
ABSOLUTE = '[[constraint]]\nmetric = "tokens_per_second"\nmin = 400'


@pytest.mark.parametrize(
    ("text", "others", "holds"),
    [
        (RELATIVE, {"peak_memory_mib": 1100.0}, True),
        (RELATIVE, {"peak_memory_mib": 1101.0}, False),
        (ABSOLUTE, {"tokens_per_second": 400.0}, True),
        (ABSOLUTE, {"tokens_per_second": 399.0}, False),
        (RELATIVE, {}, False),
    ],
)
def test_a_bound_holds_or_the_constraint_is_named(text: str, others: dict[str, float], holds: bool) -> None:
    rules = constraints(text)
    why = broken(rules.constraints, runs=[run("new", 0, 0.9, others=others)], baseline_runs=BASE)
    assert (why == "") is holds
    assert holds or rules.constraints[0].metric in why


def test_the_mean_over_seeds_is_what_counts() -> None:
    runs = [run("new", seed, 0.9, others={"tokens_per_second": speed}) for seed, speed in ((0, 390.0), (1, 420.0))]
    assert broken(constraints(ABSOLUTE).constraints, runs=runs, baseline_runs=BASE) == ""


def test_a_constraint_on_what_nobody_reports_binds_nobody_and_is_told_at_the_baseline() -> None:
    rules, silent = constraints(RELATIVE), [run("base", 0, 1.0)]
    assert broken(rules.constraints, runs=[run("new", 0, 0.9)], baseline_runs=silent) == ""
    assert unchecked(rules.constraints, baseline_runs=silent) == ("peak_memory_mib",)
    assert unchecked(rules.constraints, baseline_runs=BASE) == ()


def trained(tree: str, seconds: float, *, said: float | None = None) -> Measurement:
    """So long by the daemon's clock; what a script says of its time comes in as far as the clock allows."""
    others = {} if said is None else {"train_seconds": said}
    inside = seconds if said is None else min(said, seconds)
    found = run(tree, 0, 1.0 if tree == "base" else 0.9, others=others)
    return replace(found, train_seconds=inside, train_wall_seconds=seconds, wall_seconds=seconds + 30.0)


def test_how_long_it_trained_can_be_bounded_also_where_no_script_says_it() -> None:
    rules, base = constraints(LONGER), [trained("base", 40.0)]
    assert unchecked(rules.constraints, baseline_runs=base) == ()
    why = broken(rules.constraints, runs=[trained("new", 50.0)], baseline_runs=base)
    assert "train_seconds is 50, at most 44 is allowed" in why
    assert broken(rules.constraints, runs=[trained("new", 43.0)], baseline_runs=base) == ""


def test_a_script_that_says_it_trained_for_a_second_is_bound_by_the_clock_all_the_same() -> None:
    rules, base = constraints(LONGER), [trained("base", 60.0, said=58.0)]
    why = broken(rules.constraints, runs=[trained("new", 600.0, said=1.0)], baseline_runs=base)
    assert "train_seconds is 600, at most 66 is allowed" in why
    assert broken(rules.constraints, runs=[trained("new", 61.0, said=58.0)], baseline_runs=base) == ""


def test_a_script_that_says_more_than_the_clock_is_believed_to_its_own_cost() -> None:
    rules, base = constraints(LONGER), [trained("base", 60.0, said=58.0)]
    why = broken(rules.constraints, runs=[trained("new", 60.0, said=90.0)], baseline_runs=base)
    assert "train_seconds is 90, at most 66 is allowed" in why


def test_runs_from_before_the_clock_of_the_training_was_noted_are_bound_by_that_of_the_whole_run() -> None:
    rules = constraints(LONGER)
    base, new = (replace(trained(tree, 60.0, said=58.0), train_wall_seconds=None) for tree in ("base", "new"))
    assert broken(rules.constraints, runs=[trained("new", 70.0, said=58.0)], baseline_runs=[base]) == ""
    assert broken(rules.constraints, runs=[replace(new, wall_seconds=600.0)], baseline_runs=[base]) != ""


def test_a_good_metric_does_not_buy_a_broken_constraint() -> None:
    candidate = [run("new", 0, 0.1, others={"peak_memory_mib": 5000.0})]
    decision = judged(candidate, BASE, baseline=BASE, rules=constraints(RELATIVE))
    assert isinstance(decision, Conclude)
    assert decision.verdict.outcome is Outcome.REJECTED
    assert "peak_memory_mib is 5000, at most 1100" in decision.verdict.why
    assert "1.1 x the baseline's 1000" in decision.verdict.why
