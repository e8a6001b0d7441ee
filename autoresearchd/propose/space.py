"""`space`: search over the constants that the editable files declare, through Optuna, from where best stands.

Optuna draws settings, a model of gains picks the few changes of best that promise most, limits rule out what fails.
With tens of experiments and as many constants, one to three changes at a time find more than whole new settings do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from autoresearchd.proposal import Proposal
from autoresearchd.propose._limits import Limits
from autoresearchd.propose._observations import Observations, Values, View
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._samples import draw
from autoresearchd.propose._surrogate import USUALLY, Surrogate
from autoresearchd.propose._wording import proposal
from autoresearchd.propose.constants import Constant, Value

COARSE, FINE, FAR = 1.0, 0.5, 2.0
MOST_CHANGES = 3
DRAWS = 6
BEST_SINGLES, BEST_PAIRS = 10, 8
NEARLY = 0.97
"""Candidates that promise this share of the best one are as good: chance picks."""
FARTHEST = 1.5
"""Steps that a drawn setting may lie from best: a box as wide as all the ranges is mostly bad."""
SMALL_STEP = 0.2
"""Moves below so many steps are not worth a line."""
CHANCES = 64
"""Settings drawn by chance once what was planned is used up: a device must not idle for want of an idea."""


class Space:
    """Proposes new values for one to three constants of best."""

    name = "space"

    def __init__(self, observations: Observations | None = None) -> None:
        """`observations` may be another's as well: they read the same history."""
        self._observations = observations or Observations()

    async def propose(self, context: Context) -> Proposal | None:
        """The change that promises most; None where there are no constants, or nothing is left to try."""
        view = self._observations.read(context)
        if not view.constants:
            return None
        limits = Limits(view, context)
        surrogate = Surrogate(view, smallest_gain=context.program.accept.min_delta)
        changes = self._choose(context, view, limits, surrogate)
        if changes is None:
            return None
        rationale = explain(context, view, surrogate, changes)
        return proposal(context, view, changes, proposer=self.name, rationale=rationale)

    def _choose(self, context: Context, view: View, limits: Limits, surrogate: Surrogate) -> Values | None:
        sampler, rng = context.program.propose.space.sampler, context.rng

        def fit(candidates: Iterator[Values]) -> list[Values]:
            fresh = {tuple(sorted(c.items())): c for c in candidates if c and view.is_new(c) and limits.allow(c)}
            return list(fresh.values())

        drawn = draw(sampler, view, count=DRAWS, seed=rng.getrandbits(32))
        if sampler == "random":
            candidates = fit(_some(view, setting, rng) for setting in drawn)
        elif sampler == "cma-es":
            candidates = fit(_moves(view, setting) for setting in drawn)
        else:
            singles = fit(_singles(view.constants))
            singles = _top(surrogate, [*singles, *fit(_each(view, drawn))], count=None)
            pairs = fit(_joined(singles[:BEST_SINGLES], singles[:BEST_SINGLES]))
            pairs = _top(surrogate, pairs, count=BEST_PAIRS)
            candidates = [*singles, *pairs, *fit(_joined(pairs, singles[:BEST_SINGLES]))]
        if not candidates:
            chances = draw("random", view, count=CHANCES, seed=rng.getrandbits(32))
            candidates = fit(_some(view, setting, rng) for setting in chances)
        if sampler == "random":
            return candidates[0] if candidates else None
        return _pick(surrogate, candidates, rng)


def explain(context: Context, view: View, surrogate: Surrogate, changes: Values) -> str:
    """What history says about a change, in a few sentences."""
    lines = [_forecast(context, surrogate, changes)]
    for key in changes:
        tried = [o for o in view.observations if o.pure and key in o.changed and o.gain is not None]
        name = key.partition(":")[2]
        if not tried:
            lines.append(f"{name} was not moved before.")
            continue
        best = max(tried, key=lambda o: o.gain or 0.0)
        lines.append(
            f"{name} was moved {len(tried)} times; the best of them, experiment {best.number:04d}, "
            f"went from {best.before[key]} to {best.values[key]} and gained {best.gain:+.5f}."
        )
    return " ".join(lines)


def _forecast(context: Context, surrogate: Surrogate, changes: Values) -> str:
    """What the model expects of a change, once it has shown that it foretells what it was not told."""
    skill = surrogate.skill
    if not skill.is_shown:
        measured = "1 experiment" if skill.measured == 1 else f"{skill.measured} experiments"
        return f"What it gains is not foretold: {measured} measured so far, too few to say."
    mean, metric = float(surrogate.expect([changes])[0][0]), context.program.metric.compared
    return (
        f"The model of gains expects {mean:+.2g} in {metric} (positive is better); of the {skill.measured} measured "
        f"experiments, each foretold from the others, {USUALLY:.0%} came out within {skill.within:.2g} of what it said."
    )


def _singles(constants: Sequence[Constant]) -> Iterator[Values]:
    """Every constant a step either way, half of one, and two; every other choice."""
    for constant in constants:
        span, here = constant.range, constant.range.coordinate(constant.value)
        if not span.is_numeric:
            yield from ({constant.key: choice} for choice in span.choices if _differs(choice, constant.value))
            continue
        for size in (COARSE, FINE, FAR):
            for step in (size, -size):
                value = span.at(here + step)
                if _differs(value, constant.value) and abs(span.coordinate(value) - here) >= SMALL_STEP:
                    yield {constant.key: value}


def _each(view: View, drawn: Sequence[Values]) -> Iterator[Values]:
    """Each drawn setting, one constant at a time."""
    for setting in drawn:
        for key, value in _moves(view, setting).items():
            yield {key: value}


def _some(view: View, setting: Values, rng: random.Random) -> Values:
    """A few constants of a drawn setting."""
    moves = _moves(view, setting)
    count = min(rng.randint(1, MOST_CHANGES), len(moves))
    return {key: moves[key] for key in rng.sample(sorted(moves), count)}


def _moves(view: View, setting: Values) -> Values:
    """What of a setting is worth a line beside best."""
    moves: dict[str, Value] = {}
    for constant in view.constants:
        value, span = setting[constant.key], constant.range
        if span.is_numeric:
            here = span.coordinate(constant.value)
            step = min(max(span.coordinate(value) - here, -FARTHEST), FARTHEST)
            value = span.at(here + step) if abs(step) >= SMALL_STEP else constant.value
        if _differs(value, constant.value):
            moves[constant.key] = value
    return moves


def _joined(some: Sequence[Values], others: Sequence[Values]) -> Iterator[Values]:
    """Two changes of different constants as one."""
    pairs = combinations(some, 2) if some is others else ((a, b) for a in some for b in others)
    for a, b in pairs:
        if not a.keys() & b.keys() and len(a) + len(b) <= MOST_CHANGES:
            yield {**a, **b}


def _top(surrogate: Surrogate, candidates: list[Values], *, count: int | None) -> list[Values]:
    order = np.argsort(-surrogate.promise(candidates), kind="stable")
    return [candidates[index] for index in order[:count]]


def _pick(surrogate: Surrogate, candidates: list[Values], rng: random.Random) -> Values | None:
    if not candidates:
        return None
    promise = surrogate.promise(candidates)
    good = [c for c, value in zip(candidates, promise.tolist(), strict=True) if value >= NEARLY * float(promise.max())]
    return rng.choice(good)


def _differs(value: Value, other: Value) -> bool:
    return value != other or isinstance(value, bool) != isinstance(other, bool)
