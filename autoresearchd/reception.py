"""Takes in what people put into the inbox: patches go to the pipeline, wishes wait for a model, the rest goes away.

A wish stays in the inbox until an experiment was made of it, or it was declined: whenever the daemon dies it is there,
and the experiment's own commit says that it was made.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice

import structlog

from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef, UnfilablePath
from autoresearchd.experiment import CommitOid
from autoresearchd.ledger import Idea, Ledger
from autoresearchd.pipeline import Pipeline
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.propose._protocol import Declined
from autoresearchd.status import RefusedIdea

log = structlog.get_logger()
NEWEST = 1_000
"""Experiments in which a wish is looked for."""
MOST_REFUSED = 20


class Reception:
    """Of one ledger; holds what is in the inbox now, and nothing of what has left it."""

    def __init__(self, *, ledger: Ledger, pipeline: Pipeline) -> None:
        self._ledger, self._pipeline = ledger, pipeline
        self._ideas: dict[Proposal, Idea] = {}
        """The proposals that wait to be opened, those that were made of wishes among them."""
        self._wishes: dict[CommitOid, Idea] = {}
        """Wishes of which no experiment was made yet."""
        self._leaving: set[Idea] = set()
        """Done with, but their branches could not be deleted yet: they are not taken in again."""
        self._refused = deque(ledger.refused(), maxlen=MOST_REFUSED)

    @property
    def waiting(self) -> int:
        """Wishes of which no experiment was made yet."""
        return len(self._wishes)

    @property
    def refused(self) -> tuple[RefusedIdea, ...]:
        """What was turned away lately, the newest last."""
        return tuple(self._refused)

    def look(self, now: float) -> None:
        """Take in what is new, and what became of the wishes."""
        ideas = self._ledger.ideas()
        self._forget(ideas)
        known = {*self._ideas.values(), *self._wishes.values()}
        for idea in (each for each in ideas if each not in known):
            self._take_in(idea, now)
        for oid, answer in tuple(self._pipeline.wishes.items()):
            self._answered(self._wishes[oid], answer, now)

    def to_ask(self) -> tuple[Wish, ...]:
        """The wishes of which nobody was asked to make a change yet."""
        made = {proposal.wish for proposal in self._ideas}
        waiting = (idea.wish for oid, idea in self._wishes.items() if oid not in made)
        return tuple(wish for wish in waiting if wish is not None and wish.oid not in self._pipeline.wishes_asked)

    def opened(self, proposal: Proposal) -> None:
        """An experiment was made of it, or cannot be: where it came by the inbox, its branch goes."""
        if (idea := self._ideas.pop(proposal, None)) is not None:
            self._drop(idea)

    def _take_in(self, idea: Idea, now: float) -> None:
        if idea in self._leaving:
            self._drop(idea)
        elif idea.wish is not None:
            self._wished(idea, idea.wish, now)
        elif idea.proposal is not None and (known := self._being_tried(idea.proposal)) is not None:
            log.info("idea_open_already", ref=idea.ref, experiment=known)
            self._drop(idea)
        elif idea.proposal is not None:
            log.info("idea_queued", ref=idea.ref, title=idea.title)
            self._ideas[idea.proposal] = idea
            self._pipeline.put(idea.proposal)
        else:
            self._turn_away(idea, idea.why, now)

    def _forget(self, ideas: tuple[Idea, ...]) -> None:
        """Let go of what was taken back, or is another commit by now; a wish may go on under another name."""
        here, wishes = frozenset(ideas), {idea.oid: idea for idea in ideas if idea.wish is not None}
        self._leaving &= here
        for proposal, idea in tuple(self._ideas.items()):
            if idea in here:
                continue
            if idea.wish is not None and idea.oid in wishes:
                self._ideas[proposal] = wishes[idea.oid]
            else:
                self._pipeline.take(proposal)
                del self._ideas[proposal]
        for oid, idea in tuple(self._wishes.items()):
            if idea in here:
                continue
            if oid in wishes:
                self._wishes[oid] = wishes[oid]
                continue
            if oid in self._pipeline.wishes_asked:
                self._pipeline.take_wish(oid)
            del self._wishes[oid]

    def _wished(self, idea: Idea, wish: Wish, now: float) -> None:
        if wish.oid in self._wishes:
            return  # the same commit under another name: one of the two is enough
        if (number := self._made_of(wish.oid)) is not None:
            log.info("wish_made_already", ref=idea.ref, experiment=number)
            self._drop(idea)
            return
        log.info("wish_queued", ref=idea.ref, title=idea.title)
        self._wishes[wish.oid] = idea

    def _being_tried(self, proposal: Proposal) -> int | None:
        """The open experiment that is just this: the daemon may have died before the idea's branch was deleted."""
        try:
            found = self._ledger.being_tried(proposal)
        except (UnfilablePath, CorruptRecord, OSError):
            return None  # whoever opens it is told the same, and says so
        return None if found is None else found.number

    def _made_of(self, wish: CommitOid) -> int | None:
        """The experiment that was made of a wish whose branch nobody could delete any more before the daemon died."""
        newest = islice(reversed(self._ledger.concluded()), NEWEST)
        tried = chain(self._ledger.opened(), (each.experiment for each in newest))
        return next((own.number for own in tried if own.wish == wish), None)

    def _answered(self, idea: Idea, answer: Proposal | Declined | None, now: float) -> None:
        self._pipeline.take_wish(idea.oid)
        if isinstance(answer, Declined):
            self._turn_away(idea, answer.why, now)
        elif answer is not None:
            self._ideas[answer] = idea
            self._pipeline.put(answer)

    def _turn_away(self, idea: Idea, why: str, now: float) -> None:
        """It cannot be tried: the reason is filed for those who ask, and its branch goes."""
        log.warning("idea_refused", ref=idea.ref, title=idea.title, why=why)
        refused = RefusedIdea(ref=idea.ref, title=idea.title, why=why, at=now)
        try:
            is_new = self._ledger.file_refused(refused, idea.words)
        except (StaleRef, RefLocked, CorruptRecord, OSError) as error:
            log.warning("refusal_not_filed", ref=refused.ref, why=str(error))
            is_new = True
        if is_new:
            self._refused.append(refused)
        self._drop(idea)

    def _drop(self, idea: Idea) -> None:
        """Delete the branch; where that cannot be now (a push is under way) it is tried again at the next look."""
        self._wishes.pop(idea.oid, None)
        self._leaving.add(idea)
        try:
            self._ledger.drop_idea(idea)
        except (StaleRef, RefLocked, CorruptRecord, OSError) as error:
            log.warning("idea_not_dropped", ref=idea.ref, why=str(error))
