"""What the model is asked for: explore, exploit, simplify, combine, fix, or steer the numeric sampler. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from autoresearchd.experiment import Concluded, Outcome, Proposal
from autoresearchd.propose._misses import near_misses
from autoresearchd.propose._protocol import Context

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One conversation's."""

    mode: Mode
    crash: Concluded | None = None
    """What is to be mended, as it would be concluded; it is open still."""
    suggestion: Proposal | None = None
    """The numeric sampler's next point."""
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
