"""Who is asked next: the proposers as rivals, picked by what history says pays, with exploration.

Never writes. A proposer that fails or has nothing costs nobody a turn, and nothing leaves here that may not be edited
or is already known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from autoresearchd.experiment import ABLATE, NULL, Concluded, Outcome
from autoresearchd.program import Program
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.propose._misses import gain
from autoresearchd.propose._novelty import Novelty
from autoresearchd.propose._protocol import Ahead, Context, Declined, Fixing, Granting, Proposer, Steering, Troubled
from autoresearchd.propose._rest import Rest

log = structlog.get_logger()
MEMORY = 400
"""So many of the newest experiments are counted; the oldest of them weigh next to nothing."""
FADING = 0.99
"""Weight of an experiment relative to the one after it: gains get rarer as best improves, for some sooner."""
PRIOR = (1.0, 3.0)
"""Keeps and misses that everybody starts with: one in four, about what a published night of search kept."""
ATTEMPTS = 3
"""So often one proposer is asked for something that is not known yet."""
PATIENCE_SECONDS = 30.0
"""So long a question waits for those who think; then everybody is asked again, for more may be known."""
MOST_WORDS = 300
"""Of what a proposer fails with; it may be about a whole file."""
STEERED = "space"
"""The numeric sampler: a model may override its next point."""
NO_TRIAL = frozenset({Outcome.BASELINE, Outcome.STALE, Outcome.SKIPPED})
"""What says nothing about who proposed it."""


@dataclass(slots=True)
class Credit:
    """What history says of one proposer; the newest counts most."""

    keeps: float = 0.0
    trials: float = 0.0
    gained: float = 0.0
    """By its keeps, in the metric's unit."""
    seconds: float = 0.0
    """Of training that its experiments took."""
    kept: int = 0
    tried: int = 0


class Portfolio:
    """Asks the proposers in the order of a draw each from what it has gained per second of a device.

    Thompson sampling (Thompson, 1933; with discounted counts: Raj and Kalyani, 2017, arXiv:1707.09727): a rate of keeps
    drawn from its Beta posterior, times the mean gain of a keep, over the mean seconds of an experiment, both of these
    shrunk by one experiment towards everybody's mean.
    """

    name = "portfolio"

    def __init__(
        self, proposers: Sequence[Proposer], *, first: Sequence[Proposer] = (), last: Sequence[Proposer] = ()
    ) -> None:
        """`first` are asked before all others and have something to say when it is due, `last` when all are silent."""
        self.proposers, self._first, self._last = tuple(proposers), tuple(first), tuple(last)
        self._novelty = Novelty()
        self._rests: dict[str, Rest] = {}
        """Of those that failed the last time."""

    async def propose(self, context: Context) -> Proposal | None:
        with context.history.at_hand():
            if (found := await self._at_once(context)) is not None:
                return found
        await self._patience(context)
        with context.history.at_hand():
            return self._finished(context, credit(context)) or await self._in_quiet_hours(context)

    async def _at_once(self, context: Context) -> Proposal | None:
        """What somebody has to say without being waited for."""
        credits = credit(context)
        for proposer in self._first:
            if (due := await self._ask(proposer, context)) is not None:
                return replace(due, reason=f"{proposer.name} was due.")
        if (done := self._finished(context, credits)) is not None:
            return done
        silent: list[str] = []
        for proposer in self._ranked(context, credits):
            proposal = await self._ask(proposer, context)
            if proposal is not None:
                await self._steer(context, proposer, proposal)
                return _reasoned(proposal, credits, silent)
            silent.append(proposer.name)
        return None

    @property
    def is_failing(self) -> bool:
        """Whether one of them failed the last time that it was asked: it may have more to say."""
        return bool(self._rests)

    @property
    def failing(self) -> Mapping[str, str]:
        """Those that go on failing and are asked less and less, with why; may be read from any thread."""
        # A copy is made at one go; making pairs of it may collect garbage, and let the thread that thinks go on.
        found = {name: rest.trouble for name, rest in self._rests.copy().items()}
        found |= {each.name: each.trouble for each in self.proposers if isinstance(each, Troubled)}
        return {name: why for name, why in found.items() if why}

    async def fix(self, context: Context, crash: Concluded) -> Proposal | None:
        """What the one whose experiment crashed has to say to it."""
        own = [each for each in self.proposers if each.name == crash.experiment.proposer]
        for each in own:
            if isinstance(each, Fixing) and is_enabled(context.program, each):
                return await each.fix(context, crash)
        return None

    async def grant(self, context: Context, wish: Wish) -> Proposal | Declined | None:
        """What the first who can make a change of words makes of these; None while nobody can."""
        for each in self.proposers:
            if isinstance(each, Granting) and is_enabled(context.program, each):
                return await each.grant(context, wish)
        return None

    async def close(self) -> None:
        """Stop those who think while the devices train."""
        for each in self.proposers:
            if isinstance(each, Ahead):
                with self._noting(each):
                    await each.close()

    async def _in_quiet_hours(self, context: Context) -> Proposal | None:
        for proposer in self._last:
            if (idle := await self._ask(proposer, context)) is not None:
                return replace(idle, reason="Nobody else had anything to say.")
        return None

    async def _patience(self, context: Context) -> None:
        """Nobody has anything at once: wait for the first who is still thinking, but not for ever."""
        thoughts = [asyncio.ensure_future(each.wait()) for each in self._ahead(context) if each.is_thinking]
        if thoughts:
            await asyncio.wait(thoughts, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for thought in thoughts:
            thought.cancel()

    def _finished(self, context: Context, credits: Mapping[str, Credit]) -> Proposal | None:
        """What was thought of since the last time: it comes first, as its turn was then."""
        for ahead in self._ahead(context):
            proposal = None
            with self._noting(ahead):
                proposal = ahead.finished(context)
            if proposal is not None:
                return _reasoned(proposal, credits, ())
        return None

    def _ranked(self, context: Context, credits: Mapping[str, Credit]) -> list[Proposer]:
        everybody = _together(credits.values())
        enabled = [each for each in self.proposers if is_enabled(context.program, each)]
        scores = {each.name: _draw(context, credits.get(each.name, Credit()), everybody) for each in enabled}
        return sorted(enabled, key=lambda each: scores[each.name], reverse=True)

    async def _ask(self, proposer: Proposer, context: Context) -> Proposal | None:
        """Its proposal, if it has one that is allowed and new."""
        refused: list[Proposal] = []
        if (rest := self._rests.get(proposer.name)) is not None and rest.takes_turn():
            return None
        for _ in range(ATTEMPTS):
            proposal: Proposal | None = None
            why: str | None = None
            with self._noting(proposer):
                proposal = await proposer.propose(replace(context, pending=(*context.pending, *refused)))
                why = "" if proposal is None else self._novelty.objection(context, proposal)
                self._rests.pop(proposer.name, None)
            if proposal is None or why is None:
                return None
            if not why:
                return proposal
            log.info("proposal_refused", proposer=proposer.name, title=proposal.title, why=why)
            refused.append(proposal)
        return None

    async def _steer(self, context: Context, asked: Proposer, proposal: Proposal) -> None:
        """In a share of the numeric sampler's turns its next point goes to who may override it."""
        if asked.name != STEERED or context.rng.random() >= context.program.propose.llm.steer_share:
            return
        steering = [each for each in self._ahead(context) if isinstance(each, Steering)]
        if steering:
            following = await self._ask(asked, replace(context, pending=(*context.pending, proposal)))
            if following is not None:
                with self._noting(steering[0]):
                    steering[0].begin(context, following)

    @contextmanager
    def _noting(self, proposer: Proposer) -> Iterator[None]:
        """Whatever goes wrong in one source of ideas, the devices go on with the others."""
        try:
            yield
        except Exception as error:
            log.exception("proposer_failed", proposer=proposer.name)
            self._rests.setdefault(proposer.name, Rest()).failed(f"{type(error).__name__}: {error}"[:MOST_WORDS])

    def _ahead(self, context: Context) -> list[Ahead]:
        """Who thinks while the devices train."""
        return [each for each in self.proposers if isinstance(each, Ahead) and is_enabled(context.program, each)]


def build(program: Program, *more: Proposer) -> Portfolio:
    """The offline proposers and `more` as rivals; who is enabled is asked each time, as program.toml may be saved."""
    from autoresearchd.propose._observations import Observations
    from autoresearchd.propose.ablate import Ablate
    from autoresearchd.propose.combine import Combine
    from autoresearchd.propose.null import Null
    from autoresearchd.propose.patterns import Patterns
    from autoresearchd.propose.refine import Refine
    from autoresearchd.propose.retest import Retest
    from autoresearchd.propose.space import Space

    seen = Observations()
    proposers: tuple[Proposer, ...] = (Space(seen), Refine(seen), Patterns(), Retest(), Combine(), *more)
    log.info("proposers_built", enabled=[each.name for each in proposers if is_enabled(program, each)])
    return Portfolio(proposers, first=(Null(), Ablate(when_due=True)), last=(Ablate(when_due=False),))


def is_enabled(program: Program, proposer: Proposer) -> bool:
    """Whether program.toml lets it propose; one that has no table there always may."""
    table = getattr(program.propose, proposer.name, None)
    if table is not None and table.enabled is None:
        return bool(getattr(proposer, "has_key", True))
    return table is None or (bool(table.enabled) and getattr(table, "command", "") is not None)


def credit(context: Context) -> dict[str, Credit]:
    """What the newest experiments say of each proposer."""
    direction, credits = context.program.metric.direction, dict[str, Credit]()
    weight = 1.0
    for line in reversed(context.history.concluded()[-MEMORY:]):
        if line.verdict.outcome in NO_TRIAL or line.experiment.category == NULL or line.experiment.proposer == ABLATE:
            continue
        own = credits.setdefault(line.experiment.proposer, Credit())
        own.tried += 1
        own.trials += weight
        own.seconds += weight * line.verdict.train_seconds
        if line.verdict.outcome is Outcome.KEEP:
            own.kept += 1
            own.keeps += weight
            own.gained += weight * max(gain(line, direction) or 0.0, 0.0)
        weight *= FADING
    return credits


def _together(credits: Iterable[Credit]) -> Credit:
    total = Credit()
    for each in credits:
        total.keeps += each.keeps
        total.trials += each.trials
        total.gained += each.gained
        total.seconds += each.seconds
    return total


def _draw(context: Context, own: Credit, everybody: Credit) -> float:
    """Gain per second of training that this proposer may be worth."""
    rate = context.rng.betavariate(PRIOR[0] + own.keeps, PRIOR[1] + own.trials - own.keeps)
    usual_gain = everybody.gained / everybody.keeps if everybody.gained else 1.0
    usual_seconds = everybody.seconds / everybody.trials if everybody.seconds else 1.0
    mean_gain = (own.gained + usual_gain) / (own.keeps + 1)
    mean_seconds = (own.seconds + usual_seconds) / (own.trials + 1)
    return rate * mean_gain / mean_seconds


def _reasoned(proposal: Proposal, credits: Mapping[str, Credit], silent: Sequence[str]) -> Proposal:
    why = _reason(proposal.proposer, credits, silent)
    return replace(proposal, reason=f"{why} {proposal.reason}".rstrip())


def _reason(name: str, credits: Mapping[str, Credit], silent: Sequence[str]) -> str:
    """One sentence on why this proposer was picked."""
    own = credits.get(name)
    if own is None:
        words = f"{name} was picked to try it out: nothing of it was tried yet"
    else:
        gained = f", {own.gained / own.keeps:.3g} gained by a keep" if own.keeps else ""
        words = f"{name} was picked by a draw from its record: {own.kept} of its last {own.tried} kept{gained}"
        words += f", {own.seconds / own.trials:.3g} s of training each"
    return f"{words}, after {' and '.join(silent)} had nothing." if silent else f"{words}."
