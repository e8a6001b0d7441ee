"""The audit of best: when a run of it is to be evaluated on the audit data too, and what these numbers say. Pure.

Nothing is decided by them: whoever looked at them to choose would need one more set of data to be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autoresearchd.experiment import Concluded, Direction, Environment, Measurement
from autoresearchd.judge import unselected_seed, value
from autoresearchd.status import AuditStatus
from autoresearchd.world import World

TRIES = 2
"""So many runs of one best are given an audit that yields no number."""


def due(world: World) -> bool:
    """Whether the next run of best is to be audited."""
    metric, every = world.program.metric, world.program.accept.audit_every
    if not world.leads or metric.audit is None or every == 0 or world.past.keeps % every:
        return False
    if any(live.spec.audit and live.spec.tree == world.best_tree for live in world.live):
        return False
    tried = [run for run in world.of(world.best_tree) if run.audited]
    return len(tried) < TRIES and not any(metric.audit_name in run.metrics for run in tried)


def seed(world: World) -> int:
    """For a run of best that nobody else asks for: one that best was not selected by, so it counts as any other."""
    live = [progress.spec.seed for progress in world.live if progress.spec.tree == world.best_tree]
    used = {*(run.seed for run in world.of(world.best_tree)), *live}
    return unselected_seed(used, planned=world.best_tree == world.baseline_tree)


def trend(
    line: Iterable[tuple[Concluded, Sequence[Measurement]]], *, metric: str, environment: Environment
) -> tuple[AuditStatus, ...]:
    """The audits along the kept line, oldest first; each pairs the two numbers of the very same weights."""
    found = []
    for concluded, runs in line:
        for run in runs:
            audit, judged = value(run, f"audit_{metric}"), value(run, metric)
            if run.environment == environment and audit is not None and judged is not None:
                found.append(AuditStatus(number=concluded.experiment.number, value=judged, audit=audit))
                break
    return tuple(found)


def word(audits: Sequence[AuditStatus], *, direction: Direction, noise: float) -> str:
    """`overfitting` where the judged number is better than at the first audit by more than one run's `noise`, and the
    audited one is not better at all; both are of the same weights, so that chance moves them alike.
    """
    if len(audits) < 2:
        return ""
    first, last = audits[0], audits[-1]
    improved = direction.gain(last.value, first.value) > noise
    return "overfitting" if improved and direction.gain(last.audit, first.audit) <= 0 else ""
