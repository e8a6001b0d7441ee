"""Devices of another environment than the one that leads best: what they screen, and what comes of it. Pure.

There the judge is asked as it is where best is led, by the runs of that environment alone. Of its answers one counts:
that a change is worse. All others, failures too, are for the leading environment to find out by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autoresearchd.experiment import Environment, Experiment, Outcome, Verdict
from autoresearchd.judge import Conclude, Decision, Measure, Side
from autoresearchd.judgement import verdict_of
from autoresearchd.world import Screen, World

WORSE = frozenset({Outcome.DISCARD, Outcome.PRUNED})
"""What a screening environment may conclude. A crash, or too little memory, may be its devices' own."""


def views(world: World) -> tuple[World, ...]:
    """The world as each environment sees it, the leading one first: its devices, live runs, noise and experiments."""
    elsewhere = {screen.environment for screen in world.screens}
    live = tuple(run for run in world.live if run.spec.environment not in elsewhere and not run.spec.scale)
    if not world.screens:
        return (replace(world, live=live),)
    opened = [item for item in world.opened if not _is_held_back(world, item.experiment)]
    opened.sort(key=lambda item: not _goes_on(world, item.experiment))
    leading = replace(world, live=live, opened=tuple(opened), screens=())
    return leading, *(_screening(world, screen) for screen in world.screens)


def worse(world: World, experiment: Experiment) -> Verdict | None:
    """What a screening environment says of an experiment that is worse there; None for any other."""
    for environment, decision in _words(world, experiment):
        if isinstance(decision, Conclude) and decision.verdict.outcome in WORSE:
            return replace(decision.verdict, why=f"screened in {environment}: {decision.verdict.why}")
    return None


def is_screened(world: World, experiment: Experiment) -> bool:
    """Whether an experiment is a screening environment's: the leading one has not begun with it, nor has to."""
    elsewhere = {screen.environment for screen in world.screens}
    tree = experiment.tree
    live = any(
        run.spec.tree == tree and run.spec.environment not in elsewhere and not run.spec.scale for run in world.live
    )
    return not (experiment.is_baseline or experiment.alone is not None or live or world.of(tree))


def _screening(world: World, screen: Screen) -> World:
    """What a screening environment still has a question about, and nobody else has begun with."""
    view = _at(world, screen)
    others = [_at(world, other) for other in world.screens if other != screen]

    def is_wanted(experiment: Experiment) -> bool:
        if experiment.is_baseline:
            return True
        if not is_screened(world, experiment) or experiment.parent != world.best:
            return False
        if any(_has_begun(other, experiment) for other in others):
            return False
        return isinstance(verdict_of(view, experiment), Measure)

    return replace(view, opened=tuple(item for item in world.opened if is_wanted(item.experiment)))


def _at(world: World, screen: Screen) -> World:
    live = tuple(run for run in world.live if run.spec.environment == screen.environment)
    return replace(
        world,
        environment=screen.environment,
        devices=screen.devices,
        spread=screen.spread,
        past=replace(world.past, largest_gain=None),
        live=live,
        screens=(),
        leads=False,
    )


def _is_held_back(world: World, experiment: Experiment) -> bool:
    """Whether its first word of a screening environment is under way."""
    if not world.screens:
        return False
    elsewhere = {screen.environment for screen in world.screens}
    live = any(run.spec.tree == experiment.tree and run.spec.environment in elsewhere for run in world.live)
    return live and is_screened(world, experiment) and not _goes_on(world, experiment)


def _goes_on(world: World, experiment: Experiment) -> bool:
    """Whether a screening environment has seen an experiment and not found it worse."""
    for _, decision in _words(world, experiment):
        if isinstance(decision, Conclude):
            return decision.verdict.outcome not in WORSE
        return decision.side is Side.CANDIDATE
    return False


def _words(world: World, experiment: Experiment) -> Iterator[tuple[Environment, Decision]]:
    """What the screening environments that trained an experiment say of it, as long as it is theirs."""
    if world.screens and is_screened(world, experiment):
        for view in (_at(world, screen) for screen in world.screens):
            if view.of(experiment.tree):
                yield view.environment, verdict_of(view, experiment)


def _has_begun(view: World, experiment: Experiment) -> bool:
    return bool(view.of(experiment.tree)) or any(run.spec.tree == experiment.tree for run in view.live)
