"""What each kept change is worth today: beside its gain when it was kept, what best loses without it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoresearchd.experiment import ABLATE, Concluded, Direction, Outcome
from autoresearchd.propose.ablate import ablations
from autoresearchd.report.summary import kept_line
from autoresearchd.report.words import gain_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """One change on the line of best; None where nothing was measured. Positive is better, in the metric's unit."""

    number: int
    title: str
    """Untrusted."""
    gain: float | None
    """On the best of its time."""
    std_error: float | None
    """Of the gain."""
    today: float | None
    """What best loses without it."""
    today_error: float | None
    """Its standard error."""
    trial: int | None
    """The experiment that took it out; None where nothing was kept since, so that its gain is of today."""
    is_dead_weight: bool
    """Whether best is without it since."""


def worth(concluded: Sequence[Concluded], direction: Direction) -> tuple[Worth, ...]:
    """Every step of best in the order of history, but the baseline and those that took something out."""
    measured = [row for row in concluded if gain_of(row.verdict, direction) is not None]
    trials = {taken.number: trial for taken, trial in ablations(measured).items() if not taken.part}
    line = kept_line(concluded)[1:]
    steps = [step for step in line if step.experiment.proposer != ABLATE]
    return tuple(
        _worth(step, trials.get(step.experiment.number), direction, is_newest=step is line[-1]) for step in steps
    )


def _worth(step: Concluded, trial: Concluded | None, direction: Direction, *, is_newest: bool) -> Worth:
    gain, error = gain_of(step.verdict, direction), step.verdict.std_error
    today, today_error = (gain, error) if is_newest else (None, None)
    if trial is not None:
        lost = gain_of(trial.verdict, direction)
        today, today_error = None if lost is None else -lost, trial.verdict.std_error
    return Worth(
        number=step.experiment.number,
        title=step.experiment.title,
        gain=gain,
        std_error=error,
        today=today,
        today_error=today_error,
        trial=trial.experiment.number if trial else None,
        is_dead_weight=trial is not None and trial.verdict.outcome is Outcome.KEEP,
    )
