"""What conversations used and how they ended, and whether there is money for another. Writes the purse's file only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

from autoresearchd.propose.llm.conversation import Ending, Meter
from autoresearchd.propose.llm.modes import Task, mended
from autoresearchd.propose.llm.prices import Usage, rates
from autoresearchd.propose.llm.purse import Purse
from autoresearchd.thinkers import Llm

log = structlog.get_logger()
SMALLEST_USD = 0.001
"""With less left in the purse no conversation is begun."""


class Books:
    """Of one researcher's session, over the purse of all."""

    def __init__(self, purse: Purse, clock: Callable[[], float]) -> None:
        self.purse, self._clock = purse, clock
        self.endings: Counter[str] = Counter()
        self.used, self.calls = Usage(), 0
        self._needed = SMALLEST_USD
        """What the last call that the purse refused might have cost: with less there is no use in beginning."""

    def meter(self, talk: str, settings: Llm, limit: float | None) -> Meter:
        """What one conversation pays with; `limit` is [budget] usd."""
        price = rates(settings)

        def pay(usage: Usage) -> None:
            self.used, self.calls = self.used + usage, self.calls + 1
            self.purse.pay(talk, usage.usd(price), self._clock())

        def afford(usd: float) -> bool:
            self.purse.reserve(talk, 0.0)
            if usd and self.purse.objection(settings, limit, usd, self._clock())[0]:
                self._needed = usd
                return False
            self.purse.reserve(talk, usd)
            return True

        return Meter(rates=price, pay=pay, afford=afford)

    def objection(self, settings: Llm, limit: float | None, *, held: bool = True) -> tuple[str, float | None]:
        """Why no conversation may begin, and from when on it may (None: not by itself); '' if it may."""
        return self.purse.objection(settings, limit, self._needed, self._clock(), held=held)

    def close(self, talk: str, task: Task, ending: Ending, calls: int) -> float:
        """A conversation is over: what it cost, in USD."""
        self.endings[ending.value] += 1
        proposed = ending is Ending.PROPOSED
        self.purse.end(talk, ending.value, self._clock(), proposed=proposed, mends=mended(task))
        cost = self.purse.cost(talk)
        log.info("conversation_ended", mode=task.mode.value, ending=ending.value, calls=calls, cost_usd=cost)
        return cost
