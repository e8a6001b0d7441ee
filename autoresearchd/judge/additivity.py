"""Whether wins that were found side by side add up: what each gained alone, and what on top of the faster one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from autoresearchd.experiment import ON_BEST, Concluded, Direction, Experiment, Gain, Outcome, Verdict
from autoresearchd.judge.decision import Rules, Samples
from autoresearchd.judge.evidence import gather, noise_of, weigh
from autoresearchd.judge.metric import by_seed
from autoresearchd.judge.spread import Spread

BEYOND_CHANCE = 2.0
"""Standard errors: what is less is no win yet, and no loss."""


class Fate(StrEnum):
    """What became of a win that was moved onto a faster one; the word is shown."""

    ADDED_UP = "added up"
    IN_PART = "added up in part"
    REDUNDANT = "gained nothing more"
    CONFLICT = "conflicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Wins found side by side, with what they gained alone and what of that is on best."""

    fates: tuple[tuple[Fate, int], ...]
    """In the order of Fate, only those that came."""
    alone: Gain
    together: Gain


def standing(samples: Samples, *, rules: Rules, spread: Spread) -> Gain | None:
    """What a candidate gains as far as it was measured; None where that may be chance. Its first run is a lucky one."""
    if not (by_seed(samples.best, rules.metric) and by_seed(samples.candidate, rules.metric)):
        return None
    numbers = gather(samples, metric=rules.metric)
    noise = noise_of(samples.best, numbers.judged(samples.candidate), metric=rules.metric, spread=spread)
    evidence = weigh(numbers, direction=rules.direction, noise=noise)
    if not noise.degrees or evidence.gain <= BEYOND_CHANCE * evidence.std_error:
        return None
    return Gain(value=evidence.gain, std_error=evidence.std_error)


def gain_of(verdict: Verdict, direction: Direction) -> Gain | None:
    """What a verdict says that was gained on the parent; None where it gave no number."""
    if verdict.metric is None or verdict.baseline is None:
        return None
    return Gain(value=direction.gain(verdict.metric, verdict.baseline), std_error=verdict.std_error)


def added(experiment: Experiment, verdict: Verdict, *, direction: Direction) -> Verdict:
    """The verdict with what the experiment gains on top of the faster win, where it was moved onto one."""
    return verdict if experiment.alone is None else replace(verdict, together=gain_of(verdict, direction))


def fate(concluded: Concluded) -> Fate | None:
    """What became of a win that was moved onto a faster one; None for every other experiment."""
    alone, together = concluded.experiment.alone, concluded.verdict.together
    if alone is None:
        return None
    if concluded.verdict.outcome is Outcome.STALE:
        return Fate.CONFLICT
    if concluded.verdict.outcome not in ON_BEST or together is None:
        return Fate.REDUNDANT
    error = math.hypot(alone.std_error or 0.0, together.std_error or 0.0)
    return Fate.ADDED_UP if alone.value - together.value <= BEYOND_CHANCE * error else Fate.IN_PART


def tally(rows: Iterable[Concluded]) -> Tally:
    """All fates counted; what is not on best has gained nothing together."""
    found = [(end, row) for row in rows if (end := fate(row)) is not None]
    fates = [end for end, _ in found]
    kept = [row.verdict.together for end, row in found if end in (Fate.ADDED_UP, Fate.IN_PART)]
    return Tally(
        fates=tuple((end, fates.count(end)) for end in Fate if end in fates),
        alone=_sum(row.experiment.alone for _, row in found),
        together=_sum(kept),
    )


def _sum(gains: Iterable[Gain | None]) -> Gain:
    known = [gain for gain in gains if gain is not None]
    return Gain(
        value=sum(gain.value for gain in known), std_error=math.hypot(*(gain.std_error or 0.0 for gain in known))
    )
