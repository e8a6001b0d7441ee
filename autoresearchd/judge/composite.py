"""Several numbers weighed into one, where the program asks for it: what is then compared, in the metric's own unit.

The composite is the metric, less (or more, where higher is better) what the other numbers gained: each gain as a share
of the baseline's value, times its weight, times the metric's value at the baseline. So units do not matter, a weight of
1 counts a gain of 1 % as much as 1 % of the metric, and `min_delta` and the noise keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from autoresearchd.experiment import Direction, Measurement
from autoresearchd.judge.metric import by_seed, mean, value
from autoresearchd.judge.seeds import BLOCK
from autoresearchd.yardstick import Metric


def reference(metric: Metric, *pools: Sequence[Measurement]) -> Mapping[str, float]:
    """The value of each number at the baseline: from the first pool that has it, by planned runs where there are any.

    Give the baseline's runs first; what follows stands in for them where they never said a number.
    """
    found: dict[str, float] = {}
    for pool in pools if metric.also else ():
        for name in metric.names:
            numbers = by_seed([run for run in pool if run.seed < BLOCK], name) or by_seed(pool, name)
            if numbers:
                found.setdefault(name, mean(list(numbers.values())))
    return MappingProxyType(found)


def composed(runs: Sequence[Measurement], metric: Metric, scale: Mapping[str, float]) -> tuple[Measurement, ...]:
    """The same runs, with their composite beside what they reported; untouched where the program weighs nothing."""
    if not metric.also:
        return tuple(runs)
    return tuple(_with(run, metric, _composite(run, metric, scale)) for run in runs)


def _with(run: Measurement, metric: Metric, number: float | None) -> Measurement:
    metrics = {name: said for name, said in run.metrics.items() if name != metric.compared}  # not the target's to say
    return replace(run, metrics=metrics if number is None else {**metrics, metric.compared: number})


def _composite(run: Measurement, metric: Metric, scale: Mapping[str, float]) -> float | None:
    own = value(run, metric.name)
    if own is None or metric.name not in scale:
        return None
    gains = 0.0
    for also in metric.also:
        number, usual = value(run, also.name), scale.get(also.name)
        if number is None or usual is None:
            return None
        gains += also.weight * also.direction.gain(number, usual) / _unit(usual)
    better = gains * _unit(scale[metric.name])
    return own - better if metric.direction is Direction.LOWER else own + better


def _unit(usual: float) -> float:
    """What a share is a share of; a baseline of zero has no shares, its number counts as it is."""
    return abs(usual) or 1.0
