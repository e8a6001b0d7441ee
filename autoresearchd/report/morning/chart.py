"""Where things are in the report's pictures, in per cent or per mille of the drawing; what they look like is the style
sheet's. Pure.

Drawn here and not by a plotting library: it has to follow the reader's colours and width, and to stay small with ten
thousand dots, each of which is one stroke of a path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autoresearchd.report.facts import Facts, Step
from autoresearchd.report.rows import Row

HUGE, TINY, NOTHING = 1e100, 1e-100, 1e-12
"""What is larger is not drawn, what is smaller is zero; a range that is smaller beside its values is none."""
SIDE = 1000
"""Of the square that the reader's window stretches."""
COMMON = 0.9
"""The middle share of all tries that is on the scale; the line of best always is."""
ROOM = 0.5
"""What lies further from the line of best than so much of its own height is not."""
PAD = 0.06
TICKS = 5
TONES = {"keep": "keep", "baseline": "keep", "inconclusive": "open"}
"""Looks of a dot by its verdict; all others look alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label at a distance, in per cent from the top or from the left."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """Best over the experiments, with every try; all strings are paths of an SVG of `SIDE` by `SIDE`."""

    best: str
    dots: Mapping[str, str]
    """By tone."""
    seams: str
    """Where a rebase began a new line."""
    bars: str
    """One standard error to each side of a try."""
    failed: str
    """Along the bottom: experiments that gave no number."""
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    outside: int
    """Tries beyond the scale, drawn on its edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A gain with its 95 % confidence interval, in per cent of a scale that all changes share."""

    low: float
    high: float
    gain: float
    zero: float


def staircase(facts: Facts) -> Staircase | None:
    """None before anything was measured."""
    span = visible(facts)
    if span is None:
        return None
    sheet = _Sheet(*span, last=max(row.number for row in facts.rows))
    tries = [(row, row.metric) for row in facts.rows if row.metric is not None]
    return Staircase(
        best=_stairs([(sheet.x(step.number), sheet.y(step.metric)) for step in facts.steps]),
        seams="".join(f"M{sheet.x(step.number):g} 0V{SIDE}" for step in facts.steps if step.is_seam),
        dots={tone: _dots(tries, tone, sheet) for tone in ("other", "open", "keep")},
        bars="".join(
            f"M{sheet.x(row.number):g} {sheet.y(value - row.std_error):g}V{sheet.y(value + row.std_error):g}"
            for row, value in tries
            if row.std_error
        ),
        failed="".join(f"M{sheet.x(row.number):g} {SIDE}v-14" for row in facts.rows if row.is_failed),
        rows=tuple(Tick(at=sheet.y(at) * 100 / SIDE, text=text) for at, text in _labelled(ticks(*span))),
        columns=tuple(
            Tick(at=sheet.x(number) * 100 / SIDE, text=f"{number:g}")
            for number in ticks(0, sheet.last)
            if number == int(number)
        ),
        outside=sum(not sheet.low <= value <= sheet.high for _, value in tries),
    )


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The square as it is drawn on: experiment numbers up to `last` across, values from `low` to `high` upwards."""

    low: float
    high: float
    last: int

    def x(self, number: float) -> float:
        return round(SIDE * (number + 0.5) / (self.last + 1), 1)

    def y(self, value: float) -> float:
        """What is beyond the scale lies on its edge."""
        return round(SIDE * min(1.0, max(0.0, (self.high - value) / (self.high - self.low))), 1)


def _dots(tries: Iterable[tuple[Row, float]], tone: str, sheet: _Sheet) -> str:
    """The tries of one look, each a stroke of no length."""
    own = ((row, value) for row, value in tries if TONES.get(row.verdict, "other") == tone)
    return "".join(f"M{sheet.x(row.number):g} {sheet.y(value):g}h0" for row, value in own)


def intervals(rows: Sequence[Row]) -> tuple[Interval | None, ...]:
    """One for each row, on one scale; None where a row has no gain."""
    reaches = [None if row.gain is None else row.interval or (row.gain, row.gain) for row in rows]
    edges = [0.0, *(edge for reach in reaches if reach for edge in reach)]
    least, span = min(edges), (max(edges) - min(edges)) or 1.0

    def share(value: float) -> float:
        return round(100 * (value - least) / span, 2)

    return tuple(
        None
        if row.gain is None or reach is None
        else Interval(low=share(reach[0]), high=share(reach[1]), gain=share(row.gain), zero=share(0.0))
        for row, reach in zip(rows, reaches, strict=True)
    )


def ticks(low: float, high: float) -> tuple[float, ...]:
    """About `TICKS` round values from `low` to `high`."""
    if not high > low:
        return (low,)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(index * step for index in range(first, math.floor(high / step + 1e-9) + 1))


def _labelled(values: Sequence[float]) -> Iterable[tuple[float, str]]:
    """All with as many decimals as tell them apart."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(value, f"{value:.{places}f}" if places < 6 else f"{value:.3g}") for value in values]


def visible(facts: Facts) -> tuple[float, float] | None:
    """The lowest and the highest value shown: some tries are so bad that nothing else could be seen beside them.

    None before anything was measured.
    """
    values = sorted(_drawable(row.metric for row in facts.rows if row.metric is not None))
    line = list(_drawable(_with_errors(facts.steps)))
    if not values or not line:
        return None
    beyond = int(len(values) * (1 - COMMON) / 2)
    common = values[beyond : len(values) - beyond]
    low, high = min(line), max(line)
    reach = ROOM * (high - low) if len(facts.steps) > 1 else math.inf
    low, high = min(low, max(low - reach, common[0])), max(high, min(high + reach, common[-1]))
    pad = PAD * (high - low if high - low > NOTHING * abs(low) else abs(low) or 1.0)
    return low - pad, high + pad


def _drawable(values: Iterable[float]) -> Iterable[float]:
    """Without those that no scale has room for; a target may say anything."""
    return (value if abs(value) > TINY else 0.0 for value in values if abs(value) < HUGE)


def _with_errors(steps: Iterable[Step]) -> Iterable[float]:
    for step in steps:
        yield step.metric - (step.std_error or 0.0)
        yield step.metric + (step.std_error or 0.0)


def _stairs(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *others = points
    return f"M{x:g} {y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in others) + f"H{SIDE}"
