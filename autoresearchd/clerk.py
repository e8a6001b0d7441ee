"""Carries out what the plan wants of the ledger, and tells everybody whom it concerns. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

import structlog

from autoresearchd import announce, controls
from autoresearchd.actions import ApplyFix, ConcludeExperiment, LedgerMove, OpenBaseline, OpenExperiment, Replay, Settle
from autoresearchd.errors import UnfilablePath
from autoresearchd.experiment import Concluded, Environment, Experiment, Outcome, TreeOid, Verdict
from autoresearchd.judge import value
from autoresearchd.ledger import Ledger
from autoresearchd.memory import Memory
from autoresearchd.pipeline import Pipeline
from autoresearchd.promotion import Climb, Note, Promotion
from autoresearchd.proposal import Proposal
from autoresearchd.reception import Reception
from autoresearchd.trailers import number
from autoresearchd.world import Session
from autoresearchd.yardstick import Metric

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clerk:
    """Writes into one ledger."""

    ledger: Ledger
    pipeline: Pipeline
    memory: Memory
    reception: Reception
    session: Session
    metric: Metric
    environment: Environment
    """In which best is led."""

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
            case Climb(tip=tip):
                self.ledger.promotion.look(tip, baseline=self.memory.archive.line()[-1].commit)
            case Note(standings=standings):
                self.ledger.promotion.note(standings, now=now)
                announce.standings_noted(standings, {step.commit: step.number for step in self.memory.archive.line()})
            case Promotion():
                self._promote(move, now)
            case _:
                assert_never(move)

    def _open_experiment(self, proposal: Proposal, now: float) -> None:
        try:
            experiment = self.ledger.open_experiment(proposal, now=now)
        except UnfilablePath as error:
            log.warning("proposal_refused", proposer=proposal.proposer, title=proposal.title, why=str(error))
        else:
            self.session.waiting.add(experiment.number)
            announce.experiment_opened(experiment)
        self.pipeline.take(proposal)
        self.reception.opened(proposal)

    def _replay(self, experiment: Experiment, now: float) -> None:
        if (replayed := self.ledger.replay(experiment, now=now)) is not None:
            self.pipeline.take_fix(experiment.commit)  # a correction of what it was before, should one be under way
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

    def _promote(self, promotion: Promotion, now: float) -> None:
        line = {step.commit: step for step in self.memory.archive.line()}
        audits = {commit: self._audit(line[commit].tree) for commit in promotion.commits}
        scales = {
            commit: {f"Scale-{scale}": text for scale, text in evidence.items()}
            for commit, evidence in promotion.evidence.items()
        }
        trailers = {commit: {**scales[commit], **audits[commit]} for commit in promotion.commits}
        tip = self.ledger.promotion.promote(promotion.commits, trailers, onto=promotion.onto, now=now)
        announce.promoted([line[commit].number for commit in promotion.commits], tip)

    def _audit(self, tree: TreeOid) -> dict[str, str]:
        """The number on the audit data where best is led, if there is one."""
        runs = self.ledger.measurements(tree)
        audited = [run for run in runs if run.audited and run.environment == self.environment]
        found = [known for run in audited if (known := value(run, self.metric.audit_name)) is not None]
        return {"Audit": f"{self.metric.name}={number(found[-1])}"} if found else {}

    def _conclude(self, experiment: Experiment, verdict: Verdict, now: float) -> None:
        self._settled(self.ledger.conclude(experiment, verdict, metric=self.metric.compared, now=now))
        self.pipeline.take_fix(experiment.commit)

    def _settled(self, concluded: Concluded) -> None:
        own, outcome = concluded.experiment, concluded.verdict.outcome
        is_trained = outcome is not Outcome.DUPLICATE and bool(self.ledger.results(own.tree))
        self.session.settled(own.number, is_trained=is_trained)
        self.memory.concluded(concluded)
        controls.skipped(self.ledger.path, own.number)
        announce.experiment_concluded(concluded)
