"""What a proposer is, and what it may see: the program, the files of best, and the lab's history, all read-only."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoresearchd.experiment import CommitOid, Concluded, Edit, Experiment, Measurement, Proposal, TreeOid
from autoresearchd.program import Program


class History(Protocol):
    """The lab's memory as proposers see it. Every call is a cheap, consistent read; nothing here writes."""

    def concluded(self) -> Sequence[Concluded]:
        """Every experiment with a verdict, by number, the baseline first."""
        ...

    def files(self, tree: TreeOid) -> Mapping[str, bytes]:
        """The editable files of a tree, by path."""
        ...

    def measurements(self, tree: TreeOid) -> Sequence[Measurement]:
        """Every run of exactly this tree, oldest first."""
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


class Proposer(Protocol):
    """Where ideas come from. A module's class satisfies it; there is no base class and no registry.

    `propose` never writes. It returns None when it has nothing to say now.
    """

    name: str

    async def propose(self, context: Context) -> Proposal | None: ...
