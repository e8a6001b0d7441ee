"""`refine`: line search along changes of constants that worked, or nearly did, farther in the direction that worked.

Doubles the step after a success; once both sides were measured, a parabola says where between them (Brent 1973, ch. 5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose._limits import Limits
from autoresearchd.propose._misses import fallen
from autoresearchd.propose._observations import Observation, Observations, Values, View
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._wording import proposal
from autoresearchd.propose.constants import Constant, Value

GOLDEN = 0.382
"""Where a section is cut that no parabola can be laid through."""
SAME = 0.15
"""Points on a line closer than so many coarse steps are one point."""
MOST_POINTS = 6
"""A line with so many measured points is exhausted."""
NEAR_MISS = 0.5
"""A discard that gained so many noises of one run may be worth a longer step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """The settings `origin + t * step` of a few constants; t = 1 is what worked."""

    number: int
    origin: Mapping[str, float]
    """Coordinates before the change."""
    step: Mapping[str, float]
    gain: float
    points: tuple[tuple[float, float | None], ...]
    """(t, score over the origin) by t; no score where it failed."""

    @property
    def length(self) -> float:
        """Coarse steps from t = 0 to t = 1."""
        return math.hypot(*self.step.values())


class Refine:
    """Proposes the next point on the most promising line."""

    name = "refine"

    def __init__(self, observations: Observations | None = None) -> None:
        """`observations` may be another's as well: they read the same history."""
        self._observations = observations or Observations()

    async def propose(self, context: Context) -> Proposal | None:
        """The next point; None where no change of numbers worked, or every line is exhausted."""
        view = self._observations.read(context)
        limits, lost = Limits(view, context), fallen(context)
        for line in sorted(_lines(view), key=lambda line: (-line.gain, -line.number)):
            place = following(line.points, shortest=SAME / line.length)
            if place is None or line.number in lost:
                continue  # farther on what does not hold on a larger rung leads nowhere
            changes = _setting(view, line, place)
            if changes and view.is_new(changes) and limits.allow(changes):
                rationale = _rationale(context, line, place)
                return proposal(context, view, changes, proposer=self.name, rationale=rationale)
        return None


def following(points: Sequence[tuple[float, float | None]], *, shortest: float) -> float | None:
    """Where on a line to measure next, from (t, score) by t with t = 0 the origin; None where the line is exhausted.

    `shortest` is the smallest distance in t between two points worth a run.
    """
    measured = [(t, score) for t, score in points if score is not None]
    if len(points) >= MOST_POINTS or len(measured) < 2:
        return None
    index = max(range(len(measured)), key=lambda i: measured[i][1])
    best = measured[index][0]
    walls = [t for t, score in points if score is None]
    left = max([t for t, _ in measured if t < best] + [t for t in walls if t < best], default=None)
    right = min([t for t, _ in measured if t > best] + [t for t in walls if t > best], default=None)
    if left is None:
        return None  # the origin itself is best: nothing worked here
    if right is None:
        return best + max(best - left, shortest) if best > 0 else None
    place = _vertex(measured, index)
    if place is None or not left + shortest <= place <= right - shortest or abs(place - best) < shortest:
        larger = right if right - best >= 0.6 * (best - left) else left  # farther on first: that way worked
        place = best + GOLDEN * (larger - best)
    return place if all(abs(place - t) >= shortest for t, _ in points) else None


def _vertex(measured: Sequence[tuple[float, float]], index: int) -> float | None:
    """The top of the parabola through a point and its two measured neighbours."""
    if not 0 < index < len(measured) - 1:
        return None
    (a, fa), (b, fb), (c, fc) = measured[index - 1 : index + 2]
    up, down = (b - a) * (fb - fc), (b - c) * (fb - fa)
    if up - down <= 1e-15:
        return None
    return b - ((b - a) * up - (b - c) * down) / (2 * (up - down))


def _lines(view: View) -> Iterator[_Line]:
    """One line for every distinct change of numbers that worked, or nearly did."""
    by_key = {constant.key: constant for constant in view.constants if constant.range.is_numeric}
    seen: list[_Line] = []
    for o in reversed(view.observations):
        if not _worked(o, view) or not o.changed or any(key not in by_key for key in o.changed):
            continue
        origin = {key: by_key[key].range.coordinate(o.before[key]) for key in o.changed}
        step = {key: by_key[key].range.coordinate(o.values[key]) - origin[key] for key in o.changed}
        if not all(step.values()) or any(_place(line, origin) is not None for line in seen):
            continue
        line = _Line(number=o.number, origin=origin, step=step, gain=o.gain or 0.0, points=())
        seen.append(line)
        yield _Line(
            number=o.number, origin=origin, step=step, gain=o.gain or 0.0, points=_points(view, line, by_key, o)
        )


def _worked(o: Observation, view: View) -> bool:
    if not o.pure or o.gain is None or o.outcome is Outcome.BASELINE:
        return False
    if o.outcome is Outcome.KEEP:
        return True
    near = o.outcome is Outcome.INCONCLUSIVE or o.gain >= NEAR_MISS * (view.noise or math.inf)
    return o.gain > 0 and near and o.outcome in (Outcome.DISCARD, Outcome.INCONCLUSIVE)


def _points(
    view: View, line: _Line, by_key: Mapping[str, Constant], first: Observation
) -> tuple[tuple[float, float | None], ...]:
    """What was measured on a line, by other experiments too; equal places keep their best-known score."""
    base = (first.score or 0.0) - (first.gain or 0.0)
    found: dict[float, float | None] = {0.0: 0.0}
    for o in view.observations:
        if not o.pure or not o.changed or set(o.changed) - line.step.keys():
            continue
        t = _place(line, {key: by_key[key].range.coordinate(o.values[key]) for key in line.step if key in o.values})
        if t is None:
            continue
        near = next((known for known in found if abs(known - t) * line.length < SAME), t)
        # Other constants may have moved between: what counts is the step from this one's own parent.
        start = _place(line, {key: by_key[key].range.coordinate(o.before[key]) for key in line.step if key in o.before})
        score = None if o.failed or o.gain is None or start is None else _height(found, start, line, o, base)
        if near != 0.0 and (o.failed or score is not None):
            found[near] = score
    return tuple(sorted(found.items()))


def _height(
    found: Mapping[float, float | None], start: float, line: _Line, o: Observation, base: float
) -> float | None:
    """Score over the origin of an experiment that began at `start` on the line."""
    assert o.gain is not None
    for known, score in found.items():
        if abs(known - start) * line.length < SAME and score is not None:
            return score + o.gain
    return None if o.score is None else o.score - base


def _place(line: _Line, coordinates: Mapping[str, float]) -> float | None:
    """t of a setting on the line; None beside it."""
    if coordinates.keys() != line.step.keys():
        return None
    squared = sum(step**2 for step in line.step.values())
    t = sum((coordinates[key] - line.origin[key]) * step for key, step in line.step.items()) / squared
    beside = math.hypot(*(coordinates[key] - line.origin[key] - t * step for key, step in line.step.items()))
    return t if beside < SAME else None


def _setting(view: View, line: _Line, place: float) -> Values:
    """The values at a place on the line, as far as they differ from best."""
    changes: dict[str, Value] = {}
    for constant in view.constants:
        if constant.key in line.step:
            value = constant.range.at(line.origin[constant.key] + place * line.step[constant.key])
            if value != constant.value:
                changes[constant.key] = value
    return changes


def _rationale(context: Context, line: _Line, place: float) -> str:
    measured = ", ".join(
        f"{t:.2f} steps: " + ("failed" if score is None else f"{score:+.5f}") for t, score in line.points if t
    )
    return (
        f"Experiment {line.number:04d} gained {line.gain:+.5f} in {context.program.metric.compared} (positive is "
        f"better) along these constants; in units of its step: {measured}. The next point is at {place:.2f}."
    )
