"""Proposals that take long to think of: thought of in tasks, handed out when they are there, nobody waits meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from autoresearchd.proposal import Proposal

log = structlog.get_logger()


class Background:
    """The tasks of one proposer in one event loop, and what they found."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Proposal | None]] = set()
        self.ready: deque[Proposal] = deque()
        """Finished, oldest first."""

    @property
    def thinking(self) -> int:
        """Tasks that are not finished."""
        return len(self._tasks)

    def start(self, work: Callable[[], Awaitable[Proposal | None]]) -> None:
        """Let it think; what it returns waits in `ready`."""
        self._begin(work).add_done_callback(self._keep)

    async def run(self, work: Callable[[], Awaitable[Proposal | None]]) -> Proposal | None:
        """Think while the caller waits; counted among the tasks like any other."""
        return await self._begin(work)

    async def wait(self) -> None:
        """Until one task has ended; at once where there is none."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Cancel what thinks, and wait until it has noted what that cost."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Callable[[], Awaitable[Proposal | None]]) -> asyncio.Task[Proposal | None]:
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, work: Callable[[], Awaitable[Proposal | None]]) -> Proposal | None:
        try:
            return await work()
        except Exception:  # whatever a source of ideas does wrong, the others go on
            log.exception("proposer_failed", proposer=self._name)
            return None

    def _keep(self, task: asyncio.Task[Proposal | None]) -> None:
        if not task.cancelled() and (proposal := task.result()) is not None:
            self.ready.append(proposal)
