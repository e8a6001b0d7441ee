"""What the model is asked for: explore, exploit, simplify, combine, fix, or steer the numeric sampler. Pure."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from autoresearchd.experiment import FAILED, Concluded, Experiment, Outcome, Proposal
from autoresearchd.propose._misses import near_misses
from autoresearchd.propose._protocol import Context

NAME = "llm"
RECENT_CRASHES = 12
"""Experiments back to which a crash is worth mending: older ones were made for another program."""
WEIGHTS = {"explore": 3.0, "exploit": 4.0, "simplify": 1.0, "combine": 1.0}
ON_PLATEAU = {"explore": 7.0, "exploit": 2.0, "simplify": 1.0, "combine": 1.0}
_FIX = re.compile(r"Fix (\d+): (.*)", re.DOTALL)


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
    """What is to be mended."""
    suggestion: Proposal | None = None
    """The numeric sampler's next point."""
    plateau: int = 0
    """Experiments since the last keep, where these are many."""


def choose(context: Context, rng: random.Random, *, without: frozenset[Mode] = frozenset()) -> Task:
    """The mode of the next conversation, none of `without` if another will do; a crash of the model's comes first."""
    crash = None if Mode.FIX in without else to_fix(context)
    since = since_keep(context)
    plateau = since if since >= context.program.propose.llm.plateau else 0
    if crash is not None:
        return Task(mode=Mode.FIX, crash=crash, plateau=plateau)
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


def to_fix(context: Context) -> Concluded | None:
    """The model's newest crash that was not given back to it often enough, and is not being mended now."""
    limit = context.program.propose.llm.fix_attempts
    lines = [line for line in context.history.concluded()[-RECENT_CRASHES:] if line.experiment.proposer == NAME]
    waiting = {origin(each)[0] for each in context.pending if each.proposer == NAME}
    attempts = Counter(origin(line.experiment)[0] for line in lines)
    done: set[int] = set()
    for line in reversed(lines):
        first = origin(line.experiment)[0]
        if first in done or first in waiting:
            continue
        done.add(first)  # only the newest attempt counts
        if line.verdict.outcome in FAILED and attempts[first] - 1 < limit:
            return line
    return None


def origin(each: Experiment | Proposal) -> tuple[int, str]:
    """Number and title of what this one mends; its own where it mends nothing."""
    match = _FIX.fullmatch(each.title)
    if each.proposer == NAME and match is not None:
        return int(match[1]), match[2]
    return (each.number if isinstance(each, Experiment) else -1), each.title
