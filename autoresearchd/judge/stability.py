"""How smoothly and for how long a training went: figures that a program may bound where a run does not say them.

Two are read from its curve, in the unit of the training loss, and as honest as that, which the training writes itself.
The third is the clock's, whatever a run says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.judge.metric import ABSURD, mean, value

SPIKE, OSCILLATION, TRAINED = "loss_spike", "loss_oscillation", "train_seconds"
SMOOTHING = 5
"""Points of the curve in one mean: the loss of a single batch is mostly luck."""
FEWEST_POINTS = 4 * SMOOTHING
"""A coarser curve says neither."""


def reported(run: Measurement, name: str) -> float | None:
    """A number that the run reported, else what its curve says of that name; None where neither does.

    Of its time it is believed what it says beyond the clock, to its own cost, and nothing below it.
    """
    said = value(run, name)
    derive = {SPIKE: loss_spike, OSCILLATION: loss_oscillation}.get(name)
    if run.ending is not Ending.FINISHED:
        return None
    if name == TRAINED:
        clock = run.wall_seconds if run.train_wall_seconds is None else run.train_wall_seconds
        return max(said or 0.0, run.train_seconds, clock)
    if said is not None:
        return said
    return None if derive is None else derive([_bounded(point.train_loss) for point in run.curve])


def loss_spike(losses: Sequence[float]) -> float | None:
    """The largest rise of the smoothed training loss above the lowest it had reached before; 0 where it only falls."""
    if len(losses) < FEWEST_POINTS:
        return None
    lowest, largest = math.inf, 0.0
    for level in _smoothed(losses):
        lowest = min(lowest, level)
        largest = max(largest, level - lowest)
    return largest


def loss_oscillation(losses: Sequence[float]) -> float | None:
    """The root mean square of the loss around its own smoothed course, over the second half of the curve.

    The first half is mostly the steep fall; batches alone give some, so it is to be bounded relative to the baseline.
    """
    if len(losses) < FEWEST_POINTS:
        return None
    away = [loss - level for loss, level in zip(losses[SMOOTHING // 2 :], _smoothed(losses), strict=False)]
    half = away[len(away) // 2 :]
    return math.sqrt(mean([distance * distance for distance in half]))


def _bounded(loss: float) -> float:
    """Squares and sums of what a training writes must not overflow."""
    return max(-ABSURD, min(ABSURD, loss))


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Means over SMOOTHING neighbouring points."""
    return [mean(losses[first : first + SMOOTHING]) for first in range(len(losses) - SMOOTHING + 1)]
