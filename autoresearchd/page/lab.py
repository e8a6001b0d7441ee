"""The lab as the page reads it: one ledger in one thread of its own; the facts are made anew when git has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from autoresearchd.bulletin import read_live
from autoresearchd.experiment import RefName
from autoresearchd.judge import improper
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.report import status as reading
from autoresearchd.report.facts import Facts, facts
from autoresearchd.report.gather import gather
from autoresearchd.report.words import finite

T = TypeVar("T")
Version = tuple[str, int, int, str | None, int]
"""Of the experiments: what best is, how many have a verdict, how many were ever opened, and what is known on rungs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is worth telling a browser at once."""

    version: Version
    ideas: tuple[str, ...]
    status: dict[str, Any]


class Lab:
    """One lab, asked from many requests, answered in one thread: a ledger belongs to one."""

    def __init__(self, program: Program, path: Path) -> None:
        self.program, self.path = program, path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._ledger = Ledger(path)
        self._known: tuple[Version, Facts] | None = None
        self._thread.submit(self._answer, self._facts)  # the first browser finds them made

    async def ask(self, question: Callable[[Ledger], T]) -> T:
        """The answer of the ledger as it is now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    async def submit(self, patch: bytes, *, title: str) -> RefName:
        """Queue a patch. Raises: UserError where it cannot be admitted."""
        return await self.ask(
            lambda ledger: ledger.submit_patch(patch, title=title, refuse=lambda each: improper(each, self.program))
        )

    async def facts(self) -> Facts:
        """What the report knows as well, as of now."""
        return await self.ask(self._facts)

    async def moment(self) -> Moment:
        """What changes from second to second."""
        return await self.ask(self._moment)

    def close(self) -> None:
        """Wait for the question that is being answered, and answer no more."""
        self._thread.shutdown(cancel_futures=True)

    def _answer(self, question: Callable[[Ledger], T]) -> T:
        self._ledger.refresh()
        return question(self._ledger)

    def _facts(self, ledger: Ledger) -> Facts:
        version = _version(ledger)
        if self._known is None or self._known[0] != version:
            self._known = version, facts(gather(ledger, self.program, now=time.time()))
        return self._known[1]

    def _moment(self, ledger: Ledger) -> Moment:
        status = reading.as_json(*reading.look(ledger))
        live = read_live(self.path) if status.get("devices") else []
        status |= {"live": finite(live), "paused": ledger.pause_switch.exists()}
        ideas = tuple(sorted(idea.ref for idea in ledger.ideas()))
        return Moment(version=_version(ledger), ideas=ideas, status=status)


def _version(ledger: Ledger) -> Version:
    known = sum(len(standings) for standings in ledger.promotion.standings().values())
    promoted = ledger.promotion.place().promoted
    return ledger.best().commit, len(ledger.concluded()), len(ledger.entries()), promoted, known
