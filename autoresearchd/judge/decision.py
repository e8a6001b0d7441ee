"""What the judge is asked with and what it answers: the rules of a program, and `Decision = Conclude | Measure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autoresearchd.experiment import Direction, Measurement, Verdict
from autoresearchd.program import Program
from autoresearchd.yardstick import Constraint, Metric


class Side(StrEnum):
    """Which of the two trees is measured next."""

    BEST = "best"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The runs that an experiment is judged by, in whatever order: all of one environment."""

    candidate: Sequence[Measurement]
    best: Sequence[Measurement]
    """Of its parent; failed ones too, since a seed with which best failed is not asked for again."""
    baseline: Sequence[Measurement]
    """Finished ones, of the user's project alone: what constraints compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the program says about better, allowed and enough evidence."""

    metric: str
    direction: Direction = Direction.LOWER
    min_delta: float = 0.0
    """Smallest improvement worth a commit, in the metric's unit."""
    confidence: float = 0.95
    """Chance that a change which does nothing is refused, over all looks at it."""
    max_repeats: int = 12
    baseline_runs: int = 3
    constraints: tuple[Constraint, ...] = ()
    trust: str = ""
    """What every verdict says about who measured."""
    train_seconds: float | None = None
    """The budget of a training; None where it is counted in steps, or unknown."""
    train_steps: int | None = None
    """The same where it is counted in steps."""
    sane_gain: float = 30.0
    """A gain of more standard deviations of one run is not believed at once."""

    @classmethod
    def of(cls, program: Program) -> Rules:
        """The part of program.toml that the judge follows."""
        return cls(
            metric=program.metric.compared,
            direction=program.metric.direction,
            min_delta=program.accept.min_delta,
            confidence=program.accept.confidence,
            max_repeats=program.accept.max_repeats,
            baseline_runs=program.accept.baseline_runs,
            constraints=program.constraint,
            trust=_trust(program.metric),
            train_seconds=None if program.train.cpu_steps else program.train.seconds,
            train_steps=program.train.cpu_steps,
            sane_gain=program.accept.sane_gain,
        )


def _trust(metric: Metric) -> str:
    if metric.evaluate is None:
        return "self-reported"
    return "partly self-reported" if metric.also else ""


@dataclass(frozen=True, slots=True)
class Conclude:
    """The evidence is enough."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Measure:
    """One more run is needed: this side, with this seed."""

    side: Side
    seed: int
    audit: bool = False
    """On the audit data too: its number decides nothing, and is said beside a gain that is hard to believe."""


Decision = Conclude | Measure
