"""`ablate`: is what was kept still worth its lines? One kept change is taken out of best, and that is judged like any.

Never writes. A smaller best that is not worse by more than `accept.min_delta` is kept, and the change was dead weight;
else the verdict says what it is worth today, and its parts are tried one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import ABLATE, Concluded, Experiment
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._misses import gain, keeps_since, line_of_best, short, since_last, tried
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._overlay import overlay
from autoresearchd.propose._parts import without_each
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._trees import Trees

CATEGORY = "simplify"
MOST_PARTS = 8
"""A change in more pieces than these is one that no piece of stands alone."""
_TITLE = re.compile(r"Take out (?:part (\d+) of )?(\d+): .*")


@dataclass(frozen=True, slots=True)
class Removal:
    """What an ablation takes out: a kept change by its number, or one part of it, counted from 1."""

    number: int
    part: int = 0


class Ablate:
    """Proposes best without one of its steps: those that were never taken out first, the oldest of them first.

    Each once, and once more when something else was kept since: what it is worth may have changed with that. Then, of
    those that are still there and while nobody else has an idea, the parts.
    """

    name = ABLATE

    def __init__(self, *, when_due: bool) -> None:
        """`when_due`: one in `propose.ablate.every` experiments; else whenever it is asked. With 0 never."""
        self._when_due = when_due
        self._novelty, self._trees = Novelty(), Trees()

    async def propose(self, context: Context) -> Proposal | None:
        every = context.program.propose.ablate.every
        if not every or (self._when_due and since_last(context, _is_ablation) < every - 1):
            return None
        parts = context.program.propose.ablate.parts and not self._when_due
        for proposal in _in_turn(context, self._trees, parts=parts):
            # The newest step taken out is a best of old: what that is worth was measured when it was kept.
            if not self._novelty.objection(context, proposal):
                return proposal
        return None


def removal(title: str) -> Removal | None:
    """What an experiment of ours with this title takes out."""
    found = _TITLE.fullmatch(title)
    return Removal(int(found[2]), int(found[1] or 0)) if found else None


def ablations(concluded: Sequence[Concluded]) -> Mapping[Removal, Concluded]:
    """The newest trial of each removal."""
    found = {}
    for line in concluded:
        taken = removal(line.experiment.title) if _is_ablation(line.experiment) else None
        if taken is not None:
            found[taken] = line
    return found


def _in_turn(context: Context, trees: Trees, *, parts: bool) -> Iterator[Proposal]:
    """Best without each of its steps that may be taken out now; then without each part."""
    line, done = line_of_best(context), ablations(context.history.concluded())
    steps = [step for step in reversed(line[:-1]) if not _is_ablation(step.experiment)]
    whole = {Removal(step.experiment.number): step for step in steps}
    for taken in _order(context, line, done, list(whole)):
        own = whole[taken].experiment
        # None where what came later is built on it, or it is not there any more.
        if (edits := trees.onto_best(context, own.tree, own.parent_tree)) is not None:
            yield _proposal(context, whole[taken], taken, edits)
    if parts:
        pieces = {taken: (step, edits) for step in steps for taken, edits in _parts(context, trees, step)}
        for taken in _order(context, line, done, list(pieces)):
            yield _proposal(context, pieces[taken][0], taken, pieces[taken][1])


def _order(
    context: Context, line: Sequence[Concluded], done: Mapping[Removal, Concluded], wanted: Sequence[Removal]
) -> list[Removal]:
    """What was never tried, as it comes; then what was tried before something else was kept, the longest ago first."""
    waiting = {removal(each.title) for each in tried(context, ABLATE) if each in context.pending}
    free = [taken for taken in wanted if taken not in waiting]
    again = [taken for taken in free if taken in done and not _is_of_today(line, done[taken])]
    again.sort(key=lambda taken: done[taken].experiment.number)
    return [*(taken for taken in free if taken not in done), *again]


def _is_of_today(line: Sequence[Concluded], trial: Concluded) -> bool:
    """Whether nothing was kept since but what took something else out."""
    return all(_is_ablation(step.experiment) for step in keeps_since(line, trial.experiment.parent_tree))


def _is_ablation(each: Proposal | Experiment) -> bool:
    return each.proposer == ABLATE


def _parts(context: Context, trees: Trees, step: Concluded) -> Iterator[tuple[Removal, tuple[Edit, ...]]]:
    """Best without each part of a step that has several."""
    own = step.experiment
    before, kept = trees.files(context, own.parent_tree), trees.files(context, own.tree)
    if before is None or kept is None:
        return
    found = without_each(before, kept)
    if not 2 <= len(found) <= MOST_PARTS:
        return
    for part, (path, content) in enumerate(found, 1):
        now = context.files.get(path)
        merged = None if now is None else overlay(kept[path], now, content)
        if merged is not None and merged != now:
            yield Removal(own.number, part), (Edit(path=path, content=merged),)


def _proposal(context: Context, step: Concluded, taken: Removal, edits: tuple[Edit, ...]) -> Proposal:
    own, by = step.experiment, gain(step, context.program.metric.direction)
    part = f"part {taken.part} of " if taken.part else ""
    then = "" if by is None else f" with a gain of {by:+.4g}"
    return Proposal(
        parent=context.best,
        edits=edits,
        title=short(f"Take out {part}{own.number:04d}: {own.title}"),
        rationale=f"{own.title!r} was kept as {own.number:04d}{then} on the best of its time. If best is no worse "
        f"without {part or 'it'}{'it' if part else ''}, it is dead weight; else this says what it is worth today.",
        category=CATEGORY,
        proposer=ABLATE,
    )
