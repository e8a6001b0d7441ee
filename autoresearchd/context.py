"""What a proposer is shown of a lab: its best, its history, and the dice that it may throw."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autoresearchd.experiment import CommitOid, Concluded, Environment, Experiment, Measurement, TreeOid
from autoresearchd.judge import improper
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.standing import Standing
from autoresearchd.weighing import Scale, weighed


@dataclass(frozen=True)
class LabHistory:
    """The lab's memory as proposers see it (`propose.History`) for one proposal, read through one ledger handle."""

    ledger: Ledger
    program: Program
    scales: dict[Environment, Scale] = field(default_factory=dict)

    @cached_property
    def _concluded(self) -> tuple[Concluded, ...]:
        """Read once: proposers go through all of it again and again, and the ledger holds the newest only."""
        return tuple(self.ledger.concluded())

    def concluded(self) -> Sequence[Concluded]:
        return self._concluded

    def imported(self) -> Sequence[Concluded]:
        return self.ledger.imported()

    def standings(self) -> Mapping[CommitOid, Sequence[Standing]]:
        return self.ledger.promotion.standings()

    def files(self, tree: TreeOid) -> Mapping[str, bytes]:
        return self.ledger.files(tree, self.program.may_edit)

    def measurements(self, tree: TreeOid) -> Sequence[Measurement]:
        """With what the judge compares beside what each run reported."""
        return weighed(self.ledger, self.ledger.measurements(tree), self.program.metric, self.scales)

    def results(self, tree: TreeOid) -> Sequence[Measurement]:
        return weighed(self.ledger, self.ledger.results(tree), self.program.metric, self.scales)

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        return self.ledger.merge(base, ours, theirs)


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
