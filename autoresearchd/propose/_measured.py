"""What the runs of trees measured, as those see it who propose: means, gains, the noise. Reads the history only."""

from __future__ import annotations

import math
import statistics

from autoresearchd.experiment import FAILED, Concluded, Ending, Environment, TreeOid
from autoresearchd.propose._misses import leading, line_of_best
from autoresearchd.propose._protocol import Context

RECENT = 400
"""So many of the newest experiments are looked into; what is older is summed up by where best stands."""
STEPS = 24
"""So many of the newest steps of best as well, however old: they are what is trained again."""


def values(context: Context, tree: TreeOid, environment: Environment | None, metric: str) -> list[float]:
    """What the finished runs of a tree in one environment measured, or in all of them."""
    return [
        run.metrics[metric]
        for run in context.history.results(tree)
        if run.ending is Ending.FINISHED and metric in run.metrics and environment in (None, run.environment)
    ]


def mean(context: Context, tree: TreeOid, environment: Environment | None, metric: str) -> tuple[float | None, int]:
    """Their mean, and how many they are."""
    found = values(context, tree, environment, metric)
    return (statistics.fmean(found) if found else None), len(found)


def gained(context: Context, item: Concluded) -> tuple[float | None, int]:
    """By how much an experiment beat its parent in its own environment, and from how many runs of its own."""
    experiment, verdict, program = item.experiment, item.verdict, context.program
    if verdict.outcome in FAILED:
        return None, 0
    mine, runs = mean(context, experiment.tree, verdict.environment, program.metric.compared)
    if experiment.is_baseline:
        return 0.0, runs
    theirs, _ = mean(context, experiment.parent_tree, verdict.environment, program.metric.compared)
    if mine is None or theirs is None:
        mine, theirs, runs = verdict.metric, verdict.baseline, verdict.runs
    if mine is None or theirs is None:
        return None, 0
    return program.metric.direction.gain(mine, theirs), runs


def noise(context: Context) -> tuple[float, int] | None:
    """Standard deviation of one run where best is led, and its degrees of freedom; None without repeats.

    Pooled over everything that was trained again there; each tree counts once.
    """
    name, here, squares, degrees = context.program.metric.compared, leading(context), 0.0, 0
    lines = (*context.history.concluded()[-RECENT:], *line_of_best(context)[:STEPS])
    for tree in dict.fromkeys(line.experiment.tree for line in lines):
        found = values(context, tree, here, name)
        if len(found) > 1:
            squares += statistics.variance(found) * (len(found) - 1)
            degrees += len(found) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else None
