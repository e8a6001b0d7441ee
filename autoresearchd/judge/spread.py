"""The run-to-run noise, measured: how much one tree's number moves when nothing but the seed changes.

Pools every tree that was trained with several seeds in one environment, kept or not: keeps alone are selected.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import Environment, Measurement
from autoresearchd.judge.metric import by_seed, mean
from autoresearchd.judge.seeds import without_luck

CLIP = 3.0
"""Deviations count up to this many robust standard deviations: one wild run must not blind the judge for a night."""
ENOUGH = 8
"""From this many degrees of freedom on, wild runs can be told from noise, and lucky first runs are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The standard deviation of one run, in the metric's unit, and how well it is known."""

    std_dev: float
    degrees: int
    """Degrees of freedom behind it; 0 means that nothing is known yet."""


UNKNOWN = Spread(std_dev=0.0, degrees=0)


def estimate(pools: Iterable[Sequence[Measurement]], *, metric: str) -> Spread:
    """The spread over all trees with repeats; each pool holds the runs of one tree.

    Runs of different environments are never compared. The order of pools and of runs does not matter.
    """
    numbers = [group for pool in pools for group in _groups(pool, metric)]
    unselected = [without_luck(group) for group in numbers]
    return _pooled(unselected, at_least=ENOUGH) or _pooled(numbers, at_least=1) or UNKNOWN


def shrunk(own: Spread, pooled: Spread) -> Spread:
    """The noise of one comparison: its own repeats, shrunk towards the pooled value by their degrees of freedom.

    Never below the pooled value: few repeats that agree by luck are no evidence of a quiet tree. (The moderated
    variance of Smyth 2004, one-sided.)
    """
    if pooled.degrees <= own.degrees:
        return own
    degrees = own.degrees + pooled.degrees
    mixed = (own.degrees * own.std_dev**2 + pooled.degrees * pooled.std_dev**2) / degrees
    return Spread(std_dev=max(pooled.std_dev, math.sqrt(mixed)), degrees=pooled.degrees)


def _groups(pool: Sequence[Measurement], metric: str) -> list[dict[int, float]]:
    """The numbers of one tree by seed, one group an environment."""
    environments: dict[Environment, list[Measurement]] = {}
    for run in pool:
        environments.setdefault(run.environment, []).append(run)
    return [by_seed(runs, metric) for runs in environments.values()]


def _pooled(groups: Sequence[dict[int, float]], *, at_least: int) -> Spread | None:
    repeated = [list(group.values()) for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in repeated)
    if degrees < at_least:
        return None
    deviations = [(deviation, (len(group) - 1) / len(group)) for group in repeated for deviation in _deviations(group)]
    if degrees >= ENOUGH:
        limit = CLIP * 1.4826 * statistics.median(abs(deviation) for deviation, _ in deviations)
        # More than half of the repeats may be equal to the last digit; then there is no robust scale to clip by.
        if limit > 0:
            deviations = [(max(-limit, min(limit, deviation)), weight) for deviation, weight in deviations]
    squares = math.fsum(weight * deviation * deviation for deviation, weight in deviations)
    return Spread(std_dev=math.sqrt(squares / degrees), degrees=degrees)


def _deviations(group: Sequence[float]) -> list[float]:
    """Distances from the group's mean, each with the variance of a single run."""
    middle, unbias = mean(group), math.sqrt(len(group) / (len(group) - 1))
    return [(number - middle) * unbias for number in group]
