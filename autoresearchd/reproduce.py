"""`reproduce`: an experiment's trainings once more - same tree, seeds, budget - beside the numbers on record.

Files nothing in the lab, but holds it meanwhile, so that no daemon trains on the same devices.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.equipment import equip
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Ending, Environment, Measurement
from autoresearchd.foreground import Foreground
from autoresearchd.judge import estimate
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.report.show import absent
from autoresearchd.run import reap_leftovers

ALLOWED_ERRORS = 2.0
"""Standard errors that the mean may be off: one honest repetition in twenty is further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One seed, on record and now; None where there is no number."""

    seed: int
    recorded: float | None
    now: float | None
    why: str = ""
    """How it ended where it has no number now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The repetition of one experiment."""

    number: int
    metric: str
    pairs: tuple[Pair, ...]
    std_error: float
    """Of the mean of the differences between now and the record, where nothing but chance differs; metric's unit."""

    @property
    def difference(self) -> float | None:
        """Mean of now minus record over the seeds that have both."""
        both = [pair.now - pair.recorded for pair in self.pairs if pair.now is not None and pair.recorded is not None]
        return statistics.fmean(both) if both else None

    @property
    def holds(self) -> bool:
        """Whether every seed gave a number, and their mean is the one on record within its stated error."""
        complete = all(pair.now is not None for pair in self.pairs)
        return complete and self.difference is not None and abs(self.difference) <= ALLOWED_ERRORS * self.std_error


def reproduce(program: Program, folder: Path, ledger: Ledger, number: int, say: Callable[[str], None]) -> Reproduction:
    """Train it again. Raises: UserError when it has no numbers, or they were measured in another environment."""
    found = ledger.find(number)
    if found is None:
        raise UserError(absent(ledger, number))
    if not isinstance(found, Concluded) or found.verdict.metric is None:
        raise UserError(f"experiment {number:04d} has no measured verdict; `autoresearchd log` lists those that have")
    with ledger.hold():
        reap_leftovers(ledger.path / "autoresearchd" / "runs")
        tree = found.experiment.tree
        ours = equip(program, folder, ledger, tree=tree)
        with closing(ours.executor):
            environment, devices = ours.fleet.sharing(found.verdict.environment)
            on_record = _on_record(ledger, found, environment)
            trainings = Foreground(executor=ours.executor, devices=devices, environment=environment, say=say)
            runs = list(trainings.train([(tree, seed) for seed in sorted(on_record)]))
    name = program.metric.name
    pairs = tuple(_pair(on_record[run.seed], run, name) for run in sorted(runs, key=lambda run: run.seed))
    error = _std_error(ledger, environment, name, len(pairs))
    return Reproduction(number=number, metric=name, pairs=pairs, std_error=error)


def _on_record(ledger: Ledger, found: Concluded, environment: Environment) -> dict[int, Measurement]:
    """The finished runs of its tree by seed, in this environment."""
    runs = [run for run in ledger.measurements(found.experiment.tree) if run.ending is Ending.FINISHED]
    here = {run.seed: run for run in runs if run.environment == environment}
    if not here:
        there = ", ".join(sorted({run.environment for run in runs})) or "nowhere"
        raise UserError(
            f"experiment {found.experiment.number:04d} was measured in {there}, this is {environment}: "
            "their numbers are not comparable; reproduce it on a machine of that kind"
        )
    return here


def _pair(recorded: Measurement, now: Measurement, metric: str) -> Pair:
    value = now.metrics.get(metric) if now.ending is Ending.FINISHED else None
    why = "" if value is not None else now.why or now.ending.value
    return Pair(seed=now.seed, recorded=recorded.metrics.get(metric), now=value, why=why)


def _std_error(ledger: Ledger, environment: Environment, metric: str, pairs: int) -> float:
    """From the spread between seeds that the judge itself goes by: two means over `pairs` runs each."""
    pools = ([run for run in runs if run.environment == environment] for runs in ledger.repeated().values())
    return estimate(pools, metric=metric).std_dev * math.sqrt(2.0 / pairs)
