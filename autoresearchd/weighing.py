"""What is compared where several numbers are weighed, read from the ledger: for who decides and for who searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoresearchd.experiment import Environment, Measurement
from autoresearchd.judge import composed, reference
from autoresearchd.ledger import Ledger
from autoresearchd.yardstick import Metric

Scale = Mapping[str, float]


def scale(ledger: Ledger, environment: Environment, metric: Metric) -> Scale:
    """What the numbers of a composite are shares of in one environment; empty where nothing is weighed."""
    if not metric.also:
        return {}
    baseline = ledger.baseline_tree()
    runs = () if baseline is None else ledger.measurements(baseline)
    pools = (runs, ledger.measurements(ledger.best().tree))
    return reference(metric, *([run for run in pool if run.environment == environment] for pool in pools), runs)


def weighed(
    ledger: Ledger, runs: Sequence[Measurement], metric: Metric, scales: dict[Environment, Scale]
) -> tuple[Measurement, ...]:
    """The same runs, each with its composite in the scale of its own environment; `scales` keeps what was read."""
    for environment in {run.environment for run in runs if metric.also} - scales.keys():
        scales[environment] = scale(ledger, environment, metric)
    return tuple(weighed for run in runs for weighed in composed((run,), metric, scales.get(run.environment, {})))
