"""Which runs may be believed: whether the code failed or the machine, and what something else slowed down. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearchd.experiment import FAILED, Device, Ending, Experiment, Measurement, TreeOid, Verdict
from autoresearchd.incident import Disturbance
from autoresearchd.judge import MOST_REPEATS, contended
from autoresearchd.program import Program
from autoresearchd.world import World

SAME_CRASHES = 2
"""After this many equal failures in a row the next one is believed only if best still trains."""
ENVIRONMENTAL = frozenset({Ending.CRASH, Ending.OUT_OF_MEMORY, Ending.TIMEOUT})
"""Endings that a broken machine gives as well as broken code."""


def doubtful(world: World, experiment: Experiment, verdict: Verdict) -> bool:
    """Whether a failure looks like the machine's: as the last ones did, and best has not trained since."""
    if verdict.outcome not in FAILED or experiment.is_baseline:
        return False
    equal = 0
    for outcome, why in world.past.last_failures:
        if (outcome, why) != (verdict.outcome, verdict.why):
            break
        equal += 1
    newest = max((run.started for run in world.of(experiment.tree)), default=world.now)
    return equal >= SAME_CRASHES and not any(run.started >= newest for run in finished(world.of(world.best_tree)))


def trusted(world: World, runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """The runs without those failures after which best failed too, or that are their device's: they say nothing."""
    best = [run for run in world.of(world.best_tree) if not _is_excused(world, run)]
    # Who runs out of memory again where best has trained since needs more than is left, whoever has the rest.
    spared = [run for run in runs if is_the_devices(run)][:MOST_REPEATS]

    def blameless(run: Measurement) -> bool:
        if run.run in world.health.excused or run in spared:
            return True
        after = next((other for other in best if other.started >= run.started), None)
        return run.ending in ENVIRONMENTAL and after is not None and after.ending is not Ending.FINISHED

    return tuple(run for run in runs if not blameless(run))


def is_the_devices(run: Measurement) -> bool:
    """Whether the record of a failed run itself says that it was its device: gone, or its memory taken by others."""
    kinds = {incident.kind for incident in run.incidents}
    if run.ending is Ending.OUT_OF_MEMORY and kinds & {Disturbance.FOREIGN, Disturbance.HELD}:
        return True
    return run.ending in ENVIRONMENTAL and Disturbance.LOST in kinds


def _is_excused(world: World, run: Measurement) -> bool:
    return run.run in world.health.excused or is_the_devices(run)


def disturbed(world: World) -> tuple[Measurement, ...]:
    """The runs that something else on the machine slowed down: they are repeated, and nothing is judged by them."""
    parents = {opened.experiment.tree: opened.experiment.parent_tree for opened in world.opened}
    found = (_contended(world, tree, best=parents.get(tree)) for tree in sorted(world.runs))
    return tuple(run for runs in found for run in runs)


def undisturbed(world: World, tree: TreeOid, *, best: TreeOid | None = None) -> tuple[Measurement, ...]:
    """The comparable runs of a tree without the disturbed ones, oldest first."""
    slowed = {run.run for run in _contended(world, tree, best=best)}
    return tuple(run for run in world.of(tree) if run.run not in slowed)


def _contended(world: World, tree: TreeOid, *, best: TreeOid | None) -> tuple[Measurement, ...]:
    if not is_timed(world):
        return ()
    return contended(world.of(tree), best_runs=world.of(best) if best is not None and best != tree else ())


def calm(runs: Sequence[Measurement], program: Program) -> tuple[Measurement, ...]:
    """Runs of one tree in one environment without those that something slowed down: noise is measured by the rest."""
    timed = program.train.cpu_steps is None or any(Device(name=run.device).is_cuda for run in runs)
    slowed = {run.run for run in contended(runs)} if timed else set()
    return tuple(run for run in runs if run.run not in slowed)


def is_timed(world: World) -> bool:
    """Whether the budget of a training is time; in steps a slow machine changes nothing."""
    return world.program.train.cpu_steps is None or any(device.is_cuda for device in world.devices)


def failures_of_best(world: World) -> list[Measurement]:
    """The newest runs of best, oldest first, as far as none of them finished; those of a bad device left out."""
    failures: list[Measurement] = []
    for run in reversed([run for run in world.of(world.best_tree) if not _is_excused(world, run)]):
        if run.ending is Ending.FINISHED:
            break
        failures.insert(0, run)
    return failures


def finished(runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Those that gave what was asked of them."""
    return tuple(run for run in runs if run.ending is Ending.FINISHED)
