"""`ablate`: is what was kept still worth its lines? One kept change is taken out of best, and that is judged like any.

Never writes. A smaller best that is not worse by more than `accept.min_delta` is kept, and the change was dead weight;
else the verdict says what it is worth today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from autoresearchd.experiment import ABLATE, Concluded, Experiment, Proposal
from autoresearchd.propose._misses import gain, keeps_since, line_of_best, short, since_last, tried
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._protocol import Context

CATEGORY = "simplify"
_TITLE = re.compile(r"Take out (\d+): .*")


class Ablate:
    """Proposes best without one of its steps: those that were never taken out first, the oldest of them first.

    Each step once, and once more when something else was kept since: what it is worth may have changed with that.
    """

    name = ABLATE

    def __init__(self, *, when_due: bool) -> None:
        """`when_due`: one in `propose.ablate.every` experiments; else whenever it is asked. With 0 never."""
        self._when_due = when_due
        self._novelty = Novelty()

    async def propose(self, context: Context) -> Proposal | None:
        every = context.program.propose.ablate.every
        if not every or (self._when_due and since_last(context, _is_ablation) < every - 1):
            return None
        for step in _in_turn(context):
            proposal = _without(context, step)
            # The newest step taken out is a best of old: what that is worth was measured when it was kept.
            if proposal is not None and not self._novelty.objection(context, proposal):
                return proposal
        return None


def taken_out(title: str) -> int | None:
    """The number of the kept change that an experiment with this title takes out."""
    found = _TITLE.fullmatch(title)
    return int(found[1]) if found else None


def ablations(concluded: Sequence[Concluded]) -> Mapping[int, Concluded]:
    """By the number of each change that was taken out on trial: the newest trial."""
    found = {}
    for line in concluded:
        number = taken_out(line.experiment.title) if _is_ablation(line.experiment) else None
        if number is not None:
            found[number] = line
    return found


def _in_turn(context: Context) -> Iterator[Concluded]:
    """The steps of best that may be taken out now."""
    line, done = line_of_best(context), ablations(context.history.concluded())
    waiting = {taken_out(each.title) for each in tried(context, ABLATE) if each in context.pending}
    steps = [step for step in reversed(line[:-1]) if not _is_ablation(step.experiment)]
    steps = [step for step in steps if step.experiment.number not in waiting]
    yield from (step for step in steps if step.experiment.number not in done)
    again = [(done[step.experiment.number], step) for step in steps if step.experiment.number in done]
    for trial, step in sorted(again, key=lambda pair: pair[0].experiment.number):
        if not _is_of_today(line, trial):
            yield step


def _is_of_today(line: Sequence[Concluded], trial: Concluded) -> bool:
    """Whether nothing was kept since but what took something else out."""
    return all(_is_ablation(step.experiment) for step in keeps_since(line, trial.experiment.parent_tree))


def _is_ablation(each: Proposal | Experiment) -> bool:
    return each.proposer == ABLATE


def _without(context: Context, step: Concluded) -> Proposal | None:
    """Best without one step; None where what came later is built on it, or it is not there any more."""
    own = step.experiment
    edits = context.history.merge(own.tree, context.best_tree, own.parent_tree)
    if not edits:
        return None
    by = gain(step, context.program.metric.direction)
    then = "" if by is None else f" with a gain of {by:+.4g}"
    return Proposal(
        parent=context.best,
        edits=edits,
        title=short(f"Take out {own.number:04d}: {own.title}"),
        rationale=f"{own.title!r} was kept as {own.number:04d}{then} on the best of its time. If best is no worse "
        "without it, it is dead weight; else this says what it is worth today.",
        category=CATEGORY,
        proposer=ABLATE,
    )
