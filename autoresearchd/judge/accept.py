"""Sequential acceptance: conclude an experiment, or say which tree to measure next, with which seed.

Values in, a decision out, the same in whatever order the runs arrived. The boundaries are group-sequential (see
`bounds`), the p-values Student's t with the night's pooled spread.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autoresearchd.experiment import Lines, Measurement, Outcome, Verdict
from autoresearchd.judge.bounds import bounds
from autoresearchd.judge.constraints import broken, unchecked
from autoresearchd.judge.decision import Conclude, Decision, Measure, Rules, Samples, Side
from autoresearchd.judge.evidence import Numbers, gather, noise_of, weigh, weigh_unselected
from autoresearchd.judge.metric import by_seed, mean
from autoresearchd.judge.plausible import implausible, sane_gain
from autoresearchd.judge.seeds import SELECTING_SEED, next_seed
from autoresearchd.judge.spread import Spread, estimate
from autoresearchd.judge.verdicts import failure, verdict

GAIN_PER_LINE = 1e-5
"""The exchange rate: the share of the metric that a net added line has to earn. A fifth of what karpathy/autoresearch
calls "probably not worth it" (0.001 of a metric near 1 for 20 lines)."""
BEST_RUNS = 8
"""So many runs of best are worth having before a candidate that nearly passes is discarded."""
HONEST_RUNS = 2
"""So many of them at least that best was not selected by."""
DOUBT = 0.5
"""A candidate nearly passes if it falls short by less than so many standard errors of best's value."""
NEAR_MISS = 0.1
"""What is given up although chance alone shows as much only so rarely is inconclusive: worth another try later."""
FRESH_RUNS = 2
"""A keep rests on so many runs of best that are as new as the candidate's own (or as many as it has repeats): what
drifts in a night moves both."""
AGAIN = 0.5
"""A gain beyond the sanity bound counts as confirmed by a run that shows this share of it or more."""
RESERVED_RUNS = 1
"""Runs of a winner that are made after it has won and decide nothing: its reported value is their mean, and they are
the first that the next candidates are compared with and that best was not selected by."""


def decide_baseline(*, runs: Sequence[Measurement], rules: Rules) -> Decision:
    """Experiment 0000: run until its value and the spread over seeds are known. Gets finished runs only."""
    if missing := missing_baseline_seeds(runs=runs, rules=rules):
        return Measure(Side.CANDIDATE, missing[0])
    numbers = by_seed(runs, rules.metric)
    spread = estimate([runs], metric=rules.metric)
    why = f"{len(numbers)} runs, standard deviation {spread.std_dev:.3g}"
    if spread.degrees and not spread.std_dev:
        why += ": the seed changes nothing, so that every gain looks certain; does the script read AUTORESEARCH_SEED?"
    if silent := unchecked(rules.constraints, baseline_runs=runs):
        why += f"; not reported, so its constraint binds nobody: {', '.join(silent)}"
    found = verdict(Outcome.BASELINE, why, runs=runs, rules=rules)
    error = spread.std_dev / math.sqrt(len(numbers)) if spread.degrees else None
    return Conclude(replace(found, metric=_mean_of(numbers), std_error=error))


def missing_baseline_seeds(*, runs: Sequence[Measurement], rules: Rules) -> tuple[int, ...]:
    """The seeds that experiment 0000 is still to be run with, given its finished runs; none waits for another."""
    used, lacking = {run.seed for run in runs}, rules.baseline_runs - len(by_seed(runs, rules.metric))
    unused = (seed for seed in itertools.count() if seed not in used)
    return tuple(itertools.islice(unused, max(0, lacking)))


def decide(
    samples: Samples, *, rules: Rules, spread: Spread, lines: Lines, largest_gain: float | None = None
) -> Decision:
    """What to do about one experiment.

    `spread` is the night's, `largest_gain` the largest that was verified so far, in the metric's unit; None before the
    first keep. The candidate's first run has seed 0; its repeats take the smallest seeds that neither tree has had, and
    best is measured on the same ones.
    """
    if samples.candidate and (found := refused(samples.candidate, samples.baseline, rules)) is not None:
        return Conclude(found)
    if not by_seed(samples.best, rules.metric):
        return Measure(Side.BEST, _unused(samples.best))
    if not samples.candidate:
        return Measure(Side.CANDIDATE, SELECTING_SEED)
    numbers = gather(samples, metric=rules.metric)
    noise = noise_of(samples.best, numbers.judged(samples.candidate), metric=rules.metric, spread=spread)
    if not noise.degrees and len(numbers.best) < rules.baseline_runs:
        return Measure(Side.BEST, _unused(samples.best))
    usual = _usual(samples.best, samples.baseline, metric=rules.metric)
    sane = sane_gain(std_dev=usual.std_dev, spreads=rules.sane_gain, largest=largest_gain)
    return _look(_Case(samples=samples, numbers=numbers, noise=noise, rules=rules, lines=lines, sane=sane))


def _usual(*pools: Sequence[Measurement], metric: str) -> Spread:
    """The noise of what is known; not the night's, of which a candidate that is wild by itself is a part."""
    trees = {run.tree: pool for pool in pools for run in pool}
    return estimate(trees.values(), metric=metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """All that one look at an experiment rests on; both trees have a number."""

    samples: Samples
    numbers: Numbers
    noise: Spread
    rules: Rules
    lines: Lines
    sane: float
    """A larger gain is believed only once it is confirmed."""

    @property
    def tried(self) -> frozenset[int]:
        """Seeds that either tree has had, the reserved ones aside."""
        return frozenset(run.seed for run in (*self.samples.best, *self.numbers.judged(self.samples.candidate)))

    @property
    def simplifies(self) -> bool:
        """Whether it is enough not to be worse: the tree got smaller, whatever the experiment calls itself."""
        return self.lines.net < 0 and self.rules.min_delta > 0

    @property
    def margin(self) -> float:
        """The gain that has to be exceeded beyond doubt."""
        return -self.rules.min_delta if self.simplifies else 0.0

    @property
    def worth(self) -> float:
        """The gain that is worth a commit of so many lines."""
        price = GAIN_PER_LINE * max(0, self.lines.net) * abs(_mean_of(self.numbers.best))
        return -math.inf if self.simplifies else max(self.rules.min_delta, price)

    @property
    def reserve(self) -> int:
        """How many of the allowed runs are kept for the report."""
        return min(RESERVED_RUNS, max(0, self.rules.max_repeats - 2))

    @property
    def looks(self) -> int:
        return self.rules.max_repeats - self.reserve


def _look(case: _Case) -> Decision:
    evidence = weigh(case.numbers, direction=case.rules.direction, noise=case.noise)
    look = min(evidence.runs, case.looks)
    bound = bounds(1.0 - case.rules.confidence, case.looks)[look - 1]
    excess = evidence.gain - case.margin
    short = bound.discard_below * case.noise.std_dev - excess
    if short > 0.0 or excess <= 0.0:
        if _hangs_on_best(case, short):
            return Measure(Side.BEST, _seed_for_best(case))
        near = evidence.runs > 1 and evidence.p_value(case.margin) <= NEAR_MISS
        return (
            _conclude(case, Outcome.INCONCLUSIVE, "nearly") if near else _conclude(case, Outcome.DISCARD, "no better")
        )
    if evidence.gain + evidence.std_error < case.worth:
        return _conclude(case, Outcome.DISCARD, f"less than the {case.worth:.3g} it has to gain")
    if evidence.p_value(case.margin) <= bound.keep_level:
        return _nearly_kept(case)
    if evidence.runs >= case.looks:
        return _conclude(case, Outcome.INCONCLUSIVE, "neither clearly better nor clearly not")
    # Racing: the run that narrows the difference most is on the side that has fewer.
    if evidence.best_runs < evidence.runs:
        return Measure(Side.BEST, _seed_for_best(case))
    return Measure(Side.CANDIDATE, next_seed(case.tried, block=case.numbers.block))


def _hangs_on_best(case: _Case, short: float) -> bool:
    """Whether best is so little known that its own luck may be what the candidate is short of.

    A best that looks too good would have everything discarded at the first look and so never be measured again.
    """
    numbers = case.numbers
    if len(numbers.best) >= BEST_RUNS and numbers.honest >= HONEST_RUNS:
        return False
    return short < DOUBT * case.noise.std_dev / math.sqrt(len(numbers.best))


def _nearly_kept(case: _Case) -> Decision:
    """Enough evidence in all; now best has to be as newly measured, and the winner's value to be found."""
    numbers = case.numbers
    if numbers.missing and len(numbers.fresh) < FRESH_RUNS:
        return Measure(Side.BEST, numbers.missing[0])
    repeats = weigh_unselected(replace(numbers, reserved={}), direction=case.rules.direction, noise=case.noise)
    if repeats.gain < case.worth:
        return _conclude(case, Outcome.DISCARD, f"less than the {case.worth:.3g} it has to gain")
    beyond = repeats.gain > case.sane
    if len(numbers.reserved) < max(case.reserve, beyond):
        seed = next_seed({run.seed for run in case.samples.candidate}, block=numbers.block + 1)
        return Measure(Side.CANDIDATE, seed, audit=beyond)
    if beyond:
        return _flagged(case, repeats.gain)
    if case.simplifies and repeats.gain <= 0:
        lost = f"not worse by more than {case.rules.min_delta:.3g}"
        return _kept(case, f"{lost} and {-case.lines.net} lines smaller")
    return _kept(case, "better")


def _flagged(case: _Case, gain: float) -> Conclude:
    """A gain that is hard to believe is kept if the run that decides nothing else shows it too; and said either way."""
    again = weigh_unselected(case.numbers, direction=case.rules.direction, noise=case.noise).gain
    flag = f"a gain of {gain:.3g}, beyond the {case.sane:.3g} that is believed at once; its re-run gained {again:.3g}"
    confirmed = again >= AGAIN * gain
    outcome, words = (Outcome.KEEP, "better") if confirmed else (Outcome.INCONCLUSIVE, "too good, and not again")
    return Conclude(replace(_conclude(case, outcome, words).verdict, flag=flag))


def _seed_for_best(case: _Case) -> int:
    """One that the candidate has had and best has not; else a new one."""
    return case.numbers.missing[0] if case.numbers.missing else next_seed(case.tried, block=case.numbers.block)


def _unused(runs: Sequence[Measurement]) -> int:
    used = {run.seed for run in runs}
    return next(seed for seed in range(len(used) + 1) if seed not in used)


def refused(runs: Sequence[Measurement], baseline_runs: Sequence[Measurement], rules: Rules) -> Verdict | None:
    """The verdict on a candidate that failed or breaks a constraint, whatever its metric; None for any other."""
    if (failed := failure(runs, rules)) is not None:
        return failed
    why = broken(rules.constraints, runs=runs, baseline_runs=baseline_runs)
    for run in runs:
        why = why or implausible(
            run, baseline_runs=baseline_runs, train_seconds=rules.train_seconds, train_steps=rules.train_steps
        )
    return verdict(Outcome.REJECTED, why, runs=runs, rules=rules) if why else None


def _conclude(case: _Case, outcome: Outcome, words: str) -> Conclude:
    """The reported values come from runs that nothing was selected by; the confidence from all that are judged."""
    evidence = weigh(case.numbers, direction=case.rules.direction, noise=case.noise)
    reported = weigh_unselected(case.numbers, direction=case.rules.direction, noise=case.noise)
    way = "better" if reported.gain >= 0 else "worse"
    runs = f"{reported.runs} run{'s' if reported.runs > 1 else ''} against {reported.best_runs} of best"
    why = f"{words}: {abs(reported.gain):.3g} {way} over {runs}, standard error {reported.std_error:.2g}"
    confidence = 1.0 - evidence.p_value(case.margin) if case.noise.degrees else None
    return Conclude(
        verdict(outcome, why, runs=case.samples.candidate, rules=case.rules, evidence=reported, confidence=confidence)
    )


def _kept(case: _Case, words: str) -> Conclude:
    """A keep, which says apart what showed it and the run that was made afterwards, whose number is of record."""
    found = _conclude(case, Outcome.KEEP, words)
    if not case.numbers.reserved:
        return found
    shown = weigh(case.numbers, direction=case.rules.direction, noise=case.noise).runs
    reported = weigh_unselected(case.numbers, direction=case.rules.direction, noise=case.noise)
    way = "better" if reported.gain >= 0 else "worse"
    after = f"on {reported.runs} more that decided nothing {abs(reported.gain):.3g} {way}"
    why = f"{words}: shown over {shown} runs; {after}, standard error {reported.std_error:.2g}"
    return Conclude(replace(found.verdict, why=why))


def _mean_of(numbers: Mapping[int, float]) -> float:
    return mean(list(numbers.values()))
