"""A training curve in one line of text. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from autoresearchd.experiment import CurvePoint

BLOCKS = "▁▂▃▄▅▆▇█"
LETTERS = "_.-=+*#@"
"""The same heights where the terminal has no blocks."""


def sparkline(curve: Sequence[CurvePoint], *, width: int = 60, heights: str = BLOCKS) -> str:
    """The train loss over the steps as at most `width` characters, each the mean of its share; empty without a curve.

    Losses that are not finite have no height and are shown as `x`.
    """
    if not curve or width < 1:
        return ""
    count = min(width, len(curve))
    edges = [round(index * len(curve) / count) for index in range(count + 1)]
    means = [_mean([point.train_loss for point in curve[a:b]]) for a, b in pairwise(edges)]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return "x" * count
    low, high = min(finite), max(finite)
    return "".join("x" if mean is None else _height(mean, low, high, heights) for mean in means)


def _mean(losses: Sequence[float]) -> float | None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    # Divided before they are added: the sum of huge losses must not overflow.
    return math.fsum(loss / len(finite) for loss in finite) if finite else None


def _height(value: float, low: float, high: float, heights: str) -> str:
    # Halved, because the span of two huge losses may be infinite.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0
    return heights[min(len(heights) - 1, max(0, int(share * len(heights))))]
