"""Two near-misses in one: gains too small to be seen alone may be seen together.

Never writes. Both are brought onto best by three-way merge, and never the same two twice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from autoresearchd.experiment import Concluded
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._misses import short, tried, with_edits
from autoresearchd.propose._overlay import overlay
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._trees import Trees
from autoresearchd.propose.retest import latest_misses

CANDIDATES = 12
"""So many of the best near-misses are paired."""
_TITLE = re.compile(r"Combine (\d+) and (\d+)\b.*")


class Combine:
    """Proposes pairs of near-misses, those with the largest gains first."""

    name = "combine"

    def __init__(self) -> None:
        self._trees = Trees()

    async def propose(self, context: Context) -> Proposal | None:
        done = {(int(m[1]), int(m[2])) for each in tried(context, self.name) if (m := _TITLE.fullmatch(each.title))}
        onto_best: dict[int, tuple[Edit, ...] | None] = {}
        for first, second in itertools.combinations(_promising(context), 2):
            pair = sorted((first, second), key=lambda line: line.experiment.number)
            numbers = (pair[0].experiment.number, pair[1].experiment.number)
            if numbers in done:
                continue
            for line in pair:
                if line.experiment.number not in onto_best:
                    old = line.experiment
                    onto_best[old.number] = self._trees.onto_best(context, old.parent_tree, old.tree)
            edits = _joined(context.files, onto_best[numbers[0]], onto_best[numbers[1]])
            if edits is not None:
                return self._proposal(context, pair, edits)
        return None

    def _proposal(self, context: Context, pair: list[Concluded], edits: tuple[Edit, ...]) -> Proposal:
        first, second = (line.experiment for line in pair)
        return Proposal(
            parent=context.best,
            edits=edits,
            title=short(f"Combine {first.number:04d} and {second.number:04d}: {first.title}; {second.title}"),
            rationale=f"{first.title!r} and {second.title!r} each measured a gain that was too small to be sure of; "
            "if both are real, together they are twice as easy to see.",
            category=first.category if first.category == second.category else "combination",
            proposer=self.name,
        )


def _promising(context: Context) -> list[Concluded]:
    """Near-misses, pairs left out, one try of each idea, by gain in standard errors."""
    found = [(by / (miss.verdict.std_error or by), miss) for miss, by in latest_misses(context).values()]
    own = [(by, miss) for by, miss in found if miss.experiment.proposer != Combine.name]
    return [miss for _, miss in sorted(own, key=lambda each: each[0], reverse=True)[:CANDIDATES]]


def _joined(
    best: Mapping[str, bytes], first: tuple[Edit, ...] | None, second: tuple[Edit, ...] | None
) -> tuple[Edit, ...] | None:
    """Both changes of best at once; None where one is missing, they touch, or one already holds the other."""
    if first is None or second is None:
        return None
    ours, theirs = {edit.path: edit for edit in first}, {edit.path: edit for edit in second}
    joined = ours | theirs
    for path in ours.keys() & theirs.keys():
        one, other, base = ours[path].content, theirs[path].content, best.get(path)
        merged = None if one is None or other is None or base is None else overlay(base, one, other)
        if merged is None:
            return None
        joined[path] = Edit(path=path, content=merged, mode=ours[path].mode)
    edits = tuple(joined[path] for path in sorted(joined))
    after = with_edits(best, edits)
    return None if after in (with_edits(best, first), with_edits(best, second)) else edits
