"""A model of what a change of constants gains, with its uncertainty: additive over constants, from few noisy runs.

A Gaussian process (Rasmussen & Williams 2006, ch. 2 and 5) on coordinates in coarse steps. Its prior says what is known
before any run: some constants matter more than others, and the author's values are better than values far from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoresearchd.experiment import Outcome
from autoresearchd.propose._observations import Observation, Values, View
from autoresearchd.propose._ranges import weight

Array = NDArray[np.float64]
MEMORY = 200
"""So many of the newest measured experiments are learnt from."""
LENGTH = 2.0
"""Steps over which the effect of one constant stays alike."""
OTHER = math.exp(-0.5 / LENGTH**2)
"""How alike the effects of two choices are: as those of two numbers a step apart."""
PULL = 0.3
"""How much a first step away from the author's value is expected to lose, in units of what it may gain."""
REST = 0.3
"""Size of what is not additive."""
LARGEST_LOSS = 6.0
"""Losses beyond so many noises are cut: that something is hopeless is enough to know."""
PRUNED_LOSS = 3.0
VISIBLE = 1.0
"""Gains below so many noises of one run are rarely kept."""
FEWEST = 15
"""Measured experiments below which nothing can be said of how well the model foretells them."""
EXPLAINED = 0.5
"""Share of their differences that it has to foretell before its word is worth anything.

On the formula of tests/propose it has that after 15 experiments (211 of 220 times); where nothing but noise makes them
differ, it had it 1 time in 384.
"""
USUALLY = 0.8
"""Share of the errors of old by which a new one is bounded: on that formula 75 % of them then were, in 220 trials."""
SCALES = (0.3, 1.0, 3.0, 10.0)
NOISES = (0.1, 0.3, 1.0)
RELEVANCES = (0.25, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class _Prior:
    numeric: NDArray[np.bool_]
    """[constants]; the others are choices"""
    anchor: Array
    """[constants] coordinates at which the author left them"""
    weights: Array
    """[constants]"""
    scale: float
    noise: float

    def kernel(self, a: Array, b: Array) -> Array:
        """Covariances [a, b] of the true scores."""
        return self.covariance(self.alike(a, b))

    def alike(self, a: Array, b: Array) -> Array:
        """Correlation [a, b, constants] of each constant's own effect."""
        away = a[:, None, :] - b[None, :, :]
        return np.where(self.numeric, np.exp(-0.5 * (away / LENGTH) ** 2), np.where(np.abs(away) < 0.5, 1.0, OTHER))

    def covariance(self, alike: Array) -> Array:
        together = np.prod(alike, axis=2)
        level = 100.0  # nobody knows the baseline's true score
        return np.asarray(self.scale**2 * (alike @ self.weights**2 + REST**2 * together + level), dtype=np.float64)

    def mean(self, points: Array) -> Array:
        """Expected scores [points] before any run."""
        away = points - self.anchor
        loss = np.where(self.numeric, away**2, np.abs(away) > 0.5) @ self.weights
        return np.asarray(-PULL * self.scale * loss, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """How well the model foretells each measured experiment from all the others."""

    measured: int
    explained: float
    """Share of how they differ that it foretells; 0 or less where their mean does as well."""
    within: float
    """USUALLY of them lay so near to what was foretold, in the metric's unit, hopeless losses uncut."""

    @property
    def is_shown(self) -> bool:
        return self.measured >= FEWEST and self.explained >= EXPLAINED


class Surrogate:
    """The model after the runs in a view; what `expect` returns is relative to best."""

    def __init__(self, view: View, *, smallest_gain: float = 0.0) -> None:
        self._smallest = smallest_gain
        self._constants = view.constants
        counted = [o for o in view.observations if o.score is not None or o.outcome is Outcome.PRUNED]
        seen = counted if len(counted) <= MEMORY else [counted[0], *counted[1 - MEMORY :]]
        points = self.points([o.values for o in seen])
        author = seen[0].values if seen else view.best
        scores, noise = _scores(seen, view.noise)
        runs = np.array([o.runs for o in seen], dtype=np.float64)
        weights = np.array([weight(constant.name) for constant in view.constants])
        numeric = np.array([constant.range.is_numeric for constant in view.constants])
        prior = _Prior(numeric, self.points([author])[0], weights, noise, noise)
        self._prior = _fitted(prior, points, scores, runs, known_noise=view.noise is not None)
        self._points, self._best = points, self.points([view.best])
        variances = self._prior.noise**2 / np.maximum(runs, 1)
        self._solve(points, scores, variances)
        self.skill = self._skill(seen, scores)
        if view.pending:
            # What is being measured now is believed to turn out as expected: it takes away the uncertainty only.
            waiting = self.points(list(view.pending))
            believed = self._posterior(waiting)
            self._solve(
                np.vstack([points, waiting]),
                np.concatenate([scores, believed]),
                np.concatenate([variances, np.full(len(waiting), self._prior.noise**2)]),
            )

    @property
    def noise(self) -> float:
        """Standard deviation of one run, measured or fitted."""
        return self._prior.noise

    def points(self, values: Sequence[Values]) -> Array:
        """Coordinates [values, constants]; a constant that a tree does not have stands where best has it."""
        rows = [[c.range.coordinate(v.get(c.key, c.value)) for c in self._constants] for v in values]
        return np.array(rows, dtype=np.float64).reshape(len(values), len(self._constants))

    def expect(self, values: Sequence[Values]) -> tuple[Array, Array]:
        """Mean and standard deviation [values] of the gain over best, in the metric's unit."""
        points = self.points(values)
        both = np.vstack([points, self._best])
        mean = self._posterior(both)
        half = np.linalg.solve(self._factor, self._prior.kernel(self._points, both))  # [seen, both]
        variance = self._prior.kernel(self._best, self._best)[0, 0] - np.sum(half**2, axis=0)
        shared = self._prior.kernel(both, self._best)[:, 0] - half.T @ half[:, -1]
        spread = np.maximum(variance[:-1] + variance[-1] - 2 * shared[:-1], 1e-18)
        return mean[:-1] - mean[-1], np.sqrt(spread)

    def promise(self, values: Sequence[Values]) -> Array:
        """What a run of each of `values` is worth, in the metric's unit.

        Augmented expected improvement (Huang et al. 2006) over the smallest gain that the judge would see: the
        expected improvement (Jones et al. 1998), less where a run would only show again what is known.
        """
        if not values:
            return np.zeros(0)
        mean, deviation = self.expect(values)
        mean = mean - max(self._smallest, VISIBLE * self.noise)
        z = mean / deviation
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
        news = 1.0 - self.noise / np.sqrt(deviation**2 + self.noise**2)
        return np.asarray((deviation * density + mean * below) * news, dtype=np.float64)

    def _skill(self, seen: Sequence[Observation], scores: Array) -> Skill:
        """Leaves out each measured run in turn (Rasmussen & Williams 2006, eq. 5.12), for their mean as well."""
        measured = np.array([o.score is not None for o in seen], dtype=np.bool_)
        count = int(np.sum(measured))
        if count < FEWEST:
            return Skill(measured=count, explained=0.0, within=math.inf)
        half = np.linalg.solve(self._factor, np.eye(len(scores)))
        wrong = (self._weights / np.sum(half**2, axis=0))[measured]
        apart = (scores[measured] - np.mean(scores[measured])) * count / (count - 1)
        spread = float(apart @ apart)
        cut = np.array([o.score for o in seen if o.score is not None]) - scores[measured]
        return Skill(
            measured=count,
            explained=1.0 - float(wrong @ wrong) / spread if spread > 0 else 0.0,
            within=float(np.quantile(np.abs(wrong + cut), USUALLY)),
        )

    def _solve(self, points: Array, scores: Array, variances: Array) -> None:
        self._points = points
        covariance = self._prior.kernel(points, points) + np.diag(variances)
        self._factor = np.linalg.cholesky(covariance + 1e-9 * self._prior.scale**2 * np.eye(len(points)))
        residual = scores - self._prior.mean(points)
        self._weights = np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, residual))

    def _posterior(self, points: Array) -> Array:
        return self._prior.mean(points) + self._prior.kernel(points, self._points) @ self._weights


def _scores(seen: Sequence[Observation], noise: float | None) -> tuple[Array, float]:
    """Scores with hopeless losses cut, and a first idea of the noise."""
    measured = np.array([o.score for o in seen if o.score is not None], dtype=np.float64)
    gains = np.array([abs(o.gain) for o in seen if o.gain], dtype=np.float64)
    unit = noise or (float(np.median(gains)) / 2 if len(gains) else 1.0)
    level = float(np.max(measured)) if len(measured) else 0.0
    floor = level - LARGEST_LOSS * max(unit, float(np.median(gains)) if len(gains) else unit)
    hopeless = max(level - PRUNED_LOSS * unit, floor)
    scores = [hopeless if o.score is None else max(o.score, floor) for o in seen]
    return np.array(scores, dtype=np.float64), unit


def _fitted(prior: _Prior, points: Array, scores: Array, runs: Array, *, known_noise: bool) -> _Prior:
    """The prior whose scale, noise and weights make the runs likeliest; one sweep, each weight held near its prior."""
    if len(points) < 4:
        return replace(prior, scale=3 * prior.noise)
    noises = [prior.noise] if known_noise else [factor * prior.noise * 2 for factor in NOISES]
    grid = [replace(prior, scale=scale * prior.noise, noise=noise) for scale in SCALES for noise in noises]
    alike = prior.alike(points, points)
    level, best = max(((_likelihood(p, points, alike, scores, runs), p) for p in grid), key=lambda found: found[0])
    moved = np.flatnonzero(np.ptp(points, axis=0) > 0)
    for index in moved:
        for relevance in RELEVANCES:
            weights = best.weights.copy()
            weights[index] = prior.weights[index] * relevance
            trial = replace(best, weights=weights)
            found = _likelihood(trial, points, alike, scores, runs) - 0.5 * math.log(relevance) ** 2
            if found > level:
                best, level = trial, found
    return best


def _likelihood(prior: _Prior, points: Array, alike: Array, scores: Array, runs: Array) -> float:
    """Log marginal likelihood of the scores."""
    covariance = prior.covariance(alike) + np.diag(prior.noise**2 / np.maximum(runs, 1))
    factor = np.linalg.cholesky(covariance + 1e-9 * prior.scale**2 * np.eye(len(points)))
    half = np.linalg.solve(factor, scores - prior.mean(points))
    return float(-0.5 * half @ half - np.sum(np.log(np.diag(factor))))
