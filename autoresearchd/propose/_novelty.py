"""Whether a proposal is worth a number: allowed, different from best, and not tried or waiting already. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from autoresearchd.experiment import Experiment, TreeOid
from autoresearchd.proposal import Proposal
from autoresearchd.propose._misses import line_of_best, with_code, with_edits
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._strangers import changes
from autoresearchd.propose._trees import Trees

MEMORY = 400
"""So many of the newest experiments are remembered; the ledger knows the rest."""


class Novelty:
    """Remembers what files the trees have that are looked at, by digest: no more of them however long a lab lives."""

    def __init__(self) -> None:
        self._digests: dict[TreeOid, bytes] = {}
        self._trees = Trees()

    def objection(self, context: Context, proposal: Proposal) -> str:
        """Why this is not worth a number, in words; empty if it is.

        What was paid for may have been made from an older best: it is replayed on the new one.
        """
        if why := context.refuse(changes(context.files, proposal.edits)):
            return why
        if proposal.parent != context.best:
            return "it was not made from best" if proposal.cost_usd is None else ""
        after = with_edits(context.files, proposal.edits)
        if after == dict(context.files):
            return "nothing in it differs from best"
        if digest(after) in self._known(context):
            return "the same files were tried or are waiting"
        return ""

    def _known(self, context: Context) -> set[bytes]:
        """Digests of what was tried on this best, of former bests, and of what waits."""
        lines = context.history.concluded()[-MEMORY:]
        trees = {line.experiment.tree for line in (*lines, *line_of_best(context), *with_code(context))}
        trees |= {each.tree for each in context.pending if isinstance(each, Experiment)}
        found = {tree: self._digests.get(tree) or self._digest(context, tree) for tree in trees}
        self._digests = {tree: known for tree, known in found.items() if known is not None}
        made = [each for each in context.pending if isinstance(each, Proposal) and each.parent == context.best]
        return {*self._digests.values(), *(digest(with_edits(context.files, each.edits)) for each in made)}

    def _digest(self, context: Context, tree: TreeOid) -> bytes | None:
        files = self._trees.files(context, tree)
        return None if files is None else digest(files)


def digest(files: Mapping[str, bytes]) -> bytes:
    """The same for the same files only."""
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(f"{path}\0{len(files[path])}\0".encode())
        found.update(files[path])
    return found.digest()
