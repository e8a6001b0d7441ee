"""Whether a run's own figures can be true, and from which gain on nobody is believed at once. Pure.

It proves no lie; it refuses what nobody could tell from one. What the baseline did is the measure: a script that knows
nothing of us may take its own time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoresearchd.experiment import Measurement
from autoresearchd.judge.metric import CPU_SECONDS, THROUGHPUT, value

OVERTIME, OVERTIME_SECONDS = 1.1, 10.0
"""A step in progress, and the saving of weights, may end after the budget."""
USED, SKIPPED = 0.9, 0.1
"""Where the baseline uses this much of the budget, whoever uses less than the smaller share has not trained."""
SLOWER_START, SLOWER_START_SECONDS = 3.0, 60.0
"""Compiling a changed model takes longer than a cached one; training hidden in it takes as long as training."""
MORE_WORK, MORE_WORK_SECONDS = 3.0, 5.0
"""Of processor time, where a budget is counted in steps: a step may cost more, but steps may hide in it too."""
FASTER = 30.0
"""No single change makes training so many times as fast as the baseline's."""
DRAWN = 0.5
"""Where the baseline's curve shows more than this share of the steps that it claims, so must everybody's."""
STEPS = ("steps", "num_steps")
"""What nanogpt and karpathy/autoresearch call the steps that they took."""
TOKENS = {"tokens": 1.0, "total_tokens_M": 1e6}
"""What a script may call the tokens that it saw, and their unit."""
TWICE = 2.0


def sane_gain(*, std_dev: float, spreads: float, largest: float | None) -> float:
    """The gain from which on one is believed only once a run that decides nothing has shown it again.

    The larger of `spreads` standard deviations of one run and twice the `largest` gain that was ever verified; as far
    as they are known, infinite where neither is.
    """
    known = [bound for bound in (spreads * std_dev, TWICE * (largest or 0.0)) if bound > 0.0]
    return max(known, default=math.inf)


def implausible(
    run: Measurement,
    *,
    baseline_runs: Sequence[Measurement],
    train_seconds: float | None = None,
    train_steps: int | None = None,
) -> str:
    """Why a finished run's figures cannot be believed, in one sentence; '' where they can.

    One of `train_seconds` and `train_steps` is the budget of a training, or neither where it is unknown.
    """
    return (
        _time(run, baseline_runs, train_seconds)
        or _steps(run, baseline_runs, train_steps)
        or _start(run, baseline_runs)
        or _speed(run, baseline_runs)
        or _curve(run, baseline_runs)
    )


def _time(run: Measurement, baseline_runs: Sequence[Measurement], given: float | None) -> str:
    """By the daemon's clock: no run claims more than it shows."""
    if given is None:
        return ""
    usual = [other.train_seconds for other in baseline_runs]
    if run.train_seconds > OVERTIME * max(given, *usual, 0.0) + OVERTIME_SECONDS:
        return f"it trained for {run.train_seconds:.0f} s, {given:g} s were given"
    if usual and min(usual) >= USED * given and run.train_seconds < SKIPPED * given:
        return f"it trained for {run.train_seconds:.0f} of the {given:g} s that it was given"
    return ""


def _steps(run: Measurement, baseline_runs: Sequence[Measurement], given: int | None) -> str:
    if given is None:
        return ""
    works, work = _said(baseline_runs, CPU_SECONDS), value(run, CPU_SECONDS) or 0.0
    if works and work > MORE_WORK * max(works) + MORE_WORK_SECONDS:
        return f"it used {work:.0f} s of processor time, the baseline {max(works):.0f} s: more steps may hide in it"
    usual = [steps for other in baseline_runs if (steps := _claimed_steps(other)) is not None]
    said = _claimed_steps(run)
    if said is None or not usual or max(usual) > given:
        return ""
    if said > given:
        return f"it took {said:g} steps, {given} were given"
    if min(usual) >= USED * given and said < SKIPPED * given:
        return f"it took {said:g} of the {given} steps that it was given"
    return ""


def _start(run: Measurement, baseline_runs: Sequence[Measurement]) -> str:
    usual = [other.wall_seconds - other.train_seconds for other in baseline_runs]
    besides = run.wall_seconds - run.train_seconds
    if usual and besides > SLOWER_START * max(usual) + SLOWER_START_SECONDS:
        return f"it took {besides:.0f} s besides training, the baseline {max(usual):.0f} s: training may hide in it"
    return ""


def _speed(run: Measurement, baseline_runs: Sequence[Measurement]) -> str:
    usual, claimed = max(map(_claimed_speed, baseline_runs), default=0.0), _claimed_speed(run)
    if usual > 0.0 and claimed > FASTER * usual:
        return f"it claims {claimed:.4g} tokens/s, the baseline had {usual:.4g}"
    return ""


def _curve(run: Measurement, baseline_runs: Sequence[Measurement]) -> str:
    shares = [_drawn(other) for other in baseline_runs]
    if shares and min(shares) > DRAWN and _drawn(run) < DRAWN:
        last = run.curve[-1].step if run.curve else 0
        return f"it claims {_claimed_steps(run):g} steps, and its curve ends at {last}"
    return ""


def _said(runs: Sequence[Measurement], name: str) -> list[float]:
    return [number for run in runs if (number := value(run, name)) is not None]


def _claimed_steps(run: Measurement) -> float | None:
    """The most that it says in any way; None where it says nothing."""
    said = [number for name in STEPS if (number := value(run, name)) is not None]
    return max([*said, *(point.step for point in run.curve[-1:])], default=None)


def _claimed_speed(run: Measurement) -> float:
    """Tokens a second: as it says, or as it says tokens, by the daemon's clock; 0 where it says neither."""
    seen = [unit * number for name, unit in TOKENS.items() if (number := value(run, name)) is not None]
    return max([value(run, THROUGHPUT) or 0.0, *(tokens / max(run.train_seconds, 1.0) for tokens in seen)])


def _drawn(run: Measurement) -> float:
    """The share of the claimed steps that the curve shows; 1 where none are claimed."""
    claimed, last = _claimed_steps(run), run.curve[-1].step if run.curve else 0
    return last / claimed if claimed else 1.0
