"""The trees of what was tried: one that the disk has lost is left out, and the others go on."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Experiment, TreeOid
from autoresearchd.proposal import Edit
from autoresearchd.propose._protocol import Context

log = structlog.get_logger()


class Trees:
    """Remembers which trees were said to be lost: each is said once."""

    def __init__(self) -> None:
        self._said: set[TreeOid] = set()

    def files(self, context: Context, tree: TreeOid) -> Mapping[str, bytes] | None:
        """The editable files of a tree, by path; None where they cannot be read."""
        try:
            return context.history.files(tree)
        except CorruptRecord as error:
            self._say(tree, error)
            return None

    def onto_best(self, context: Context, base: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        """What lies between two trees, on best; None where it conflicts, is there already or cannot be read."""
        try:
            return context.history.merge(base, context.best_tree, theirs) or None
        except CorruptRecord as error:
            self._say(theirs, error)
            return None

    def changed_paths(self, context: Context, experiment: Experiment) -> frozenset[str]:
        """The editable files in which it differs from its parent; none where they cannot be read."""
        before, after = self.files(context, experiment.parent_tree), self.files(context, experiment.tree)
        if before is None or after is None:
            return frozenset()
        return frozenset(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    def _say(self, tree: TreeOid, error: CorruptRecord) -> None:
        if tree not in self._said:
            log.error("tree_unreadable", tree=tree, why=str(error))
        self._said.add(tree)
