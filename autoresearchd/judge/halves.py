"""What each of several changes is worth on top of one tree, when every run has another half of them.

Then every run says something about every change: the screening design of Plackett & Burman (Biometrika 33, 1946), at
the judge's own level. To bisect would take more runs, and never find what gains nothing in a stack that gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from autoresearchd.judge.bounds import bounds, information, keep_levels
from autoresearchd.judge.decision import Rules
from autoresearchd.judge.spread import Spread, shrunk
from autoresearchd.judge.student import chance

Half = frozenset[int]
"""The changes that one run has, by place."""
ORDERS = (3, 7, 11, 19, 23)
"""Primes one below a multiple of four: of each there is a design of one run more (Paley 1933)."""
SPARE = 3
"""Runs beyond what they tell of: of fewer than these the noise is not known."""
MOST = ORDERS[-1] - SPARE
"""Changes that one design bears."""
GRAIN = 1e-12
"""Share of the largest number that is rounding, and no difference: a script may repeat itself to the last digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One finished run."""

    half: Half
    replicate: int
    """Runs of one replicate have the same seed."""
    number: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one change gains beside half of the others; positive is better, in the metric's unit."""

    gain: float
    std_error: float
    noise: Spread
    runs: int
    holds: bool | None
    """Whether it is shown to gain something; None while that is open."""


def designs(changes: int, rules: Rules) -> tuple[tuple[Half, ...], ...]:
    """The halves of each replicate that may be made; in all about as many runs as two trees may be given.

    Each change is in half of a replicate's runs, and any two together in a quarter. Of one change there are two runs:
    all of it and nothing. Every second replicate has the opposite halves (fold-over): what two changes do only together
    is then told from what each does.
    """
    return _designs(changes, 2 * rules.max_repeats)


@cache
def _designs(changes: int, runs: int) -> tuple[tuple[Half, ...], ...]:
    """Of the designs that bear so many changes, the one that takes the fewest runs."""
    bearing = (
        [_square(order) for order in ORDERS if order >= changes] if changes > 1 else [(frozenset({0}), frozenset())]
    )

    def replicates(design: Sequence[Half]) -> int:
        told = len(design) - 1
        return max(math.ceil(runs / len(design)), math.ceil((changes + SPARE) / told))

    chosen = min(bearing, key=lambda design: len(design) * replicates(design))
    every = frozenset(range(changes))
    halves = [half & every for half in chosen]
    opposite = [every - half for half in halves]
    return tuple(tuple(opposite if replicate % 2 else halves) for replicate in range(replicates(chosen)))


def _square(order: int) -> tuple[Half, ...]:
    """As many changes as a prime, in one run more: its quadratic residues, shifted from run to run, and nothing."""
    squares = {number * number % order for number in range(order)}
    rows = (frozenset(place for place in range(order) if (place - row) % order in squares) for row in range(order))
    return *rows, frozenset()


def effects(seen: Sequence[Seen], *, changes: int, rules: Rules, spread: Spread) -> tuple[Effect, ...] | None:
    """What the replicates so far tell; None where their runs cannot tell the changes apart.

    `spread` is what is known of the noise from repeats elsewhere.
    """
    fitted = _fitted(sorted(seen, key=lambda run: (run.replicate, sorted(run.half))), changes)
    if fitted is None:
        return None
    slopes, own = fitted
    noise, looks = shrunk(own, spread), len(designs(changes, rules))
    look = 1 + max(run.replicate for run in seen)
    found = [(rules.direction.gain(slope, 0.0), noise.std_dev * math.sqrt(variance)) for slope, variance in slopes]
    return tuple(
        Effect(
            gain=gain,
            std_error=error,
            noise=noise,
            runs=len(seen),
            holds=_holds(gain, error, noise, rules, look=look, looks=looks),
        )
        for gain, error in found
    )


def _fitted(seen: Sequence[Seen], changes: int) -> tuple[list[tuple[float, float]], Spread] | None:
    """Least squares, each replicate with a level of its own: slope and variance (of noise 1) of each; what is left."""
    import numpy

    levels = sorted({run.replicate for run in seen})
    rows = [
        [*(place in run.half for place in range(changes)), *(run.replicate == each for each in levels)] for run in seen
    ]
    matrix, numbers = numpy.array(rows, dtype=float), numpy.array([run.number for run in seen])
    columns = changes + len(levels)
    if not rows or int(numpy.linalg.matrix_rank(matrix)) < columns:
        return None
    inverse = numpy.linalg.inv(matrix.T @ matrix)
    found = inverse @ matrix.T @ numbers
    degrees = len(rows) - columns
    grain = GRAIN * float(numpy.max(numpy.abs(numbers)))
    left = math.sqrt(float(numpy.sum((matrix @ found - numbers) ** 2)) / degrees) if degrees else 0.0
    slopes = [slope if abs(slope) > grain else 0.0 for slope in map(float, found[:changes])]
    own = Spread(std_dev=left if left > grain else 0.0, degrees=degrees)
    return list(zip(slopes, map(float, numpy.diag(inverse)), strict=False)), own


def _holds(gain: float, std_error: float, noise: Spread, rules: Rules, *, look: int, looks: int) -> bool | None:
    """Whether a change is shown to gain something at this look; None while another may show it.

    What is given up, by the judge's own boundary at as much information, is looked at again where others need it.
    """
    alpha, is_last = 1.0 - rules.confidence, look == looks
    # Looks at hardly known noise agree less with later ones than the levels reckon with.
    may_show = is_last or noise.degrees >= SPARE
    if may_show and chance(gain, std_error, noise.degrees) <= keep_levels(alpha, looks)[look - 1]:
        return True
    known = math.inf if std_error == 0.0 else (noise.std_dev / std_error) ** 2
    runs = max((n for n in range(1, rules.max_repeats + 1) if information(n) <= known), default=1)
    is_hopeless = gain <= 0.0 or gain < bounds(alpha, rules.max_repeats)[runs - 1].discard_below * noise.std_dev
    return False if is_hopeless or is_last else None
