"""What is known of a ledger without reading all of it again at each step; read anew at every start.

It grows by the oid of a tree and a number for each experiment that was tried: without them no proposal could be told
from one that was tried before. All else grows with the kept steps alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import structlog

from autoresearchd import audit
from autoresearchd.actions import Action, ApplyFix, ConcludeExperiment, Replay, Settle, Start
from autoresearchd.blame import SAME_CRASHES, calm
from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import (
    FAILED,
    ON_BEST,
    CommitOid,
    Concluded,
    Direction,
    Environment,
    Experiment,
    Measurement,
    Outcome,
    TreeOid,
)
from autoresearchd.judge import Spread, composed, estimate
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.proposal import Change
from autoresearchd.status import AuditStatus
from autoresearchd.world import Open, Past

log = structlog.get_logger()
NEVER_TRAINED = frozenset({Outcome.STALE, Outcome.SKIPPED})
"""Verdicts that leave a tree untried: the same change may come again."""


class Step(NamedTuple):
    """One of the steps that lead to best: what is kept of it, as there are ever more."""

    number: int
    commit: CommitOid
    tree: TreeOid
    is_baseline: bool


class Archive:
    """Of one ledger: what was tried there and what came of it, the noise, the line of best, what cannot be read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.verdicts: Counter[str] = Counter()
        self._known: dict[TreeOid, int] = {}
        """For each tree that was tried, the lowest experiment number that has it.

        What an older line of best kept may be kept again: none of it counts.
        """
        self._aside: dict[CommitOid, str] = {}
        """Open experiments that cannot be read, with why: they are left open, and the others go on."""
        self._changes: dict[CommitOid, tuple[Change, ...]] = {}
        """By what the open experiments change their parents: every step asks for it, and it stays so for ever."""
        self._spreads: dict[Environment, Spread] = {}
        self._audits: tuple[AuditStatus, ...] | None = None
        self._gains: tuple[float, ...] | None = None
        self._line: tuple[CommitOid, tuple[Step, ...]] | None = None
        self._read()

    def _read(self) -> None:
        line = tuple(self._ledger.line())
        trees, start = {step.experiment.tree for step in line}, line[-1].experiment.number if line else 0
        for entry in self._ledger.entries():
            if entry.outcome is None or entry.is_imported:
                continue
            self.verdicts[entry.outcome] += 1
            if entry.outcome not in ON_BEST or entry.number >= start or entry.tree in trees:
                self._know(entry.number, entry.tree, entry.outcome)

    def pending(self) -> tuple[Experiment, ...]:
        """The open experiments, without those that were set aside."""
        return tuple(each for each in self._ledger.opened() if each.commit not in self._aside)

    def opened(self) -> tuple[Open, ...]:
        """The same with what decisions need to know of each; one that proves unreadable is set aside."""
        found, best = list[Open](), self._ledger.best()
        known, self._changes = self._changes, {}
        for experiment in self.pending():
            try:
                commit = experiment.commit
                changes = known[commit] if commit in known else self._ledger.changes(experiment)
                self._changes[commit] = changes
                landed = best.number == experiment.number and self._ledger.landed(experiment) is not None
                found.append(Open(experiment=experiment, changes=changes, landed=landed))
            except CorruptRecord as error:
                self._set_aside(experiment, error)
        return tuple(found)

    def _set_aside(self, experiment: Experiment, error: CorruptRecord) -> None:
        """Go on without an experiment that cannot be read; the next start tries it again."""
        log.error("experiment_set_aside", experiment=experiment.number, path=error.where, why=error.why)
        self._aside[experiment.commit] = f"{experiment.ref}: {error.why}"

    def blame(self, action: Action, error: CorruptRecord) -> bool:
        """Set the experiments aside that an action was about; False where it was not about one of them alone."""
        hit = [experiment for experiment in self._ledger.opened() if _is_about(action, experiment)]
        for experiment in hit:
            self._set_aside(experiment, error)
        return bool(hit)

    def damaged(self) -> tuple[str, ...]:
        """Everything that was met and cannot be read, in words."""
        return (*(f"{place}: {why}" for place, why in self._ledger.damaged.items()), *self._aside.values())

    def concluded(self, concluded: Concluded) -> None:
        """An experiment has its verdict."""
        experiment, outcome = concluded.experiment, concluded.verdict.outcome
        self.verdicts[outcome] += 1
        self._know(experiment.number, experiment.tree, outcome)
        if outcome in ON_BEST:
            self._audits = self._gains = None

    def filed(self, run: Measurement) -> None:
        """A run is in the ledger."""
        self._spreads.clear()
        if run.audited:
            self._audits = None

    def past(self, environment: Environment, direction: Direction) -> Past:
        """What was concluded so far, by the numbers of one environment."""
        return Past(
            known=self._known,
            keeps=self.verdicts[Outcome.KEEP],
            largest_gain=self._largest_gain(environment, direction),
            last_failures=tuple(self._last_failures()),
        )

    def number_of(self, tree: TreeOid) -> int | None:
        """The experiment that a run of this tree is of; None for the imported commit before it has a number."""
        opened = next((experiment.number for experiment in self._ledger.opened() if experiment.tree == tree), None)
        return self._known.get(tree) if opened is None else opened

    def spread(self, environment: Environment, program: Program, scale: Mapping[str, float]) -> Spread:
        """The run-to-run noise in this environment, from every tree with repeats."""
        if environment not in self._spreads:
            metric, repeated = program.metric, self._ledger.repeated()
            pools = ([run for run in runs if run.environment == environment] for runs in repeated.values())
            weighed = (composed(calm(pool, program), metric, scale) for pool in pools)
            self._spreads[environment] = estimate(weighed, metric=metric.compared)
        return self._spreads[environment]

    def audits(self, environment: Environment, metric: str) -> tuple[AuditStatus, ...]:
        """What the audits of the kept line gave in this environment, oldest first."""
        if self._audits is None:
            ledger = self._ledger
            line = [(concluded, ledger.results(concluded.experiment.tree)) for concluded in ledger.line()]
            self._audits = audit.trend(reversed(line), metric=metric, environment=environment)
        return self._audits

    def line(self) -> tuple[Step, ...]:
        """The steps that lead to best, newest first, its baseline last."""
        best = self._ledger.best().commit
        if self._line is None or self._line[0] != best:
            self._line = best, tuple(_step(each.experiment) for each in self._ledger.line())
        return self._line[1]

    def _largest_gain(self, environment: Environment, direction: Direction) -> float | None:
        """Of the steps that lead to best, as far as they were measured in this environment; None before the first."""
        if self._gains is None:
            kept = [step.verdict for step in self._ledger.line() if not step.experiment.is_baseline]
            verdicts = [verdict for verdict in kept if verdict.environment == environment]
            pairs = [(v.metric, v.baseline) for v in verdicts]
            self._gains = tuple(direction.gain(new, old) for new, old in pairs if new is not None and old is not None)
        return max(self._gains, default=None)

    def _last_failures(self) -> Iterator[tuple[Outcome, str]]:
        for concluded in islice(reversed(self._ledger.concluded()), SAME_CRASHES):
            if concluded.verdict.outcome not in FAILED:
                return
            yield concluded.verdict.outcome, concluded.verdict.why

    def _know(self, number: int, tree: TreeOid, outcome: Outcome) -> None:
        if outcome not in NEVER_TRAINED:
            self._known[tree] = min(self._known.get(tree, number), number)


def _is_about(action: Action, experiment: Experiment) -> bool:
    match action:
        case Start(tree=tree):
            return experiment.tree == tree
        case Settle() | Replay() | ApplyFix() | ConcludeExperiment():
            return experiment == action.experiment
        case _:
            return False


def _step(experiment: Experiment) -> Step:
    return Step(experiment.number, experiment.commit, experiment.tree, experiment.is_baseline)
