"""What a proposer is, and what it may see: the program, the files of best, and the lab's history, all read-only."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from autoresearchd.experiment import CommitOid, Concluded, Experiment, Measurement, TreeOid
from autoresearchd.program import Program
from autoresearchd.proposal import Change, Edit, Proposal, Wish
from autoresearchd.standing import Standing


class History(Protocol):
    """The lab's memory as proposers see it. Every call is a cheap, consistent read; nothing here writes."""

    def concluded(self) -> Sequence[Concluded]:
        """Every experiment with a verdict, by number, the baseline first; each is read when it is looked at."""
        ...

    def at_hand(self) -> AbstractContextManager[None]:
        """Have all of these read once and held for so long: for who goes through them again and again."""
        ...

    def imported(self) -> Sequence[Concluded]:
        """What another program tried, by number; its numbers compare with none of ours. Many have lost their code."""
        ...

    def standings(self) -> Mapping[CommitOid, Sequence[Standing]]:
        """What is known of kept experiments on larger rungs, by their commits, newest last."""
        ...

    def files(self, tree: TreeOid) -> Mapping[str, bytes]:
        """The editable files of a tree, by path. Raises: CorruptRecord where the disk has lost one of them."""
        ...

    def measurements(self, tree: TreeOid) -> Sequence[Measurement]:
        """Every run of exactly this tree, oldest first."""
        ...

    def results(self, tree: TreeOid) -> Sequence[Measurement]:
        """The same without logs and with the end of the curves only: cheap to ask for of many trees."""
        ...

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        """Edits that bring `theirs`' change since `base` onto `ours`; None where they conflict."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one proposal is made from."""

    program: Program
    best: CommitOid
    best_tree: TreeOid
    files: Mapping[str, bytes]
    """The editable files of best, by path."""
    history: History
    pending: tuple[Proposal | Experiment, ...]
    """Proposed or open and not yet concluded: propose something else."""
    rng: random.Random
    refuse: Callable[[Sequence[Change]], str]
    """Why an experiment with such changes would be rejected before it is trained; empty where it would not."""
    memory_mib: float | None = None
    """Of the smallest device; None where nobody knows."""


class Workbench(Protocol):
    """Where a draft is tried, or made by a command: in a throw-away checkout, never in the lab's or anybody's git."""

    async def check(self, tree: TreeOid, edits: tuple[Edit, ...], *, command: str, seconds: float) -> str:
        """What `command` says against these edits of this tree; empty where it ends well in time."""
        ...

    async def work(
        self,
        tree: TreeOid,
        *,
        command: str,
        digest: str,
        seconds: float,
        environment: Mapping[str, str],
        network: bool = False,
    ) -> tuple[tuple[Edit, ...], str]:
        """Let `command` change a checkout of this tree; it finds `digest` in the file $AUTORESEARCH_DIGEST.

        Its changes of editable files, and why it ended badly: then there are none. Nothing else that it wrote is taken.
        """
        ...


class Proposer(Protocol):
    """Where ideas come from. A module's class satisfies it; there is no base class and no registry.

    `propose` never writes. It returns None when it has nothing to say now.
    """

    name: str

    async def propose(self, context: Context) -> Proposal | None: ...


@runtime_checkable
class Closing(Protocol):
    """What has something to put away at the end."""

    async def close(self) -> None:
        """Stop thinking, and note what that cost."""
        ...


@runtime_checkable
class Ahead(Proposer, Closing, Protocol):
    """A proposer that thinks longer than a device may wait: it answers None at once and has the proposal later."""

    def finished(self, context: Context) -> Proposal | None:
        """What it has thought of meanwhile, oldest first; None where there is nothing."""
        ...

    @property
    def is_thinking(self) -> bool:
        """Whether there is something to wait for."""
        ...

    async def wait(self) -> None:
        """Until one thought has ended; at once where it thinks of nothing."""
        ...


@runtime_checkable
class Troubled(Protocol):
    """What knows of its own failures and rests after them."""

    @property
    def trouble(self) -> str:
        """What goes wrong again and again; empty where nothing does. May be read from any thread."""
        ...


@runtime_checkable
class Failing(Protocol):
    """Several proposers as one, of whom some may fail where others go on."""

    @property
    def is_failing(self) -> bool:
        """Whether one of them failed the last time that it was asked: it may have more to say."""
        ...


@runtime_checkable
class Fixing(Proposer, Protocol):
    """A proposer to whom a crash of its own is given back."""

    async def fix(self, context: Context, crash: Concluded) -> Proposal | None:
        """Code for the same experiment, mended; None where there is none. `crash` has no verdict in git yet."""
        ...


@dataclass(frozen=True, slots=True)
class Declined:
    """A wish that no change can be made of, and why."""

    why: str


@runtime_checkable
class Granting(Proposer, Protocol):
    """A proposer that makes a change of a person's words."""

    async def grant(self, context: Context, wish: Wish) -> Proposal | Declined | None:
        """The change, or that there will be none; None where nobody can be asked now."""
        ...


@runtime_checkable
class Steering(Ahead, Protocol):
    """One that may override what another would try next."""

    def begin(self, context: Context, suggestion: Proposal | None = None) -> bool:
        """Begin to think, about `suggestion` where one is given; False if it cannot now."""
        ...
