"""The files of trees that are only compared with: one that the disk has lost is left out, and the others go on."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import TreeOid
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
            if tree not in self._said:
                log.error("tree_unreadable", tree=tree, why=str(error))  # noqa: TRY400 - said, not raised
            self._said.add(tree)
            return None
