"""Carries out what the plan wants of the ledger, and tells everybody whom it concerns. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

import structlog

from autoresearchd import announce, controls
from autoresearchd.errors import UnfilablePath
from autoresearchd.experiment import Concluded, Experiment, Outcome, Proposal, Verdict
from autoresearchd.ledger import Ledger
from autoresearchd.memory import Memory
from autoresearchd.pipeline import Pipeline
from autoresearchd.world import (
    ApplyFix,
    ConcludeExperiment,
    LedgerMove,
    OpenBaseline,
    OpenExperiment,
    Replay,
    Session,
    Settle,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clerk:
    """Writes into one ledger."""

    ledger: Ledger
    pipeline: Pipeline
    memory: Memory
    session: Session
    metric: str
    """The one that is compared."""

    def move(self, move: LedgerMove, now: float) -> None:
        """Make one move. Raises: StaleRef, RefLocked, OSError, CorruptRecord; nothing is half done then."""
        match move:
            case OpenBaseline():
                self.ledger.open_baseline(now=now)
            case OpenExperiment(proposal=proposal):
                self._open_experiment(proposal, now)
            case Settle(experiment=experiment):
                self._settled(self.ledger.settle(experiment))
            case Replay(experiment=experiment, alone=alone):
                self._replay(replace(experiment, alone=alone), now)
            case ApplyFix():
                self._apply_fix(move, now)
            case ConcludeExperiment(experiment=experiment, verdict=verdict):
                self._conclude(experiment, verdict, now)
            case _:
                assert_never(move)

    def _open_experiment(self, proposal: Proposal, now: float) -> None:
        try:
            experiment = self.ledger.open_experiment(proposal, now=now)
        except UnfilablePath as error:
            log.warning("proposal_refused", proposer=proposal.proposer, title=proposal.title, why=str(error))
        else:
            self.session.opened += 1
            announce.experiment_opened(experiment)
        self.pipeline.take(proposal)
        if (idea := self.memory.ideas.get(proposal)) is not None:
            self.memory.drop(idea, self.ledger)

    def _replay(self, experiment: Experiment, now: float) -> None:
        if (replayed := self.ledger.replay(experiment, now=now)) is not None:
            announce.experiment_replayed(replayed)
            return
        why = "its lines conflict with what was kept since"
        self._conclude(experiment, Verdict(outcome=Outcome.STALE, why=why), now)

    def _apply_fix(self, fix: ApplyFix, now: float) -> None:
        try:
            announce.experiment_fixed(self.ledger.fix(fix.experiment, fix.correction, now=now), fix.verdict.why)
        except UnfilablePath as error:
            log.warning("proposal_refused", experiment=fix.experiment.number, why=str(error))
            self._conclude(fix.experiment, fix.verdict, now)
        self.pipeline.take_fix(fix.experiment.commit)

    def _conclude(self, experiment: Experiment, verdict: Verdict, now: float) -> None:
        self._settled(self.ledger.conclude(experiment, verdict, metric=self.metric, now=now))
        self.pipeline.take_fix(experiment.commit)

    def _settled(self, concluded: Concluded) -> None:
        self.memory.concluded(concluded)
        controls.skipped(self.ledger.path, concluded.experiment.number)
        announce.experiment_concluded(concluded)
