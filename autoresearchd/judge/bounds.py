"""How much evidence is enough at each look: the two boundaries of a group-sequential test, computed once.

Plain mathematics on the standard scale (one run has standard deviation 1); knows nothing of runs and trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

EFFECT = 2.0
"""The gain, in standard deviations of one run, that the discard boundary must not lose."""
MISS = 0.12
"""Chance that a gain of EFFECT is discarded, over all looks."""
MISS_AT_FIRST = 0.08
"""The share of it that is spent on the first run: most changes are useless, and here they cost nothing more."""
MISS_POWER = 0.3
"""How the rest of it is spent over the later looks: below 1 sooner, which saves runs of what does nothing."""
POINTS = 160
"""Of the grid that the integration runs on."""
WIDTH = 6.0
"""Standard deviations of the score beyond which no path is followed."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What one look asks for."""

    discard_below: float
    """Gain in standard deviations of one run."""
    keep_level: float
    """The p-value that is small enough; 0 where no keep is possible."""


@dataclass(frozen=True, slots=True)
class _Density:
    """The undecided paths' sub-density under no gain, on a grid of the score process."""

    points: tuple[float, ...]
    mass: tuple[float, ...]
    """Density times the grid's step."""


def expected_best_runs(runs: int) -> float:
    """How many runs of best a comparison rests on when the candidate has had `runs`."""
    return 6.0 + (runs - 1) / 2.0


def information(runs: int) -> float:
    """The inverse of the variance of the gain, when the candidate has had `runs`."""
    return 1.0 / (1.0 / runs + 1.0 / expected_best_runs(runs))


@cache
def bounds(alpha: float, looks: int) -> tuple[Bound, ...]:
    """The boundaries for each number of the candidate's runs, 1 to `looks`.

    Both errors are spent look by look (Lan & DeMets 1983; two at once: Pampallona, Tsiatis & Kim 2001): `alpha`, the
    chance to keep what gains nothing, evenly; MISS, the chance to discard a gain of EFFECT, by a power of the time (Kim
    & DeMets 1987). The first look keeps nothing, unless it is the only one. Crossing probabilities come from the
    recursive integration of Armitage, McPherson & Rowe (1969). The discard boundary is binding: nobody overrules it.
    """
    found: list[Bound] = []
    density, before = _Density((0.0,), (1.0,)), 0.0
    for look in range(1, looks + 1):
        now = information(look)
        step, root = now - before, math.sqrt(now)
        share, previous = _share(look, looks), _share(look - 1, looks)
        keep = math.inf
        if share > 0.0:
            # Never easier than one honest test at this level: what is reported as confidence must hold by itself.
            keep = max(_upper(density, step, alpha * (share - previous)), _quantile(alpha) * root)
        discard = min(_lower(density, step, before, _missed(look, looks) - _missed(look - 1, looks)), keep)
        found.append(Bound(discard / now, _above(keep / root)))
        density = _advance(density, step, discard, min(keep, EFFECT * now + WIDTH * root))
        before = now
    return tuple(found)


@cache
def keep_levels(alpha: float, looks: int) -> tuple[float, ...]:
    """The p-value that is small enough at each of so many looks, of equal information, any of which may be the last.

    `alpha` is spent evenly (Lan & DeMets 1983). No discard is counted on: who comes to look again, for whatever reason,
    still keeps what gains nothing no more often than that.
    """
    found: list[float] = []
    density = _Density((0.0,), (1.0,))
    for look in range(1, looks + 1):
        root = math.sqrt(look)
        keep = _upper(density, 1.0, alpha / looks)
        found.append(_above(keep / root))
        density = _advance(density, 1.0, -WIDTH * root, keep)
    return tuple(found)


def _share(look: int, looks: int) -> float:
    """How much of the errors is spent up to a look; the first look spends nothing unless it is the only one."""
    return max(0.0, (look - 1) / (looks - 1)) if looks > 1 else float(look)


def _missed(look: int, looks: int) -> float:
    """The chance to discard a gain of EFFECT that is spent up to a look."""
    if look == 0:
        return 0.0
    later: float = _share(look, looks) ** MISS_POWER
    return MISS_AT_FIRST + (MISS - MISS_AT_FIRST) * later


def _above(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _quantile(level: float) -> float:
    return _solve(lambda z: _above(z) - level, -10.0, 10.0)


def _upper(density: _Density, step: float, spend: float) -> float:
    """The score above which a path without gain ends with probability `spend`."""
    scale = math.sqrt(step)

    def excess(bound: float) -> float:
        pairs = zip(density.points, density.mass, strict=True)
        return math.fsum(mass * _above((bound - point) / scale) for point, mass in pairs) - spend

    return _solve(excess, -50.0, 100.0)


def _lower(density: _Density, step: float, information: float, spend: float) -> float:
    """The score below which a path with a gain of EFFECT ends with probability `spend`."""
    scale = math.sqrt(step)
    tilted = [
        (point, mass * math.exp(EFFECT * point - EFFECT * EFFECT * information / 2.0))
        for point, mass in zip(density.points, density.mass, strict=True)
    ]

    def missing(bound: float) -> float:
        return spend - math.fsum(mass * _above((point + EFFECT * step - bound) / scale) for point, mass in tilted)

    return _solve(missing, -50.0, 100.0)


def _advance(density: _Density, step: float, low: float, high: float) -> _Density:
    """The paths that stay between the two boundaries, one look later (midpoint rule)."""
    width = (high - low) / POINTS
    if width <= 0.0:
        return _Density((low,), (0.0,))
    pairs = tuple(zip(density.points, density.mass, strict=True))
    factor = width / math.sqrt(2.0 * math.pi * step)
    points = tuple(low + (index + 0.5) * width for index in range(POINTS))
    mass = tuple(
        factor * math.fsum(weight * math.exp(-((point - origin) ** 2) / (2.0 * step)) for origin, weight in pairs)
        for point in points
    )
    return _Density(points, mass)


def _solve(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero; the end of the interval where it does not."""
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if falling(middle) > 0.0 else (low, middle)
    return high
