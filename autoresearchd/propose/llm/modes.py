"""What the model is asked for: explore, exploit, simplify, combine, fix, steer the sampler, or grant a wish. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.propose._misses import near_misses
from autoresearchd.propose._observations import View
from autoresearchd.propose._protocol import Context
from autoresearchd.thinkers import Llm

WEIGHTS = {"explore": 3.0, "exploit": 4.0, "simplify": 1.0, "combine": 1.0}
ON_PLATEAU = {"explore": 7.0, "exploit": 2.0, "simplify": 1.0, "combine": 1.0}


class Mode(StrEnum):
    """The word goes into the prompt and into the commit."""

    EXPLORE = "explore"
    EXPLOIT = "exploit"
    SIMPLIFY = "simplify"
    COMBINE = "combine"
    FIX = "fix"
    STEER = "steer"
    WISH = "wish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One conversation's."""

    mode: Mode
    crash: Concluded | None = None
    """What is to be mended, as it would be concluded; it is open still."""
    suggestion: Proposal | None = None
    """The numeric sampler's next point."""
    view: View | None = None
    """What the sampler knows, with a suggestion."""
    wish: Wish | None = None
    plateau: int = 0
    """Experiments since the last keep, where these are many."""


def choose(context: Context, rng: random.Random, *, without: frozenset[Mode] = frozenset()) -> Task:
    """The mode of the next conversation, none of `without` if another will do. A crash is nobody's choice."""
    since = since_keep(context)
    plateau = since if since >= context.program.propose.llm.plateau else 0
    weights = dict(ON_PLATEAU if plateau else WEIGHTS)
    if len(near_misses(context)) < 2:
        del weights["combine"]
    if not context.history.concluded()[1:]:
        weights = {"explore": 1.0}
    weights = {word: weight for word, weight in weights.items() if Mode(word) not in without} or weights
    word = rng.choices(list(weights), list(weights.values()))[0]
    return Task(mode=Mode(word), plateau=plateau)


def since_keep(context: Context) -> int:
    """Experiments with a verdict since the last one that was kept."""
    count = 0
    for line in reversed(context.history.concluded()):
        if line.verdict.outcome in (Outcome.KEEP, Outcome.BASELINE):
            break
        count += 1
    return count


def bounded(settings: Llm, task: Task) -> Llm:
    """The settings of one conversation: what an experiment has cost already is not there for its correction."""
    if task.crash is None:
        return settings
    left = settings.usd_per_experiment - (task.crash.experiment.cost_usd or 0.0)
    return settings.model_copy(update={"usd_per_experiment": max(0.0, left)})


def mended(task: Task) -> tuple[int, int] | None:
    """Number of the experiment that is mended, and which attempt it is."""
    return None if task.crash is None else (task.crash.experiment.number, task.crash.experiment.fix_attempts + 1)


def without_crash(context: Context, task: Task) -> Context:
    """What waits, without the experiment that is mended: who mends it is not to propose something else."""
    if task.crash is None:
        return context
    return replace(context, pending=tuple(each for each in context.pending if each != task.crash.experiment))
