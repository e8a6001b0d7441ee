"""`llm`: conversations with a language model, held while the devices train something else, inside a budget.

Never writes but its own ledger of money. Whatever happens to the API, the portfolio's other proposers go on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from autoresearchd.experiment import LLM, CommitOid, Concluded
from autoresearchd.program import Program
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.propose._background import Background
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._observations import Observations
from autoresearchd.propose._protocol import Context, Declined, Workbench
from autoresearchd.propose.llm import prompt
from autoresearchd.propose.llm.books import Books
from autoresearchd.propose.llm.breaker import Failure
from autoresearchd.propose.llm.connection import Connection
from autoresearchd.propose.llm.conversation import Abandoned, Conversation, Ending, Meter
from autoresearchd.propose.llm.desk import Desk
from autoresearchd.propose.llm.failures import CallFailed
from autoresearchd.propose.llm.fence import fence
from autoresearchd.propose.llm.key import NO_KEY, Key
from autoresearchd.propose.llm.modes import Mode, Task, bounded, choose, without_crash
from autoresearchd.propose.llm.prices import is_known
from autoresearchd.propose.llm.purse import Purse
from autoresearchd.propose.llm.shelf import Shelf, has_place
from autoresearchd.propose.llm.wishes import Tries
from autoresearchd.status import LlmStatus
from autoresearchd.thinkers import Llm as Settings

log = structlog.get_logger()
MOST_REFUSALS = 3
"""So many in a row of ideas of its own: then the model is left alone like an API that fails."""
OTHERS_CHARACTERS = 1_500
Clock = Callable[[], float]


class Llm:
    """Satisfies `Steering`, `Fixing` and `Granting`. One event loop owns it; `status` may be read from anywhere."""

    name = LLM

    def __init__(
        self,
        program: Program,
        *,
        key: Key = NO_KEY,
        workbench: Workbench | None = None,
        spend: Path | None = None,
        clock: Clock = time.time,
    ) -> None:
        """`spend` is the file of what conversations cost; what else a stop must not lose lies beside it.

        None forgets both.
        """
        self._program, self._key, self._workbench, self._clock = program, key, workbench, clock
        failures = None if spend is None else spend.with_name("api.json")
        self._connection = Connection(program.propose.llm, key, failures, clock)
        self._books = Books(Purse(spend), clock)
        self._shelf = Shelf(None if spend is None else spend.with_name("proposals"))
        self._background, self._novelty, self._observations = Background(LLM), Novelty(), Observations()
        self._tries = Tries()
        self._serial = self._queued = self._refusals = 0
        """Names of conversations; crashes and wishes that wait for room, before new ideas; refusals in a row."""
        self._granted: dict[CommitOid, Proposal] = {}
        """By wish: what an earlier start was paid for and did not open."""
        self._desks: dict[str, tuple[Task, Desk]] = {}
        """Of the conversations that are being held."""
        self._latest: Context | None = None
        """The lab as it was last seen."""
        self.status = self._describe()
        """What it does, what it cost, and why it pauses; replaced as a whole, so that any thread may read it."""

    @property
    def has_key(self) -> bool:
        """Whether there is a key; without one it is off unless program.toml turns it on."""
        return bool(self._key)

    @property
    def settings(self) -> Settings:
        """[propose.llm] as it was last seen."""
        return self._program.propose.llm

    async def propose(self, context: Context) -> Proposal | None:
        """What is finished; else begin a conversation, if there is room and money for one, and answer None."""
        if (done := self.finished(context)) is not None:
            return done
        self.begin(context)
        return None

    def finished(self, context: Context) -> Proposal | None:
        """What a conversation has led to and nobody else proposed meanwhile."""
        self._see(context)
        while self._background.ready:
            proposal = self._background.ready.popleft()
            why = self._novelty.objection(context, proposal)
            if not why:
                return proposal
            self._shelf.drop(proposal)
            log.info("proposal_refused", proposer=LLM, title=proposal.title, why=why, cost_usd=proposal.cost_usd)
        return None

    def begin(self, context: Context, suggestion: Proposal | None = None) -> bool:
        """Begin a conversation, about the numeric sampler's next point where one is given; False if none can be."""
        self._see(context)
        busy = self._background.thinking + len(self._background.ready) + self._queued
        if busy >= self.settings.in_flight or not self._may_begin():
            return False
        if suggestion is not None:
            task = Task(mode=Mode.STEER, suggestion=suggestion, view=self._observations.read(context))
        else:
            rng = random.Random(f"{context.rng.random()}/{self._serial}")
            task = choose(context, rng, without=frozenset(other.mode for other, _ in self._desks.values()))
        self._background.start(self._conversation(context, task))
        return True

    async def fix(self, context: Context, crash: Concluded) -> Proposal | None:
        """Talk about a crash, as soon as there is room; None where there is no money, no API, or no outcome."""
        self._see(context)
        own = crash.experiment
        if context.history.merge(own.parent_tree, context.best_tree, own.tree) is None:
            return None  # best has moved, and its change has no place there
        if not await self._turn():
            return None
        return await self._background.run(self._conversation(context, Task(mode=Mode.FIX, crash=crash)))

    async def grant(self, context: Context, wish: Wish) -> Proposal | Declined | None:
        """Talk about a wish, as soon as there is room; None where there is no money, no API, or no outcome yet."""
        self._see(context)
        if (made := self._granted.pop(wish.oid, None)) is not None:
            return made
        if not await self._turn():
            return None
        made = await self._background.run(self._conversation(context, Task(mode=Mode.WISH, wish=wish)))
        return made or self._tries.verdict(wish)

    async def _turn(self) -> bool:
        """Wait for room for a conversation that goes before new ideas; False where none may begin then."""
        self._queued += 1
        try:
            while self._background.thinking >= self.settings.in_flight:
                await self._background.wait()
        finally:
            self._queued -= 1
        return self._may_begin()

    def _may_begin(self) -> bool:
        return not self._why_not()[0] and self._connection.may_ask()

    @property
    def is_thinking(self) -> bool:
        """Whether there is something to wait for."""
        return self._background.thinking > 0

    async def wait(self) -> None:
        """Until one conversation has ended; at once where none is held."""
        await self._background.wait()

    async def close(self) -> None:
        """Give up what is being thought of; what that cost is written down."""
        await self._background.close()
        await self._connection.close()

    def _conversation(self, context: Context, task: Task) -> Callable[[], Awaitable[Proposal | None]]:
        """One that has its name in the ledger of money from now on."""
        self._serial += 1
        return partial(self._converse, context, task, f"{self._clock():.6f}-{self._serial}")

    async def _converse(self, context: Context, task: Task, talk: str) -> Proposal | None:
        """One conversation, paid for and accounted for however it ends."""
        settings, breaker = bounded(self.settings, task), self._connection.breaker
        meter = self._books.meter(talk, settings, self._program.budget.usd)
        ending, proposal, failure = Ending.CANCELLED, None, None
        log.info("conversation_began", mode=task.mode.value, model=settings.model)
        try:
            proposal = await self._talk(context, task, talk, settings, meter)
            ending = Ending.PROPOSED
        except Abandoned as error:
            ending, failure = error.ending, error.failure or self._refused(task, error)
            self._tries.note(task.wish, error)
        except CallFailed as error:
            ending, failure = Ending.FAILED, error.failure
        except Exception:
            ending, failure = Ending.FAILED, Failure(why="it failed in this program itself; the log says how")
            log.exception("proposer_failed", proposer=LLM)
        finally:
            answered = meter.answers > 0 and ending is not Ending.CANCELLED
            self._connection.tell(breaker, failure, answered=answered)
            self._desks.pop(talk, None)
            cost = self._books.close(talk, task, ending, meter.calls)
            self.status = self._describe()
        return None if proposal is None else self._kept(replace(proposal, cost_usd=cost), task, talk)

    def _refused(self, task: Task, error: Abandoned) -> Failure | None:
        """What the breaker is told where the model goes on refusing this lab's work: each time costs money."""
        if task.wish is not None:
            return None
        self._refusals = self._refusals + 1 if error.ending is Ending.REFUSED else 0
        if self._refusals < MOST_REFUSALS:
            return None
        why = f": {error.words}" if error.words else ""
        return Failure(why=f"the model refused {self._refusals} times in a row{why}")

    def _kept(self, paid: Proposal, task: Task, talk: str) -> Proposal:
        """What was paid for, where a stop does not lose it."""
        self._refusals = 0
        if task.crash is None:
            self._shelf.put(talk, paid)
        return paid

    async def _talk(self, context: Context, task: Task, talk: str, settings: Settings, meter: Meter) -> Proposal:
        desk = Desk(
            context,
            task,
            workbench=self._workbench,
            novelty=self._novelty,
            scrub=self._key.scrub,
            latest=lambda: self._told(self._latest or context),
        )
        told = without_crash(self._told(context), task)
        opening = [{**block, "text": self._key.scrub(block["text"])} for block in prompt.opening(told, task)]
        if others := self._others():
            opening.append({"type": "text", "text": self._key.scrub(others)})
        self._desks[talk] = task, desk
        conversation = Conversation(self._connection.api, settings, desk, meter, self._connection.breaker)
        return await conversation.hold(prompt.system(context), prompt.tools(), opening)

    def _told(self, context: Context) -> Context:
        """The context with our own finished proposals among what waits."""
        return replace(context, pending=(*context.pending, *self._background.ready))

    def _others(self) -> str:
        """What the other conversations are at: proposals of the same minute should differ."""
        lines = [
            f"- {task.mode.value}\n{fence(desk.draft.diff(), 'draft', most=OTHERS_CHARACTERS)}"
            for task, desk in self._desks.values()
        ]
        return (
            "Others are thinking at this moment; propose something else than they:\n" + "\n".join(lines)
            if lines
            else ""
        )

    def _see(self, context: Context) -> None:
        first, self._program, self._latest = self._latest is None, context.program, context
        self._books.purse.look(context.history.concluded(), context.pending)
        if self._shelf.proposals:
            self._shelf.clear(but=self._books.purse.unopened())
        if first:
            kept = [each for each in self._shelf.proposals if has_place(each, context)]
            self._granted = {each.wish: each for each in kept if each.wish is not None}
            self._background.ready.extend(each for each in kept if each.wish is None)
        self._connection.follow(self.settings)
        self.status = self._describe()

    def _why_not(self, *, held: bool = True) -> tuple[str, float | None]:
        """Why no conversation may begin, and until when; but for `held`, what calls in flight may cost is free."""
        if not self._key and self.settings.base_url is None:
            return "there is no API key: set ANTHROPIC_API_KEY, or the credential anthropic-api-key", None
        return self._books.objection(self.settings, self._program.budget.usd, held=held)

    def _describe(self) -> LlmStatus:
        settings, books, thinking = self.settings, self._books, self._background.thinking
        spent, failure = books.purse.spent(self._clock()), self._connection.breaker.failure
        why, until = self._why_not(held=False)
        state = "thinking" if thinking else "ready"
        if failure is not None:
            why, until = failure.why, self._connection.breaker.until
            state = "blocked" if failure.fatal else "waiting"
        elif why:
            state = "over budget" if self._key or settings.base_url else "blocked"
        return LlmStatus(
            model=settings.model,
            state=state,
            why=why,
            until=until,
            spent_today=round(spent.today, 6),
            spent_total=round(spent.total, 6),
            usd_per_day=settings.usd_per_day,
            usd_total=settings.usd_total,
            thinking=thinking,
            ready=len(self._background.ready),
            calls=books.calls,
            input_tokens=books.used.whole_input,
            cached_tokens=books.used.cached,
            output_tokens=books.used.output,
            is_price_known=is_known(settings),
            endings=dict(books.endings),
        )
