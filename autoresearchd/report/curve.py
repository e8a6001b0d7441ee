"""A training curve in one line of text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from autoresearchd.experiment import CurvePoint

BLOCKS = "▁▂▃▄▅▆▇█"
LETTERS = "_.-=+*#@"
"""The same heights where the terminal has no blocks."""
STEEP = 0.1
"""Share of the time in which a loss falls so fast that the rest would look flat beside it."""


def sparkline(curve: Sequence[CurvePoint], *, width: int = 60, heights: str = BLOCKS) -> str:
    """The train loss over the steps as at most `width` characters, each the mean of its share; empty without a curve.

    Losses that are not finite have no height and are shown as `x`.
    """
    if not curve or width < 1:
        return ""
    count = min(width, len(curve))
    edges = [round(index * len(curve) / count) for index in range(count + 1)]
    means = [_mean([point.train_loss for point in curve[a:b]]) for a, b in pairwise(edges)]
    low, high = _range(means)
    return "".join("x" if mean is None else _height(mean, low, high, heights) for mean in means)


def against(
    own: Sequence[CurvePoint], best: Sequence[CurvePoint], *, width: int = 60, heights: str = BLOCKS
) -> tuple[str, str]:
    """Two curves under each other: equal training time in equal columns, on one scale; the later end fills `width`.

    The scale is that of the time after the steep beginning. A column in which nothing was said repeats the one before.
    """
    end = max(point.seconds for point in (*own, *best)) or 1.0
    columns = [_columns(curve, end, width) for curve in (own, best)]
    settled = [mean for curve in columns for at, mean in curve.items() if at >= STEEP * width]
    low, high = _range(settled or [mean for curve in columns for mean in curve.values()])
    upper, lower = (
        "".join("x" if mean is None else _height(mean, low, high, heights) for mean in _without_gaps(curve))
        for curve in columns
    )
    return upper, lower


def _columns(curve: Sequence[CurvePoint], end: float, width: int) -> dict[int, float | None]:
    found: dict[int, list[float]] = {}
    for point in curve:
        found.setdefault(min(width - 1, int(point.seconds / end * width)), []).append(point.train_loss)
    return {at: _mean(losses) for at, losses in found.items()}


def _without_gaps(columns: Mapping[int, float | None]) -> Iterator[float | None]:
    last = next(iter(columns.values()), None)
    for at in range(max(columns, default=-1) + 1):
        last = columns.get(at, last)
        yield last


def _range(means: Iterable[float | None]) -> tuple[float, float]:
    finite = [mean for mean in means if mean is not None]
    return min(finite, default=0.0), max(finite, default=0.0)


def _mean(losses: Sequence[float]) -> float | None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return None
    # Divided before they are added: the sum of huge losses must not overflow.
    largest = max(map(abs, finite)) or 1.0
    return math.fsum(loss / largest for loss in finite) / len(finite) * largest


def _height(value: float, low: float, high: float, heights: str) -> str:
    # Halved, because the span of two huge losses may be infinite.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0
    return heights[min(len(heights) - 1, max(0, int(share * len(heights))))]
