"""Sites that are over: killed, watched until nothing lives there, then their files are given away and deleted."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from autoresearchd.experiment import RunSpec
from autoresearchd.run.folders import Disposal, remove
from autoresearchd.run.phase import Phase
from autoresearchd.run.site import Site

logger = structlog.get_logger()
Keep = Callable[[Path, RunSpec], None]
"""Given what a finished training has left, before its folder goes."""


class Clearing:
    """Where sites come to their end. One thread owns it; files are deleted in another one."""

    def __init__(self, epoll: select.epoll, keep: Keep | None) -> None:
        """`epoll` wakes whoever waits for the end of their processes."""
        self._epoll, self._keep = epoll, keep
        self._dying: dict[Site, RunSpec | None] = {}
        self._unseen: set[Site] = set()
        """Of these: where looking failed, which was said."""
        self._disposal = Disposal()

    def take(self, site: Site, now: float, *, finished: RunSpec | None = None) -> None:
        """Kill what is there, and delete the files once it has ended; those of a `finished` run are `keep`'s first."""
        site.kill(now)
        self._dying[site] = finished
        self.look(now)

    def take_at_once(self, site: Site, now: float) -> None:
        """The same; where nothing lives there, nothing of it is left on return."""
        if site.is_empty:
            for path in site.release():
                remove(path)
        else:
            self.take(site, now)

    def look(self, now: float) -> None:
        """Go on with those whose processes have ended; never waits."""
        for site, finished in tuple(self._dying.items()):
            try:
                is_dead = site.is_dead(now)
            except OSError as error:  # such as that this process can open nothing more
                if site not in self._unseen:
                    logger.warning("run_not_looked_at", run=site.name, why=str(error), then="tried again")
                self._unseen.add(site)
                continue
            if is_dead:
                del self._dying[site]
                self._unseen.discard(site)
                if finished is not None and self._keep is not None:
                    self._keep(site.out(Phase.TRAIN), finished)
                self._disposal.put(*site.release())

    def wait(self, seconds: float) -> None:
        """Until all have ended, but not longer."""
        until = time.monotonic() + seconds
        self.look(time.monotonic())
        while self._dying and (rest := until - time.monotonic()) > 0:
            self._epoll.poll(min(rest, 0.1))
            self.look(time.monotonic())

    def close(self, seconds: float) -> None:
        """Wait for all processes and files, for each not longer than that; what is stuck is said and left behind."""
        self.wait(seconds)
        for site in self._dying:
            logger.error("run_stuck", run=site.name)
            self._disposal.put(*site.release())
        self._dying.clear()
        self._disposal.close(seconds)
