"""What the loop logs of runs and experiments: one event a fact, under the same names everywhere.

A run is always named with its experiment, tree, device and seed; an experiment with its tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from autoresearchd.experiment import (
    ON_BEST,
    CommitOid,
    Concluded,
    Device,
    Environment,
    Experiment,
    Measurement,
    RunSpec,
)
from autoresearchd.standing import Standing

log = structlog.get_logger()


def daemon_started(
    environment: Environment, devices: Sequence[Device], screens: Mapping[Environment, Sequence[Device]]
) -> None:
    """The environment that leads best, with its devices; those of others screen."""
    others = {label: [device.name for device in own] for label, own in screens.items()}
    names = [device.name for device in devices]
    log.info("daemon_started", devices=names, environment=environment, screens=others or None)


def run_started(spec: RunSpec, experiment: int | None) -> None:
    log.info("run_started", **_run(spec, experiment), audit=spec.audit or None, scale=spec.scale or None)


def run_stopped(spec: RunSpec, experiment: int | None, why: str) -> None:
    """It was ended by the daemon, and leaves no measurement."""
    log.info("run_stopped", **_run(spec, experiment), why=why)


def run_finished(run: Measurement, experiment: int | None, metric: str) -> None:
    """It is filed, however it ended."""
    log.info(
        "run_finished",
        **_run(run, experiment),
        ending=run.ending.value,
        why=run.why or None,
        metric=run.metrics.get(metric),
        seconds=round(run.wall_seconds, 3),
    )


def run_not_filed(run: Measurement, experiment: int | None) -> None:
    """Called where an exception is handled."""
    log.exception("run_not_filed", **_run(run, experiment))


def run_disturbed(run: Measurement, experiment: int | None, why: str) -> None:
    """Something else on the machine slowed it down."""
    log.warning("run_disturbed", **_run(run, experiment), why=why)


def experiment_opened(experiment: Experiment) -> None:
    log.info("experiment_opened", **_experiment(experiment), title=experiment.title, proposer=experiment.proposer)


def experiment_replayed(experiment: Experiment) -> None:
    log.info("experiment_replayed", **_experiment(experiment))


def experiment_fixed(experiment: Experiment, crash: str) -> None:
    """It goes on with corrected code after a crash."""
    log.info("experiment_fixed", **_experiment(experiment), attempt=experiment.fix_attempts, crash=crash)


def experiment_concluded(concluded: Concluded) -> None:
    """It has its verdict, and where that moved best, that too."""
    experiment, verdict = concluded.experiment, concluded.verdict
    log.info(
        "experiment_concluded",
        **_experiment(experiment),
        verdict=verdict.outcome.value,
        metric=verdict.metric,
        baseline=verdict.baseline,
        why=verdict.why,
        flag=verdict.flag or None,
        title=experiment.title,
    )
    if verdict.outcome in ON_BEST:
        log.info("best_moved", **_experiment(experiment), commit=experiment.commit, metric=verdict.metric)


def standings_noted(standings: Mapping[CommitOid, Standing], numbers: Mapping[CommitOid, int]) -> None:
    """What is known now of kept commits on a rung."""
    for commit, standing in standings.items():
        log.info(
            "standing_noted",
            experiment=numbers.get(commit),
            scale=standing.scale,
            holds=standing.holds,
            evidence=standing.evidence,
        )


def promoted(numbers: Sequence[int], tip: CommitOid) -> None:
    """These hold on every rung, and `promoted` has them."""
    log.info("promoted_moved", experiments=numbers, commit=tip)


def _run(run: RunSpec | Measurement, experiment: int | None) -> dict[str, Any]:
    device = run.device if isinstance(run, Measurement) else run.device.name
    return {"experiment": experiment, "run": run.run, "tree": run.tree, "device": device, "seed": run.seed}


def _experiment(experiment: Experiment) -> dict[str, Any]:
    return {"experiment": experiment.number, "tree": experiment.tree}
