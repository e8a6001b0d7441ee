"""Takes in what people put into the inbox: patches go to the pipeline, wishes wait for a model, the rest goes away.

A wish stays in the inbox until an experiment was made of it, or it was declined: whenever the daemon dies it is there,
and the experiment's own commit says that it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

import structlog

from autoresearchd.experiment import CommitOid, Proposal, Wish
from autoresearchd.ledger import Idea, Ledger
from autoresearchd.memory import Memory
from autoresearchd.pipeline import Pipeline
from autoresearchd.propose._protocol import Declined

log = structlog.get_logger()
NEWEST = 1_000
"""Experiments in which a wish is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Of one ledger."""

    ledger: Ledger
    pipeline: Pipeline
    memory: Memory

    def look(self, now: float) -> None:
        """Take in what is new, and what became of the wishes."""
        ideas = self.ledger.ideas()
        self._forget(ideas)
        known = {*self.memory.ideas.values(), *self.memory.wishes.values()}
        for idea in (each for each in ideas if each not in known):
            if idea.wish is not None:
                self._wished(idea, idea.wish, now)
            elif idea.proposal is not None:
                log.info("idea_queued", ref=idea.ref, title=idea.title)
                self.memory.ideas[idea.proposal] = idea
                self.pipeline.put(idea.proposal)
            else:
                self._turn_away(idea, idea.why, now)
        for oid, answer in tuple(self.pipeline.wishes.items()):
            self._answered(self.memory.wishes[oid], answer, now)

    def to_ask(self) -> tuple[Wish, ...]:
        """The wishes of which nobody was asked to make a change yet."""
        made = {proposal.wish for proposal in self.memory.ideas}
        waiting = (idea.wish for oid, idea in self.memory.wishes.items() if oid not in made)
        return tuple(wish for wish in waiting if wish is not None and wish.oid not in self.pipeline.wishes_asked)

    def _forget(self, ideas: tuple[Idea, ...]) -> None:
        """Let go of what was taken back, or is another commit by now; a wish may go on under another name."""
        here, wishes = frozenset(ideas), {idea.oid: idea for idea in ideas if idea.wish is not None}
        for proposal, idea in tuple(self.memory.ideas.items()):
            if idea in here:
                continue
            if idea.wish is not None and idea.oid in wishes:
                self.memory.ideas[proposal] = wishes[idea.oid]
            else:
                self.pipeline.take(proposal)
                del self.memory.ideas[proposal]
        for oid, idea in tuple(self.memory.wishes.items()):
            if idea in here:
                continue
            if oid in wishes:
                self.memory.wishes[oid] = wishes[oid]
                continue
            if oid in self.pipeline.wishes_asked:
                self.pipeline.take_wish(oid)
            del self.memory.wishes[oid]

    def _wished(self, idea: Idea, wish: Wish, now: float) -> None:
        if wish.oid in self.memory.wishes:
            return  # the same commit under another name: one of the two is enough
        if (number := self._made_of(wish.oid)) is not None:
            self._turn_away(idea, f"it became experiment {number:04d}", now)
            return
        log.info("wish_queued", ref=idea.ref, title=idea.title)
        self.memory.wishes[wish.oid] = idea

    def _made_of(self, wish: CommitOid) -> int | None:
        """The experiment that was made of a wish whose branch nobody could delete any more before the daemon died."""
        newest = islice(reversed(self.ledger.concluded()), NEWEST)
        tried = chain(self.ledger.opened(), (each.experiment for each in newest))
        return next((own.number for own in tried if own.wish == wish), None)

    def _answered(self, idea: Idea, answer: Proposal | Declined | None, now: float) -> None:
        self.pipeline.take_wish(idea.oid)
        if isinstance(answer, Declined):
            self._turn_away(idea, answer.why, now)
        elif answer is not None:
            self.memory.ideas[answer] = idea
            self.pipeline.put(answer)

    def _turn_away(self, idea: Idea, why: str, now: float) -> None:
        log.warning("idea_refused", ref=idea.ref, title=idea.title, why=why)
        self.memory.turn_away(idea, why, self.ledger, now=now)
