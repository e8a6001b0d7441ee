"""Two trees, one difference: how much better the candidate is, and how well that is known.

Gains are positive where the candidate is better, whatever the metric's direction.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import Direction, Measurement
from autoresearchd.judge.decision import Samples
from autoresearchd.judge.metric import by_seed, mean
from autoresearchd.judge.seeds import SELECTING_SEED, end_of, is_planned, repeats_in, selected_by
from autoresearchd.judge.spread import Spread, estimate, shrunk
from autoresearchd.judge.student import chance

CLIP = 2.0
"""A run counts up to this many standard deviations from its tree's median (Huber 1964; 2 costs 2 % efficiency on
Gaussian noise): one lucky outlier cannot carry an experiment."""
OLD_RUNS = 8
"""So many of best's newest earlier runs stand beside those made for this comparison. More would be less noisy and
older: the noise drifts over a night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The difference between two trees at one look."""

    runs: int
    """Of the candidate, one a seed."""
    best_runs: int
    gain: float
    """In the metric's unit; positive is better."""
    std_error: float
    noise: Spread
    candidate: float
    """The candidate's centre, in the metric's own direction."""
    best: float

    def p_value(self, margin: float = 0.0) -> float:
        """How often chance alone shows this much or more where the true gain is `margin`."""
        return chance(self.gain - margin, self.std_error, self.noise.degrees)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The metric by seed: what is judged, what it is compared with, and what is only reported."""

    candidate: Mapping[int, float]
    best: Mapping[int, float]
    fresh: tuple[int, ...]
    """Seeds that both have: best got them for this comparison."""
    missing: tuple[int, ...]
    """Seeds of the candidate's repeats that best has not had yet."""
    honest: int
    """Runs of best that it was not selected by."""
    reserved: Mapping[int, float]
    """Runs of the candidate that decide nothing: made after it had won, to say by how much."""
    block: int
    """Where the seeds of this comparison are."""

    def judged(self, runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """The runs of the candidate that count, without the reserved ones."""
        return tuple(run for run in runs if run.seed < end_of(self.block))


def gather(samples: Samples, *, metric: str) -> Numbers:
    """The runs that may be compared; best needs at least one number."""
    candidate, best = by_seed(samples.candidate, metric), by_seed(samples.best, metric)
    tried, trees = {run.seed for run in samples.best}, {run.tree for run in samples.baseline}
    planned = is_planned(tried) or any(run.tree in trees for run in samples.best)
    block = repeats_in(tried, planned=planned)
    judged = {seed: number for seed, number in candidate.items() if seed < end_of(block)}
    repeats = [seed for seed in judged if seed != SELECTING_SEED]
    fresh = tuple(seed for seed in repeats if seed in best)
    return Numbers(
        candidate=judged,
        best=_newest(best, fresh, planned=planned),
        fresh=fresh,
        missing=tuple(seed for seed in repeats if seed not in tried),
        honest=len(best) if planned else len(best.keys() - selected_by(tried)),
        reserved={seed: number for seed, number in candidate.items() if seed not in judged},
        block=block,
    )


def _newest(best: Mapping[int, float], fresh: Collection[int], *, planned: bool) -> dict[int, float]:
    """The numbers of best that stand for it: the fresh ones, and the newest of the others.

    Its first run is left out where others exist. The other runs that it was kept for are too good as well, though less;
    they are its oldest and the first to make room for newer ones.
    """
    lucky = () if planned or len(best) == 1 else (SELECTING_SEED,)
    old = [seed for seed in best if seed not in fresh and seed not in lucky][-OLD_RUNS:]
    return {seed: best[seed] for seed in sorted([*old, *fresh])}


def noise_of(*pools: Sequence[Measurement], metric: str, spread: Spread) -> Spread:
    """The spread that a comparison of these trees is judged by."""
    return shrunk(estimate(pools, metric=metric), spread)


def weigh(numbers: Numbers, *, direction: Direction, noise: Spread) -> Evidence:
    """The evidence that decides; both sides need at least one number."""
    return _compared(list(numbers.candidate.values()), numbers, direction, noise)


def weigh_unselected(numbers: Numbers, *, direction: Direction, noise: Spread) -> Evidence:
    """The difference as it is reported: by the reserved runs, else without the first run, else by all there is."""
    repeats = [number for seed, number in numbers.candidate.items() if seed != SELECTING_SEED]
    ours = list(numbers.reserved.values()) or repeats or list(numbers.candidate.values())
    return _compared(ours, numbers, direction, noise)


def _compared(ours: Sequence[float], numbers: Numbers, direction: Direction, noise: Spread) -> Evidence:
    theirs = list(numbers.best.values())
    candidate, best = _centre(ours, noise.std_dev), _centre(theirs, noise.std_dev)
    return Evidence(
        runs=len(ours),
        best_runs=len(theirs),
        gain=direction.gain(candidate, best),
        std_error=noise.std_dev * math.sqrt(1.0 / len(ours) + 1.0 / len(theirs)),
        noise=noise,
        candidate=candidate,
        best=best,
    )


def _centre(numbers: Sequence[float], std_dev: float) -> float:
    """A mean that wild runs cannot move far; the plain mean for one or two runs."""
    if len(numbers) < 3 or std_dev == 0.0:
        return mean(numbers)
    middle, reach = statistics.median(numbers), CLIP * std_dev
    return middle + mean([max(-reach, min(reach, number - middle)) for number in numbers])
