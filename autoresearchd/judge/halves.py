"""What each of several changes is worth on top of one tree, when every run has another half of them.

Then every run says something about every change: the screening design of Plackett & Burman (Biometrika 33, 1946), with
the judge's own boundaries. To bisect would take more runs, and never find what gains nothing in a stack that gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from autoresearchd.experiment import Direction
from autoresearchd.judge.bounds import bounds, expected_best_runs
from autoresearchd.judge.decision import Rules
from autoresearchd.judge.spread import Spread, shrunk
from autoresearchd.judge.student import upper_tail

Half = frozenset[int]
"""The changes that one run has, by place."""
ORDERS = (3, 7, 11, 19, 23)
"""Primes one below a multiple of four: of each there is a design of one run more (Paley 1933)."""
SPARE = 3
"""Runs of a replicate beyond what it tells of: of fewer than these the noise is not known, and another is made."""
MOST = ORDERS[-1] - SPARE
"""Changes that one design bears."""


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

    @property
    def p_value(self) -> float:
        """How often chance alone shows this much or more where it gains nothing."""
        if self.noise.degrees == 0:
            return 1.0
        if self.std_error == 0.0:
            return 0.0 if self.gain > 0 else 1.0
        return upper_tail(self.gain / self.std_error, self.noise.degrees)


@cache
def design(changes: int, replicate: int) -> tuple[Half, ...]:
    """The halves of one replicate: each change is in half of them, and any two together in a quarter.

    Of one change there are two: all of it and nothing.

    Every second replicate has the opposite halves (fold-over): what two changes do only together is then told from
    what each does.
    """
    if changes == 1:
        return frozenset({0}), frozenset()
    order = next(prime for prime in ORDERS if prime >= changes)
    squares = {number * number % order for number in range(order)}
    halves = [frozenset(c for c in range(changes) if (c - row) % order in squares) for row in range(order)]
    every = frozenset(range(changes))
    return tuple(every - half if replicate % 2 else half for half in [*halves, frozenset[int]()])


def replicates(changes: int, rules: Rules) -> int:
    """Most of them: as many runs as two trees may be given to be compared, and enough to know the noise."""
    runs = len(design(changes, 0))
    return max(math.ceil(2 * rules.max_repeats / runs), 1 if runs - 1 - changes >= SPARE else 2)


def effects(seen: Sequence[Seen], *, changes: int, direction: Direction, spread: Spread) -> tuple[Effect, ...] | None:
    """By least squares, each replicate with a level of its own; None where the runs cannot tell the changes apart.

    `spread` is what is known of the noise from repeats elsewhere.
    """
    import numpy

    levels = sorted({run.replicate for run in seen})
    rows = [
        [*(float(place in run.half) for place in range(changes)), *(float(run.replicate == level) for level in levels)]
        for run in sorted(seen, key=lambda run: (run.replicate, sorted(run.half)))
    ]
    numbers = [run.number for run in sorted(seen, key=lambda run: (run.replicate, sorted(run.half)))]
    columns = changes + len(levels)
    if not rows or int(numpy.linalg.matrix_rank(rows)) < columns:
        return None
    matrix = numpy.array(rows)
    inverse = numpy.linalg.inv(matrix.T @ matrix)
    found = inverse @ matrix.T @ numpy.array(numbers)
    degrees = len(rows) - columns
    squares = float(numpy.sum((matrix @ found - numpy.array(numbers)) ** 2))
    own = Spread(std_dev=math.sqrt(squares / degrees) if degrees else 0.0, degrees=degrees)
    noise = shrunk(own, spread)
    return tuple(
        Effect(
            gain=direction.gain(float(found[place]), 0.0),
            std_error=noise.std_dev * math.sqrt(float(inverse[place][place])),
            noise=noise,
            runs=len(rows),
        )
        for place in range(changes)
    )


def holds(effect: Effect | None, rules: Rules) -> bool | None:
    """Whether a change is shown to gain something; None while that is open. Without an effect it is not.

    By the boundaries of a comparison of two trees, at the look that has as much information as these runs.
    """
    if effect is None:
        return False
    information = math.inf if effect.std_error == 0.0 else (effect.noise.std_dev / effect.std_error) ** 2
    look = max((n for n in range(1, rules.max_repeats + 1) if _information(n) <= information), default=1)
    bound = bounds(1.0 - rules.confidence, rules.max_repeats)[look - 1]
    if effect.p_value <= bound.keep_level:
        return True
    if effect.gain <= 0.0 or effect.gain < bound.discard_below * effect.noise.std_dev:
        return False
    return False if look == rules.max_repeats and effect.noise.degrees else None


def _information(look: int) -> float:
    return 1.0 / (1.0 / look + 1.0 / expected_best_runs(look))
