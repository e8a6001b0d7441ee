"""The program's number as the judge sees it: one value a seed, and means over runs.

Whatever a run reported that is not a finite number is no number at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from autoresearchd.experiment import Ending, Measurement

PEAK_MEMORY = "peak_memory_mib"
THROUGHPUT = "tokens_per_second"
CPU_SECONDS = "cpu_seconds"
"""Measured by the daemon where a budget is counted in steps."""
ABSURD = 1e100
"""Numbers from here on are as good as infinite: their squares and sums would overflow."""


def value(measurement: Measurement, name: str) -> float | None:
    """A number that the run reported; None where it did not finish, did not say it, or said nothing finite."""
    if measurement.ending is not Ending.FINISHED:
        return None
    number = measurement.metrics.get(name)
    return float(number) if number is not None and abs(number) < ABSURD else None


def by_seed(
    runs: Sequence[Measurement], name: str, *, read: Callable[[Measurement, str], float | None] = value
) -> dict[int, float]:
    """One number a seed, in the order of seeds.

    Two runs of one tree with one seed may be equal to the last digit, so they count as one observation: their mean.
    """
    found: dict[int, list[float]] = {}
    for run in runs:
        if (number := read(run, name)) is not None:
            found.setdefault(run.seed, []).append(number)
    return {seed: mean(found[seed]) for seed in sorted(found)}


def means(runs: Sequence[Measurement]) -> Mapping[str, float]:
    """The mean of every number that at least one run reported."""
    names = sorted({name for run in runs for name in run.metrics})
    found = {name: [number for run in runs if (number := value(run, name)) is not None] for name in names}
    return MappingProxyType({name: mean(numbers) for name, numbers in found.items() if numbers})


def mean(numbers: Sequence[float]) -> float:
    """The same to the last digit in whatever order the numbers come; of equal numbers the number itself."""
    return math.fsum(numbers) / len(numbers) if min(numbers) < max(numbers) else numbers[0]
