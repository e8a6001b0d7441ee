"""Bounds on the other numbers that a run reports: what breaks one is no improvement, however good its metric."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearchd.experiment import Measurement
from autoresearchd.judge.metric import by_seed, mean
from autoresearchd.judge.stability import OSCILLATION, SPIKE, reported
from autoresearchd.yardstick import Constraint


def broken(
    constraints: Sequence[Constraint], *, runs: Sequence[Measurement], baseline_runs: Sequence[Measurement]
) -> str:
    """The first constraint that the mean over `runs` breaks, as a sentence with both numbers; '' where all hold."""
    for constraint in constraints:
        if why := _broken(constraint, _mean(runs, constraint.metric), _mean(baseline_runs, constraint.metric)):
            return why
    return ""


def unchecked(constraints: Sequence[Constraint], *, baseline_runs: Sequence[Measurement]) -> tuple[str, ...]:
    """Metrics under a constraint that the baseline never reports: such a constraint binds nobody."""
    names = (constraint.metric for constraint in constraints)
    return tuple(name for name in dict.fromkeys(names) if _mean(baseline_runs, name) is None)


def reads_curves(constraints: Sequence[Constraint]) -> bool:
    """Whether one of them can be read from whole curves alone."""
    return any(constraint.metric in (SPIKE, OSCILLATION) for constraint in constraints)


def _broken(constraint: Constraint, found: float | None, baseline: float | None) -> str:
    name = constraint.metric
    if found is None:
        return f"{name} is constrained and was not reported, the baseline reports it" if baseline is not None else ""
    relative = constraint.relative_to == "baseline"
    if relative and baseline is None:
        return ""
    unit = baseline if relative and baseline is not None else 1.0
    of = f" ({{:g}} x the baseline's {baseline:g})" if relative else ""
    if constraint.max is not None and found > constraint.max * unit:
        return f"{name} is {found:g}, at most {constraint.max * unit:g} is allowed" + of.format(constraint.max)
    if constraint.min is not None and found < constraint.min * unit:
        return f"{name} is {found:g}, at least {constraint.min * unit:g} is allowed" + of.format(constraint.min)
    return ""


def _mean(runs: Sequence[Measurement], name: str) -> float | None:
    numbers = by_seed(runs, name, read=reported)
    return mean(list(numbers.values())) if numbers else None
