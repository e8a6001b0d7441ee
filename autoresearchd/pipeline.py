"""Proposals ahead of need: proposers think in a thread of their own while the devices train.

Reads the lab through its own handle on the ledger and never writes; what it made waits here until the plan opens it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import structlog

from autoresearchd.context import context_of
from autoresearchd.experiment import CommitOid, Concluded, Experiment
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.propose._protocol import Closing, Context, Declined, Failing, Fixing, Granting, Proposer
from autoresearchd.propose.constants import nothing_to_search

log = structlog.get_logger()
MOST_TAKEN = 64
"""Proposals that were taken while others were thought of: more do not wait for one answer."""
PATIENCE_SECONDS = 5.0
WISH_PAUSE_SECONDS = 5.0
"""Until somebody is looked for again who can make a change of a wish."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Pipeline:
    """Asks the proposer, keeps what it answered; steps itself, never blocks the caller.

    `wake` is called from the thinking thread whenever `ready` or `asked` has changed; `memory_mib` is what the smallest
    device has, where that is known.
    """

    def __init__(
        self, proposer: Proposer, ledger: Path, *, wake: Callable[[], None], memory_mib: float | None = None
    ) -> None:
        self._proposer, self._path, self._wake, self._memory_mib = proposer, ledger, wake, memory_mib
        self._ready: deque[Proposal] = deque()
        self._taken: deque[tuple[int, Proposal]] = deque(maxlen=MOST_TAKEN)
        self._takes = 0
        self._thinking: set[Future[None]] = set()
        self._fixes: dict[CommitOid, Future[Proposal | None]] = {}
        self._wishes: dict[CommitOid, Future[Proposal | Declined | None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proposers", daemon=True)
        self._thread.start()
        self._reader: Ledger | None = None
        self._silences = 0
        self.is_exhausted = False
        """Whether nobody had anything to say the last time or failed, with nothing open and nothing waiting."""
        self.is_silent = False
        """The same, or whoever was asked has failed: no idea is to be expected now."""
        self.lack = ""
        """What best lacks for ideas to come of themselves, where nobody had one; empty where it lacks nothing."""

    @property
    def ready(self) -> tuple[Proposal, ...]:
        """Proposals that wait for a device, oldest first."""
        return tuple(self._ready)

    @property
    def asked(self) -> int:
        """Proposals being thought of, pauses after an empty answer included."""
        return len(self._thinking)

    @property
    def fixes_asked(self) -> frozenset[CommitOid]:
        """Commits of the crashed experiments whose correction was asked for."""
        return frozenset(self._fixes)

    @property
    def fixes(self) -> Mapping[CommitOid, Proposal | None]:
        """The answers so far; None where there is no correction."""
        return {commit: future.result() for commit, future in self._fixes.items() if future.done()}

    @property
    def wishes_asked(self) -> frozenset[CommitOid]:
        """The wishes that somebody was asked to make a change of."""
        return frozenset(self._wishes)

    @property
    def wishes(self) -> Mapping[CommitOid, Proposal | Declined | None]:
        """The answers so far; None where nobody could be asked yet."""
        return {wish: future.result() for wish, future in self._wishes.items() if future.done()}

    def ask(self, program: Program, pending: tuple[Proposal | Experiment, ...]) -> None:
        """Have one proposal thought of."""
        future = asyncio.run_coroutine_threadsafe(self._think(program, pending, self._takes), self._loop)
        self._thinking.add(future)
        future.add_done_callback(self._thought)

    def ask_fix(self, program: Program, crash: Concluded, pending: tuple[Proposal | Experiment, ...]) -> None:
        """Have a crash mended by who proposed the experiment."""
        future = asyncio.run_coroutine_threadsafe(self._fix(program, crash, pending), self._loop)
        self._fixes[crash.experiment.commit] = future
        future.add_done_callback(lambda _: self._wake())

    def take_fix(self, commit: CommitOid) -> None:
        """Forget an answer that was acted on."""
        self._fixes.pop(commit, None)

    def ask_wish(self, program: Program, wish: Wish, pending: tuple[Proposal | Experiment, ...]) -> None:
        """Have a change made of a person's words."""
        future = asyncio.run_coroutine_threadsafe(self._grant(program, wish, pending), self._loop)
        self._wishes[wish.oid] = future
        future.add_done_callback(lambda _: self._wake())

    def take_wish(self, wish: CommitOid) -> None:
        """Forget a wish that was answered, or taken back: then the answer is not waited for."""
        self._wishes.pop(wish).cancel()

    def take(self, proposal: Proposal) -> None:
        """Remove a proposal that was opened, or cannot be."""
        self._takes += 1
        if self._thinking:
            self._taken.append((self._takes, proposal))  # first: who thinks meanwhile finds it in one of the two
        else:
            self._taken.clear()  # nobody is left who was asked before
        self._ready.remove(proposal)

    def put(self, proposal: Proposal) -> None:
        """Add a proposal from elsewhere (the inbox), ahead of the proposers' own."""
        self._ready.appendleft(proposal)

    def close(self) -> None:
        """Stop thinking; what was not answered is dropped."""
        for thought in tuple(self._thinking):
            thought.cancel()
        for fix in self._fixes.values():
            fix.cancel()
        for grant in self._wishes.values():
            grant.cancel()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(timeout=PATIENCE_SECONDS)
        if self._thread.is_alive():
            log.warning(
                "proposer_abandoned", proposer=self._proposer.name
            )  # it thinks without a pause; the process ends
        else:
            self._loop.close()

    async def _end(self) -> None:
        """Let those who think in the background note what that cost, and stop."""
        try:
            if isinstance(self._proposer, Closing):
                await self._proposer.close()
        except Exception:  # it ends in any case
            log.exception("proposer_failed", proposer=self._proposer.name)
        finally:
            self._loop.stop()

    async def _think(self, program: Program, pending: tuple[Proposal | Experiment, ...], since: int) -> None:
        """`since` so many were taken when this was asked for: what was opened after that is not in `pending`."""
        ready = tuple(self._ready)  # before what was taken is read: so none is missed that is taken at this moment
        pending = (*pending, *(taken for number, taken in tuple(self._taken) if number > since and taken not in ready))
        proposal, waits, lack = None, bool(pending or self._ready), ""
        try:
            context = self._context(program, pending)
            proposal = await self._proposer.propose(context)
            lack = "" if proposal is not None or waits else nothing_to_search(context.files, program)
            is_heard = not (isinstance(self._proposer, Failing) and self._proposer.is_failing)
            self.is_exhausted = proposal is None and not waits and is_heard
        except Exception:  # whatever a proposer does wrong must not end the night
            log.exception("proposer_failed", proposer=self._proposer.name)
        finally:
            if self._reader is not None:
                self._reader.rest()
        self.is_silent, self.lack = proposal is None and not waits, lack
        if proposal is not None:
            self._silences = 0
            self._ready.append(proposal)
            return
        self._silences += 1
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (self._silences - 1), LONGEST_PAUSE_SECONDS)
        log.info("no_proposal", proposer=self._proposer.name, pause_seconds=pause)
        self._wake()
        await asyncio.sleep(pause)

    async def _fix(
        self, program: Program, crash: Concluded, pending: tuple[Proposal | Experiment, ...]
    ) -> Proposal | None:
        if not isinstance(self._proposer, Fixing):
            return None
        try:
            return await self._proposer.fix(self._context(program, pending), crash)
        except Exception:  # without an answer the experiment is concluded as what it is
            log.exception("proposer_failed", proposer=self._proposer.name)
            return None

    async def _grant(
        self, program: Program, wish: Wish, pending: tuple[Proposal | Experiment, ...]
    ) -> Proposal | Declined | None:
        answer = None
        try:
            if isinstance(self._proposer, Granting):
                answer = await self._proposer.grant(self._context(program, pending), wish)
        except Exception:  # it waits in the inbox, and is asked for again
            log.exception("proposer_failed", proposer=self._proposer.name)
        if answer is None:
            await asyncio.sleep(WISH_PAUSE_SECONDS)
        return answer

    def _context(self, program: Program, pending: tuple[Proposal | Experiment, ...]) -> Context:
        if self._reader is None:
            self._reader = Ledger(self._path)
        context = context_of(self._reader, program, (*pending, *self._ready), silences=self._silences)
        return replace(context, memory_mib=self._memory_mib)

    def _thought(self, future: Future[None]) -> None:
        self._thinking.discard(future)
        self._wake()
