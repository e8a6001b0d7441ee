"""What is kept, what is discarded, and what is measured next."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from statistics import fmean

import pytest

from autoresearchd.experiment import Direction, Ending, Lines, Measurement, Outcome, Verdict
from autoresearchd.judge import Conclude, Decision, Measure, Rules, Side, Spread, decide_baseline
from tests.judge.lab import BASELINE, RULES, SPREAD, judged, program, run

SIGMA = SPREAD.std_dev
SMALLER = Lines(added=2, removed=30)


def verdict(decision: Decision) -> Verdict:
    assert isinstance(decision, Conclude), decision
    return decision.verdict


def settled(
    gain: float,
    *,
    noise: float = 0.0,
    rules: Rules = RULES,
    lines: Lines | None = None,
    seed: int = 0,
    best_at: float = 1.0,
) -> tuple[Verdict, list[Measurement], list[Measurement]]:
    """Obey the judge until it concludes: the verdict, the candidate's runs and best's."""
    rng, candidate, best = random.Random(seed), list[Measurement](), list(BASELINE)
    for _ in range(100):
        decision = judged(candidate, best, rules=rules, lines=lines or Lines(added=1, removed=1))
        if isinstance(decision, Conclude):
            return decision.verdict, candidate, best
        side, level = (best, best_at) if decision.side is Side.BEST else (candidate, best_at - gain)
        assert decision.seed not in {r.seed for r in side}, "a seed is measured once"
        side.append(run(side[0].tree if side else "new", decision.seed, level + rng.gauss(0, noise)))
    raise AssertionError("the judge never concludes")


def test_a_keep_says_by_how_many_runs_it_was_shown_and_what_the_run_after_them_gained() -> None:
    """A number of one run beside the confidence of four reads as luck."""
    found, candidate, _ = settled(0.03, noise=0.003)
    assert found.outcome is Outcome.KEEP
    shown = f"better: shown over {len(candidate) - 1} runs; on 1 more that decided nothing "
    assert re.fullmatch(rf"{shown}0\.0\d+ better, standard error 0\.0\d+", found.why), found.why


def test_the_first_run_of_a_candidate_has_seed_0() -> None:
    assert judged([]) == Measure(Side.CANDIDATE, 0)


def test_best_is_measured_first_where_it_was_never_measured_here() -> None:
    assert judged([], []) == Measure(Side.BEST, 0)
    assert judged([run("new", 0, 0.5)], []) == Measure(Side.BEST, 0)


def test_a_new_environment_measures_best_until_its_noise_is_known() -> None:
    nothing = Spread(std_dev=0.0, degrees=0)
    best = [run("best", 0, 1.0)]
    decision = judged([run("new", 0, 0.9)], best, baseline=[], spread=nothing)
    assert decision == Measure(Side.BEST, 1)


def test_what_is_clearly_not_better_is_discarded_after_one_run() -> None:
    found = verdict(judged([run("new", 0, 1.0 + 0.1 * SIGMA)]))
    assert found.outcome is Outcome.DISCARD
    assert found.runs == 1
    assert found.metric == 1.0 + 0.1 * SIGMA
    assert found.baseline == pytest.approx(1.0)


def test_what_is_promising_gets_a_fresh_seed() -> None:
    assert judged([run("new", 0, 1.0 - 2 * SIGMA)]) == Measure(Side.CANDIDATE, 10_000)


def test_of_the_two_the_one_with_fewer_runs_is_measured_next() -> None:
    promising = [run("new", seed, 1.0 - 1.1 * SIGMA) for seed in (0, 10_000, 10_001, 10_002)]
    assert judged(promising, BASELINE[:3]) == Measure(Side.BEST, 10_000)
    assert judged(promising, BASELINE) == Measure(Side.CANDIDATE, 10_003)


def test_one_run_never_keeps_however_good() -> None:
    assert isinstance(judged([run("new", 0, -1e6)]), Measure)


def test_no_keep_without_a_run_of_best_as_new_as_the_candidates() -> None:
    candidate = [run("new", seed, 0.5) for seed in (0, 10_000, 10_001)]
    assert judged(candidate) == Measure(Side.BEST, 10_000)


def test_a_large_gain_is_kept_and_reported_from_runs_that_decided_nothing() -> None:
    found, candidate, _ = settled(5 * SIGMA, noise=0.0)
    assert found.outcome is Outcome.KEEP
    assert found.confidence is not None
    assert found.confidence >= RULES.confidence
    reserved = [r for r in candidate if r.seed >= 20_000]
    assert reserved
    lucky = [replace(r, metrics={"val_bpb": 0.9}) if r.seed < 20_000 else r for r in candidate]
    fresh_best = [*BASELINE, run("base", 10_000, 1.0), run("base", 10_001, 1.0)]
    again = verdict(judged(lucky, fresh_best))
    assert again.outcome is Outcome.KEEP
    assert again.metric == fmean(r.metrics["val_bpb"] for r in reserved)


def test_most_gains_of_three_standard_deviations_are_kept_and_most_nothings_are_not() -> None:
    kept = [settled(3 * SIGMA, noise=SIGMA, seed=seed)[0].outcome is Outcome.KEEP for seed in range(60)]
    nothing = [settled(0.0, noise=SIGMA, seed=seed)[0].outcome is Outcome.KEEP for seed in range(200)]
    assert sum(kept) >= 50
    assert sum(nothing) <= 4


def test_what_stays_undecided_at_the_cap_is_inconclusive() -> None:
    rules = replace(RULES, max_repeats=4)
    best = [*BASELINE, *(run("base", 10_000 + k, 1.0) for k in range(2))]
    candidate = [run("new", seed, 1.0 - 1.1 * SIGMA) for seed in (0, 10_000, 10_001)]
    found = verdict(judged(candidate, best, rules=rules, spread=Spread(std_dev=SIGMA, degrees=15)))
    assert found.outcome is Outcome.INCONCLUSIVE


def test_a_near_miss_is_remembered_as_one() -> None:
    found = [settled(1.2 * SIGMA, noise=SIGMA, seed=seed)[0] for seed in range(60)]
    assert {one.outcome for one in found} == {Outcome.KEEP, Outcome.INCONCLUSIVE, Outcome.DISCARD}
    near = [one for one in found if one.outcome is Outcome.INCONCLUSIVE]
    assert all(one.confidence is not None and one.confidence >= 0.9 for one in near)


@pytest.mark.parametrize("repeats", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("gain", [-1.0, 0.0, 0.5, 1.0, 2.0, 8.0])
def test_every_experiment_ends_within_its_runs(repeats: int, gain: float) -> None:
    rules = replace(RULES, max_repeats=repeats)
    for seed in range(5):
        found, candidate, best = settled(gain * SIGMA, noise=SIGMA, rules=rules, seed=seed)
        assert found.runs == len(candidate) <= repeats
        assert len(best) - len(BASELINE) <= repeats + 6


def test_higher_is_better_where_the_program_says_so() -> None:
    rules = replace(RULES, direction=Direction.HIGHER)
    assert settled(-5 * SIGMA, rules=rules)[0].outcome is Outcome.KEEP
    assert settled(5 * SIGMA, rules=rules)[0].outcome is Outcome.DISCARD


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Ending.CRASH, Outcome.CRASH),
        (Ending.OUT_OF_MEMORY, Outcome.OUT_OF_MEMORY),
        (Ending.TIMEOUT, Outcome.TIMEOUT),
        (Ending.UNSTABLE, Outcome.UNSTABLE),
        (Ending.PRUNED, Outcome.PRUNED),
        (Ending.TAMPERED, Outcome.TAMPERED),
    ],
)
def test_a_run_that_failed_names_the_experiment(ending: Ending, outcome: Outcome) -> None:
    found = verdict(judged([run("new", 0, None, ending=ending, why="because")]))
    assert (found.outcome, found.why, found.metric) == (outcome, "because", None)


def test_one_failure_among_good_runs_is_enough() -> None:
    candidate = [run("new", 0, 0.5), run("new", 10_000, None, ending=Ending.UNSTABLE, why="NaN")]
    assert verdict(judged(candidate)).outcome is Outcome.UNSTABLE


def test_tampering_outweighs_every_other_failure() -> None:
    candidate = [run("new", 0, None, ending=Ending.CRASH), run("new", 10_000, None, ending=Ending.TAMPERED)]
    assert verdict(judged(candidate)).outcome is Outcome.TAMPERED


@pytest.mark.parametrize(("number", "outcome"), [(math.nan, Outcome.UNSTABLE), (None, Outcome.CRASH)])
def test_a_finished_run_without_a_finite_number_is_no_result(number: float | None, outcome: Outcome) -> None:
    found = verdict(judged([run("new", 0, number)]))
    assert found.outcome is outcome
    assert "val_bpb" in found.why


def test_a_gain_below_min_delta_is_not_worth_a_commit() -> None:
    rules = replace(RULES, min_delta=4 * SIGMA)
    found, _, _ = settled(3 * SIGMA, rules=rules)
    assert found.outcome is Outcome.DISCARD
    assert "has to gain" in found.why
    hopeless = verdict(judged([run("new", 0, 1.0 - SIGMA)], rules=rules))
    assert (hopeless.outcome, hopeless.runs) == (Outcome.DISCARD, 1), "repeats cannot make it large enough"


def test_a_gain_too_small_for_its_lines_is_refused_by_the_exchange_rate() -> None:
    tiny = Spread(std_dev=1e-5, degrees=40)
    best = [run("base", seed, 1.0) for seed in range(6)]
    candidate = [run("new", seed, 1.0 - 1e-3) for seed in (0, 10_000, 10_001, 20_000)]
    best += [run("base", 10_000, 1.0), run("base", 10_001, 1.0)]
    cheap = verdict(judged(candidate, best, baseline=best, spread=tiny, lines=Lines(added=90, removed=0)))
    dear = verdict(judged(candidate, best, baseline=best, spread=tiny, lines=Lines(added=110, removed=0)))
    assert (cheap.outcome, dear.outcome) == (Outcome.KEEP, Outcome.DISCARD)


def test_a_smaller_tree_wins_at_an_equal_metric() -> None:
    rules = replace(RULES, min_delta=5 * SIGMA)
    found, _, _ = settled(-0.2 * SIGMA, rules=rules, lines=SMALLER)
    assert found.outcome is Outcome.KEEP
    assert "28 lines smaller" in found.why


def test_a_smaller_tree_that_is_worse_loses() -> None:
    rules = replace(RULES, min_delta=2 * SIGMA)
    assert settled(-3 * SIGMA, rules=rules, lines=SMALLER)[0].outcome is Outcome.DISCARD


def test_nothing_is_kept_for_its_size_without_a_min_delta_or_where_it_is_as_large() -> None:
    assert settled(-0.2 * SIGMA, lines=SMALLER)[0].outcome is Outcome.DISCARD
    rules = replace(RULES, min_delta=5 * SIGMA)
    as_large = judged([run("new", 0, 1.0 + 0.2 * SIGMA)], rules=rules, lines=Lines(added=5, removed=5))
    assert verdict(as_large).outcome is Outcome.DISCARD


def test_a_gain_that_the_first_run_alone_shows_is_none() -> None:
    candidate = [run("new", 0, 0.9), run("new", 10_000, 1.0 + 0.1 * SIGMA)]
    found = verdict(judged(candidate, [*BASELINE, run("base", 10_000, 1.0)]))
    assert found.outcome is Outcome.DISCARD
    assert found.confidence is not None
    assert found.confidence > RULES.confidence, "together they would do"


def test_where_repeats_agree_to_the_last_digit_two_runs_and_one_of_best_settle_it() -> None:
    best = [run("base", seed, 1.0) for seed in range(3)]
    still = Spread(std_dev=0.0, degrees=2)
    same = judged([run("new", 0, 1.0)], best, baseline=best, spread=still)
    assert verdict(same).outcome is Outcome.DISCARD
    better = [run("new", 0, 0.9), run("new", 10_000, 0.9), run("new", 20_000, 0.9)]
    assert (
        verdict(judged(better, [*best, run("base", 10_000, 1.0)], baseline=best, spread=still)).outcome is Outcome.KEEP
    )


def test_a_lucky_best_is_measured_again_before_a_near_miss_is_discarded() -> None:
    best = [run("best", seed, 0.98) for seed in (0, 10_000, 10_001)]
    decision = judged([run("new", 0, 0.98 - 0.3 * SIGMA)], best)
    assert decision == Measure(Side.BEST, 20_000)


def test_bests_first_run_counts_for_nothing_once_there_are_others() -> None:
    best = [run("best", 0, 0.1), *(run("best", 20_000 + k, 1.0) for k in range(6))]
    found = verdict(judged([run("new", 0, 1.5)], best))
    assert found.baseline == pytest.approx(1.0)


def test_the_verdict_carries_its_evidence() -> None:
    others = {"peak_memory_mib": 100.0, "tokens_per_second": 50.0, "mfu": 0.3}
    more = {"peak_memory_mib": 120.0, "tokens_per_second": 70.0, "mfu": 0.5}
    candidate = [run("new", 0, 0.985, others=others), run("new", 10_000, 1.1, others=more)]
    found = verdict(judged(candidate))
    assert (found.runs, found.seeds, found.train_seconds, found.device) == (2, (0, 10_000), 120.0, "cpu:0")
    assert (found.peak_memory_mib, found.throughput, found.environment) == (120.0, 60.0, "cpu")
    assert found.metrics == {"peak_memory_mib": 110.0, "tokens_per_second": 60.0, "mfu": 0.4}
    assert found.std_error is not None
    assert found.confidence is not None
    assert found.metric == 1.1


def test_the_baseline_is_run_as_often_as_the_program_says() -> None:
    rules = Rules.of(program())
    runs: list[Measurement] = []
    for expected in range(rules.baseline_runs):
        assert decide_baseline(runs=runs, rules=rules) == Measure(Side.CANDIDATE, expected)
        runs.append(run("base", expected, 1.0 + expected))
    found = verdict(decide_baseline(runs=runs, rules=rules))
    assert (found.outcome, found.metric, found.runs) == (Outcome.BASELINE, 2.0, 3)
    assert found.std_error == pytest.approx(1 / math.sqrt(3))
    assert found.baseline is None


@pytest.mark.parametrize(("numbers", "said"), [((1.0, 1.0, 1.0), True), ((1.0, 1.0, 1.1), False)])
def test_a_baseline_in_which_the_seed_changes_nothing_says_so(numbers: tuple[float, ...], *, said: bool) -> None:
    runs = [run("base", seed, number) for seed, number in enumerate(numbers)]
    found = verdict(decide_baseline(runs=runs, rules=Rules.of(program())))
    assert ("the seed changes nothing" in found.why) == said
