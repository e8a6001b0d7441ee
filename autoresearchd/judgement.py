"""What the judge says about an open experiment, by what was measured in the environment of a world. Pure."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.blame import finished, is_timed, trusted, undisturbed
from autoresearchd.experiment import Experiment, TreeOid
from autoresearchd.judge import Decision, Rules, Samples, decide, decide_baseline
from autoresearchd.program import Program
from autoresearchd.world import World


def rules_of(world: World) -> Rules:
    """The program's rules, with the budget that its devices train for."""
    return budgeted(world.program, timed=is_timed(world))


def budgeted(program: Program, *, timed: bool) -> Rules:
    """The rules where a training's budget is time, or else steps."""
    seconds, steps = (program.train.seconds, None) if timed else (None, program.train.cpu_steps)
    return replace(Rules.of(program), train_seconds=seconds, train_steps=steps)


def verdict_of(world: World, experiment: Experiment) -> Decision:
    """The verdict, or the run that it lacks."""
    rules = rules_of(world)
    if experiment.is_baseline:
        return decide_baseline(runs=finished(undisturbed(world, experiment.tree)), rules=rules)
    return decide(
        samples(world, experiment.tree, parent=experiment.parent_tree),
        rules=rules,
        spread=world.spread,
        lines=experiment.lines,
        largest_gain=world.past.largest_gain,
    )


def samples(world: World, tree: TreeOid, *, parent: TreeOid) -> Samples:
    """The runs that a tree is compared with its parent by."""
    return Samples(
        candidate=trusted(world, undisturbed(world, tree, best=parent)),
        best=undisturbed(world, parent),
        baseline=() if world.baseline_tree is None else finished(undisturbed(world, world.baseline_tree)),
    )
