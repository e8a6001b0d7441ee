"""Near-misses again on a newer best: what did not help a weak parent may help the one that a keep has made.

Never writes. Each near-miss comes back once per best at most, and not for ever.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from autoresearchd.experiment import Concluded, Experiment, Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose._misses import (
    gain,
    keeps_since,
    line_of_best,
    near_misses,
    short,
    tried,
)
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._trees import Trees

NAME = "retest"
MOST_RETESTS = 3
"""Of one near-miss; after that it is a miss."""
CANDIDATES = 24
"""So many of the newest near-misses are looked at: older ones were made for another program."""
NO_TRIAL = frozenset({Outcome.STALE, Outcome.DUPLICATE})
"""What leaves an idea untried."""
_TITLE = re.compile(r"Retest (\d+): (.*)")


class Retest:
    """Proposes near-misses whose parent has been improved since, those nearest to what was kept first."""

    name = NAME

    def __init__(self) -> None:
        self._trees = Trees()

    async def propose(self, context: Context) -> Proposal | None:
        for miss, number, title, keep in self._ranked(context):
            old = miss.experiment
            if edits := self._trees.onto_best(context, old.parent_tree, old.tree):
                return Proposal(
                    parent=context.best,
                    edits=edits,
                    title=short(f"Retest {number:04d}: {title}"),
                    rationale=_rationale(context, miss, number, keep),
                    category=old.category,
                    proposer=self.name,
                )
        return None

    def _ranked(self, context: Context) -> Iterator[tuple[Concluded, int, str, Concluded]]:
        """Near-miss, number and title of the first try, and the keep that brings it back; the most promising first."""
        line, counts, here = line_of_best(context), Counter[int](), set[int]()
        for again in tried(context, self.name):
            number, _ = origin(again)
            counts[number] += 1
            if (
                (again.parent_tree == context.best_tree)
                if isinstance(again, Experiment)
                else again.parent == context.best
            ):
                here.add(number)
        ranked = []
        for number, (miss, by) in list(latest_misses(context).items())[-CANDIDATES:]:
            keeps = keeps_since(line, miss.experiment.parent_tree)
            if keeps and counts[number] < MOST_RETESTS and number not in here:
                related, keep = max(
                    ((self._relation(context, miss, step), step) for step in keeps), key=lambda pair: pair[0]
                )
                error = miss.verdict.std_error or 1.0
                ranked.append((related, by / error, miss, number, keep))
        for _, _, miss, number, keep in sorted(ranked, key=lambda each: each[:2], reverse=True):
            yield miss, number, origin(miss.experiment)[1], keep

    def _relation(self, context: Context, miss: Concluded, keep: Concluded) -> int:
        """2 for the same category, 1 for a file in common, 0 for any keep: the parent is another one at least."""
        if miss.experiment.category == keep.experiment.category:
            return 2
        first, second = (self._trees.changed_paths(context, each.experiment) for each in (miss, keep))
        return int(bool(first & second))


def origin(experiment: Experiment | Proposal) -> tuple[int, str]:
    """Number and title of the first try of what this tries again; of itself if it is the first."""
    match = _TITLE.fullmatch(experiment.title)
    if experiment.proposer == NAME and match is not None:
        return int(match[1]), match[2]
    return (experiment.number if isinstance(experiment, Experiment) else -1), experiment.title


def latest_misses(context: Context) -> dict[int, tuple[Concluded, float]]:
    """By the number of the first try: the last try of each idea and its gain, where that is a near-miss."""
    near = {miss.experiment.number: (miss, by) for miss, by in near_misses(context)}
    latest: dict[int, int] = {}
    for line in context.history.concluded():
        if line.verdict.outcome not in NO_TRIAL and (
            line.experiment.number in near or line.experiment.proposer == NAME
        ):
            latest[origin(line.experiment)[0]] = line.experiment.number
    return {first: near[last] for first, last in latest.items() if last in near}


def _rationale(context: Context, miss: Concluded, number: int, keep: Concluded) -> str:
    by = gain(miss, context.program.metric.direction)
    return (
        f"Experiment {number:04d} ended as {miss.verdict.outcome} with a gain of {by:+.4g}; "
        f"since then {keep.experiment.number:04d} ({short(keep.experiment.title)}) was kept, which may change that."
    )
