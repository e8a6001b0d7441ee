"""What is new in the lab, told to every browser that listens: one look a second for all, none while nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import structlog

from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.page import shown
from autoresearchd.page.lab import Lab, Moment

log = structlog.get_logger()
LOOK_SECONDS = 1.0
MOST_LISTENERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event for a browser."""

    kind: Literal["status", "experiments"]
    data: dict[str, Any]


class News:
    """Looks while it is entered and somebody listens."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._listeners: set[asyncio.Queue[Item | None]] = set()
        self._awake = asyncio.Event()
        self._last: Moment | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._unread = ""
        """Why the lab cannot be read."""

    async def __aenter__(self) -> News:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """Look now: something was just asked for."""
        self._awake.set()

    def end(self) -> None:
        """Nothing more will come: whoever listens may go."""
        self._over = True
        self._send(None)

    async def items(self, seconds: float) -> AsyncIterator[Item | None]:
        """The status, and then whatever is new; None where nothing was for so many seconds."""
        if len(self._listeners) >= MOST_LISTENERS:
            return
        queue: asyncio.Queue[Item | None] = asyncio.Queue(maxsize=16)
        self._listeners.add(queue)
        try:
            if (moment := await self._moment()) is not None:
                yield _status(moment)
            self._awake.set()
            while not self._over:
                try:
                    item = await asyncio.wait_for(queue.get(), seconds)
                except TimeoutError:
                    yield None
                else:
                    if item is not None:
                        yield item
        finally:
            self._listeners.discard(queue)

    async def _watch(self) -> None:
        while True:
            if not self._listeners:
                await self._awake.wait()
            self._awake.clear()
            if (moment := await self._moment()) is not None:
                self._tell(moment)
            try:
                await asyncio.wait_for(self._awake.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    async def _moment(self) -> Moment | None:
        """What can be told now; None where the lab cannot be read: it is looked at again."""
        try:
            moment = await self._lab.moment()
        except (UserError, CorruptRecord, OSError) as error:
            if str(error) != self._unread:  # said once, however often it is looked at
                log.warning("lab_unreadable", why=str(error), then="looked at again")
            self._unread = str(error)
        except Exception:  # ours, and said; it must not be the last look that is ever taken
            log.exception("look_failed")
        else:
            self._unread = ""
            return moment
        return None

    def _tell(self, moment: Moment) -> None:
        before, self._last = self._last, moment
        if before is None or before.status != moment.status:
            self._send(_status(moment))
        if before is not None and (before.version, before.ideas) != (moment.version, moment.ideas):
            self._send(Item(kind="experiments", data={"tried": moment.version[1], "ideas": len(moment.ideas)}))

    def _send(self, item: Item | None) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()  # a browser that sleeps misses what is old, never what is new
            queue.put_nowait(item)


def _status(moment: Moment) -> Item:
    return Item(kind="status", data=shown.status(moment.status))
