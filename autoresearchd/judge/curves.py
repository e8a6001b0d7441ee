"""Hopeless runs: a training whose loss lags so far behind best's own runs that the rest of it can be saved."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from autoresearchd.experiment import CurvePoint, Direction, Ending, Measurement, Progress

EARLIEST, LATEST = 0.3, 0.7
"""The part of the budget in which a run may be pruned: before it, learning-rate warm-up; after it, the warm-down, in
which late recoveries are normal."""
LAG = 0.5
"""Hopeless is who has not reached what best's slowest run had reached after this share of the same training."""
WINDOW = 0.5
"""Losses of single batches are noisy: medians over this share of the training so far."""
FEWEST_POINTS = 3
"""In a window, on either side; coarser curves prove nothing. A run of 40 points has so many from EARLIEST on."""
FEWEST_CURVES = 2


def hopeless(live: Progress, best_runs: Sequence[Measurement], *, direction: Direction, lag: float = LAG) -> str:
    """Why a live run cannot win any more, in one sentence; '' while it may go on.

    Compared at equal use of the budget, over the training loss. Where the metric is no loss (higher is better) the
    curve proves nothing and nothing is pruned.
    """
    if direction is Direction.HIGHER or live.fraction is None or not EARLIEST <= live.fraction <= LATEST:
        return ""
    curves = [run.curve for run in best_runs if run.ending is Ending.FINISHED and run.curve]
    if len(curves) < FEWEST_CURVES or not live.curve:
        return ""
    # A budget in steps ends every run at the same one; then its clock says nothing (a shared machine changes speed).
    by_steps = len({curve[-1].step for curve in curves}) == 1
    ours = _level(live.curve, 1.0, by_steps=by_steps)
    theirs = [_level(curve, live.fraction * lag, by_steps=by_steps) for curve in curves]
    known = [level for level in theirs if level is not None]
    if ours is None or len(known) < len(theirs):
        return ""
    # The distance between best's own runs is what chance does to a curve; as much again is granted.
    limit = 2.0 * max(known) - min(known)
    if ours <= limit:
        return ""
    percent = f"{100 * live.fraction:.0f} %"
    return f"hopeless at {percent} of the budget: loss {ours:.4g}, best's runs had {max(known):.4g} after half as much"


def _level(curve: Sequence[CurvePoint], fraction: float, *, by_steps: bool) -> float | None:
    """The median loss of the window that ends at `fraction` of this curve; None where it is too coarse."""
    places = [float(point.step) if by_steps else point.seconds for point in curve]
    end = fraction * places[-1]
    near = [p.train_loss for p, place in zip(curve, places, strict=True) if end * (1.0 - WINDOW) <= place <= end]
    return statistics.median(near) if len(near) >= FEWEST_POINTS else None
