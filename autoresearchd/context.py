"""What a proposer is shown of a lab: its best, its history, and the dice that it may throw."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import overload

from autoresearchd.experiment import CommitOid, Concluded, Environment, Experiment, Measurement, TreeOid
from autoresearchd.judge import improper
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.standing import Standing
from autoresearchd.weighing import Scale, weighed


class LabHistory:
    """The lab's memory as proposers see it (`propose.History`), as it is now, read through one ledger handle.

    Conversations keep it for minutes: it names what was concluded, and holds the records only while they are at hand.
    """

    def __init__(self, ledger: Ledger, program: Program) -> None:
        self._ledger, self._program = ledger, program
        self._scales: dict[Environment, Scale] = {}
        self._concluded = ledger.concluded()

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        named = self._concluded
        self._concluded = _AtHand(named)
        try:
            yield
        finally:
            self._concluded = named

    def concluded(self) -> Sequence[Concluded]:
        return self._concluded

    def imported(self) -> Sequence[Concluded]:
        return self._ledger.imported()

    def standings(self) -> Mapping[CommitOid, Sequence[Standing]]:
        return self._ledger.promotion.standings()

    def files(self, tree: TreeOid) -> Mapping[str, bytes]:
        return self._ledger.files(tree, self._program.may_edit)

    def measurements(self, tree: TreeOid) -> Sequence[Measurement]:
        """With what the judge compares beside what each run reported."""
        return weighed(self._ledger, self._ledger.measurements(tree), self._program.metric, self._scales)

    def results(self, tree: TreeOid) -> Sequence[Measurement]:
        return weighed(self._ledger, self._ledger.results(tree), self._program.metric, self._scales)

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        return self._ledger.merge(base, ours, theirs)


class _AtHand(Sequence[Concluded]):
    """Records that are read as they are asked for, and held once somebody has gone through all of them."""

    __slots__ = ("_held", "_named")

    def __init__(self, named: Sequence[Concluded]) -> None:
        self._named = named
        self._held: tuple[Concluded, ...] | None = None

    def __len__(self) -> int:
        return len(self._known)

    @overload
    def __getitem__(self, at: int) -> Concluded: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Concluded]: ...
    def __getitem__(self, at: int | slice) -> Concluded | Sequence[Concluded]:
        return self._known[at]

    def __iter__(self) -> Iterator[Concluded]:
        if self._held is None:
            self._held = tuple(self._named)
        return iter(self._held)

    def __reversed__(self) -> Iterator[Concluded]:
        return reversed(self._known)

    @property
    def _known(self) -> Sequence[Concluded]:
        return self._named if self._held is None else self._held


def context_of(
    reader: Ledger, program: Program, waiting: tuple[Proposal | Experiment, ...], *, silences: int = 0
) -> Context:
    """What a proposer sees of a lab now; `silences`: how often in a row it had nothing to say."""
    reader.refresh()
    best = reader.best()
    history = LabHistory(reader, program)
    # The same state of the lab gives the same proposals, whatever happened to the process in between; but who had no
    # idea with one draw is not asked with the same draw for ever.
    turn = f"{len(history.concluded())}/{len(waiting)}" + (f"/{silences}" if silences else "")
    rng = random.Random(f"{program.propose.seed}/{best.commit}/{turn}")
    return Context(
        program=program,
        best=best.commit,
        best_tree=best.tree,
        files=history.files(best.tree),
        history=history,
        pending=waiting,
        rng=rng,
        refuse=lambda changes: improper(changes, program),
    )
