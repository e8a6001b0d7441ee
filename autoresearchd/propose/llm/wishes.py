"""What became of the conversations about wishes that led to no change: tried again, or declined for good."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from autoresearchd.experiment import CommitOid
from autoresearchd.proposal import Wish
from autoresearchd.propose._protocol import Declined
from autoresearchd.propose.llm.conversation import Abandoned, Ending

MOST_TRIES = 3
"""So many conversations a wish is worth that lead to nothing."""


@dataclass(slots=True)
class Tries:
    """Counted by wish since the daemon began: a restart asks again, and money is limited elsewhere."""

    _vain: Counter[CommitOid] = field(default_factory=Counter)
    _declined: dict[CommitOid, Declined] = field(default_factory=dict)

    def note(self, wish: Wish | None, error: Abandoned) -> None:
        """A conversation was abandoned; it may have been about a wish.

        For want of money, or with an API that fails, it says nothing about the wish: that is talked about again.
        """
        if wish is None or error.failure is not None or error.ending is Ending.MONEY:
            return
        self._vain[wish.oid] += 1
        if error.ending is Ending.REFUSED:
            why = f": {error.words}" if error.words else ""
            self._declined[wish.oid] = Declined(f"the model refuses to make it{why}")
        elif error.ending is Ending.DECLINED:
            self._declined[wish.oid] = Declined(error.words)
        elif self._vain[wish.oid] >= MOST_TRIES:
            why = f"the model made no change of it in {MOST_TRIES} conversations; the last one ended: {error.ending}"
            self._declined[wish.oid] = Declined(why)

    def verdict(self, wish: Wish) -> Declined | None:
        """That there will be no change, if that is settled; pushed again, the wish gets its tries again."""
        if (found := self._declined.pop(wish.oid, None)) is not None:
            del self._vain[wish.oid]
        return found
