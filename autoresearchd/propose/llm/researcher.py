"""`llm`: conversations with a language model, held while the devices train something else, inside a budget.

Never writes but its own ledger of money. Whatever happens to the API, the portfolio's other proposers go on.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from autoresearchd.experiment import LLM, CommitOid, Concluded, Proposal, Wish
from autoresearchd.program import Program
from autoresearchd.propose._background import Background
from autoresearchd.propose._misses import line_of_best
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._protocol import Context, Declined, Workbench
from autoresearchd.propose.llm import prompt
from autoresearchd.propose.llm.api import Api, CallFailed
from autoresearchd.propose.llm.breaker import Breaker, Failure
from autoresearchd.propose.llm.conversation import Abandoned, Conversation, Ending, Meter
from autoresearchd.propose.llm.desk import Desk
from autoresearchd.propose.llm.fence import fence
from autoresearchd.propose.llm.key import NO_KEY, Key
from autoresearchd.propose.llm.modes import Mode, Task, bounded, choose, mended, without_crash
from autoresearchd.propose.llm.prices import Usage, is_known, rates
from autoresearchd.propose.llm.purse import Purse
from autoresearchd.propose.llm.shelf import Shelf
from autoresearchd.propose.llm.wishes import Tries
from autoresearchd.status import LlmStatus
from autoresearchd.thinkers import Llm as Settings

log = structlog.get_logger()
SMALLEST_USD = 0.001
"""With less left in the purse no conversation is begun."""
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
        self._purse, self._novelty = Purse(spend), Novelty()
        self._shelf = Shelf(None if spend is None else spend.with_name("proposals"))
        self._failures = None if spend is None else spend.with_name("api.json")
        self._whom = self._asked()
        self._breaker = Breaker(self._failures, whom=self._whom)
        self._background = Background(LLM)
        self._api: Api | None = None
        self._former: list[Api] = []
        """Those of earlier settings; a conversation may still be held with them."""
        self._endings: Counter[str] = Counter()
        self._used, self._calls = Usage(), 0
        self._serial = 0
        self._queued = 0
        """Crashes and wishes that wait for room; they go before new ideas."""
        self._tries = Tries()
        self._granted: dict[CommitOid, Proposal] = {}
        """By wish: what an earlier start was paid for and did not open."""
        self._needed = SMALLEST_USD
        """What the last call that the purse refused might have cost: with less there is no use in beginning."""
        self._desks: dict[str, tuple[Task, Desk]] = {}
        """Of the conversations that are being held."""
        self._latest: Context | None = None
        """The lab as it was last seen."""
        self.status = self._describe(clock())
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
        now = self._clock()
        if busy >= self.settings.in_flight or self._why_not(now)[0] or not self._breaker.admit(now):
            return False
        if suggestion is not None:
            task = Task(mode=Mode.STEER, suggestion=suggestion)
        else:
            rng = random.Random(f"{context.rng.random()}/{self._serial}")
            task = choose(context, rng, without=frozenset(other.mode for other, _ in self._desks.values()))
        self._background.start(partial(self._converse, context, task, self._name(now)))
        return True

    async def fix(self, context: Context, crash: Concluded) -> Proposal | None:
        """Talk about a crash, as soon as there is room; None where there is no money, no API, or no outcome."""
        self._see(context)
        own = crash.experiment
        if context.history.merge(own.parent_tree, context.best_tree, own.tree) is None:
            return None  # best has moved, and its change has no place there
        if not await self._turn():
            return None
        task = Task(mode=Mode.FIX, crash=crash)
        return await self._background.run(partial(self._converse, context, task, self._name(self._clock())))

    async def grant(self, context: Context, wish: Wish) -> Proposal | Declined | None:
        """Talk about a wish, as soon as there is room; None where there is no money, no API, or no outcome yet."""
        self._see(context)
        if (made := self._granted.pop(wish.oid, None)) is not None:
            return made
        if not await self._turn():
            return None
        task = Task(mode=Mode.WISH, wish=wish)
        made = await self._background.run(partial(self._converse, context, task, self._name(self._clock())))
        return made or self._tries.verdict(wish)

    async def _turn(self) -> bool:
        """Wait for room for a conversation that goes before new ideas; False where none may begin then."""
        self._queued += 1
        try:
            while self._background.thinking >= self.settings.in_flight:
                await self._background.wait()
        finally:
            self._queued -= 1
        now = self._clock()
        return not self._why_not(now)[0] and self._breaker.admit(now)

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
        for api in (*self._former, self._api):
            if api is not None:
                await api.close()
        self._former, self._api = [], None

    def _name(self, now: float) -> str:
        """Of a conversation, in the ledger of money."""
        self._serial += 1
        return f"{now:.6f}-{self._serial}"

    async def _converse(self, context: Context, task: Task, talk: str) -> Proposal | None:
        """One conversation, paid for and accounted for however it ends."""
        settings = bounded(self.settings, task)
        meter, breaker = self._meter(talk, settings), self._breaker
        ending, proposal, failure = Ending.CANCELLED, None, None
        log.info("conversation_began", mode=task.mode.value, model=settings.model)
        try:
            proposal = await self._talk(context, task, talk, settings, meter)
            ending = Ending.PROPOSED
        except Abandoned as error:
            ending, failure = error.ending, error.failure
            self._tries.note(task.wish, error)
        except CallFailed as error:
            ending, failure = Ending.FAILED, error.failure
        except Exception:
            ending, failure = Ending.FAILED, Failure(why="it failed in this program itself; the log says how")
            log.exception("proposer_failed", proposer=LLM)
        finally:
            self._tell(breaker, failure, answered=meter.answers > 0 and ending is not Ending.CANCELLED)
            self._desks.pop(talk, None)
            self._endings[ending.value] += 1
            self._purse.end(talk, ending.value, self._clock(), proposed=proposal is not None, mends=mended(task))
            self.status = self._describe(self._clock())
            cost = self._purse.cost(talk)
            log.info("conversation_ended", mode=task.mode.value, ending=ending.value, calls=meter.calls, cost_usd=cost)
        if proposal is None:
            return None
        paid = replace(proposal, cost_usd=cost)
        if task.crash is None:
            self._shelf.put(talk, paid)
        return paid

    def _tell(self, breaker: Breaker, failure: Failure | None, *, answered: bool) -> None:
        """Tell the breaker that a conversation began with how it went."""
        if breaker is not self._breaker:
            return  # who is asked has changed meanwhile
        if failure is not None:
            breaker.failed(failure, self._clock())
            log.warning("llm_failed", why=failure.why, until=breaker.until)
        elif answered:
            breaker.succeeded()
        else:
            breaker.dropped()

    async def _talk(self, context: Context, task: Task, talk: str, settings: Settings, meter: Meter) -> Proposal:
        if self._api is None:
            self._api = Api(settings, self._key)
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
        conversation = Conversation(self._api, settings, desk, meter, self._breaker)
        return await conversation.hold(prompt.system(context), prompt.tools(), opening)

    def _meter(self, talk: str, settings: Settings) -> Meter:
        price = rates(settings)

        def pay(usage: Usage) -> None:
            self._used, self._calls = self._used + usage, self._calls + 1
            self._purse.pay(talk, usage.usd(price), self._clock())

        def afford(usd: float) -> bool:
            self._purse.reserve(talk, 0.0)
            if usd and self._purse.objection(settings, self._program.budget.usd, usd, self._clock())[0]:
                self._needed = usd
                return False
            self._purse.reserve(talk, usd)
            return True

        return Meter(rates=price, pay=pay, afford=afford)

    def _told(self, context: Context) -> Context:
        """The context with our own finished proposals among what waits."""
        return replace(context, pending=(*context.pending, *self._background.ready))

    def _others(self) -> str:
        """What the other conversations are at: proposals of the same minute should differ."""
        lines = [
            f"- {task.mode.value}\n{fence(desk.diff(), 'draft', most=OTHERS_CHARACTERS)}"
            for task, desk in self._desks.values()
        ]
        return (
            "Others are thinking at this moment; propose something else than they:\n" + "\n".join(lines)
            if lines
            else ""
        )

    def _see(self, context: Context) -> None:
        first, self._program, self._latest = self._latest is None, context.program, context
        self._purse.look(context.history.concluded(), context.pending)
        if self._shelf.proposals:
            self._shelf.clear(but=self._purse.unopened())
        if first:
            kept = [each for each in self._shelf.proposals if _has_place(each, context)]
            self._granted = {each.wish: each for each in kept if each.wish is not None}
            self._background.ready.extend(each for each in kept if each.wish is None)
        if (whom := self._asked()) != self._whom:
            # Who is asked has changed: what the old one refused says nothing.
            self._former += [] if self._api is None else [self._api]
            self._whom, self._api, self._breaker = whom, None, Breaker(self._failures, whom=whom)
        self.status = self._describe(self._clock())

    def _asked(self) -> str:
        """Who is asked, with which key."""
        return f"{self.settings.base_url or ''} {self.settings.model} {self._key.fingerprint}"

    def _why_not(self, now: float) -> tuple[str, float | None]:
        """Why no conversation may begin, and until when."""
        if not self._key and self.settings.base_url is None:
            return "there is no API key: set ANTHROPIC_API_KEY, or the credential anthropic-api-key", None
        return self._purse.objection(self.settings, self._program.budget.usd, self._needed, now)

    def _describe(self, now: float) -> LlmStatus:
        spent, settings = self._purse.spent(now), self.settings
        why, until = self._why_not(now)
        failure, thinking = self._breaker.failure, self._background.thinking
        state = "thinking" if thinking else "ready"
        if failure is not None:
            state, why, until = ("blocked" if failure.fatal else "waiting"), failure.why, self._breaker.until
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
            calls=self._calls,
            input_tokens=self._used.whole_input,
            cached_tokens=self._used.cached,
            output_tokens=self._used.output,
            is_price_known=is_known(settings),
            endings=dict(self._endings),
        )


def _has_place(proposal: Proposal, context: Context) -> bool:
    """Whether this lab knows the best that a kept proposal was made from."""
    steps = [line.experiment for line in line_of_best(context)]
    return proposal.parent in {context.best, *(step.commit for step in steps), *(step.parent for step in steps)}
