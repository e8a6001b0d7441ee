"""The verdict's figures: what is written into the commit, gathered from an experiment's runs."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from autoresearchd.experiment import Ending, Environment, Measurement, Outcome, Verdict
from autoresearchd.judge.decision import Rules
from autoresearchd.judge.evidence import Evidence
from autoresearchd.judge.metric import PEAK_MEMORY, THROUGHPUT, by_seed, mean, means, value
from autoresearchd.judge.stability import reported

_OUTCOMES = {
    Ending.TAMPERED: Outcome.TAMPERED,
    Ending.CRASH: Outcome.CRASH,
    Ending.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    Ending.UNSTABLE: Outcome.UNSTABLE,
    Ending.TIMEOUT: Outcome.TIMEOUT,
    Ending.PRUNED: Outcome.PRUNED,
}
"""Most serious first: where several runs failed, this one names the experiment."""


def verdict(
    outcome: Outcome,
    why: str,
    *,
    runs: Sequence[Measurement],
    rules: Rules,
    evidence: Evidence | None = None,
    confidence: float | None = None,
) -> Verdict:
    """A verdict with everything that is known about its runs, in whatever order they came."""
    averages = {**means(runs), **_derived(runs, rules)}
    peaks = [peak for run in runs if (peak := value(run, PEAK_MEMORY)) is not None]
    return Verdict(
        outcome=outcome,
        why=why,
        metric=None if evidence is None else evidence.candidate,
        baseline=None if evidence is None else evidence.best,
        std_error=None if evidence is None or not evidence.noise.degrees else evidence.std_error,
        confidence=confidence,
        runs=len(runs),
        seeds=tuple(sorted({run.seed for run in runs})),
        train_seconds=sum(sorted(run.train_seconds for run in runs)),
        device=", ".join(sorted({run.device for run in runs})),
        peak_memory_mib=max(peaks, default=None),
        throughput=averages.get(THROUGHPUT),
        metrics=MappingProxyType({name: number for name, number in averages.items() if name != rules.metric}),
        environment=min((run.environment for run in runs), default=Environment("")),
        trust=rules.trust,
    )


def _derived(runs: Sequence[Measurement], rules: Rules) -> dict[str, float]:
    """The constrained numbers that no run says and the curves do, so that the verdict holds what it was bound by."""
    names = {constraint.metric for constraint in rules.constraints}
    found = {name: by_seed(runs, name, read=reported) for name in sorted(names)}
    return {name: mean(list(numbers.values())) for name, numbers in found.items() if numbers}


def failure(runs: Sequence[Measurement], rules: Rules) -> Verdict | None:
    """The verdict on a candidate of which any run failed; None where all gave their number.

    One failure is enough, whatever the other seeds gave: a change that trains only sometimes is no improvement.
    """
    for ending, outcome in _OUTCOMES.items():
        failed = sorted((run.seed, run.run, run.why) for run in runs if run.ending is ending)
        if failed:
            seed, _, why = failed[0]
            among = f" (seed {seed}, one of {len(runs)} runs)" if len(runs) > 1 else ""
            return verdict(outcome, (why or f"the run ended as {ending.value}") + among, runs=runs, rules=rules)
    silent = sorted(
        (run.seed, run.run, rules.metric in run.metrics) for run in runs if value(run, rules.metric) is None
    )
    if not silent:
        return None
    if silent[0][2]:
        return verdict(Outcome.UNSTABLE, f"{rules.metric} is not a finite number", runs=runs, rules=rules)
    return verdict(Outcome.CRASH, f"the run finished without saying {rules.metric}", runs=runs, rules=rules)
