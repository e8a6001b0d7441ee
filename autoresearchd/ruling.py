"""What the ledger should hold about each open experiment and does not yet: the judge's word, or a move. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autoresearchd.actions import Action, ConcludeExperiment, Replay, Settle
from autoresearchd.blame import doubtful
from autoresearchd.experiment import FALSE_KEEP, NULL, ON_BEST, Experiment, Gain, Outcome, Verdict
from autoresearchd.holds import closing, hold
from autoresearchd.judge import Conclude, added, gain_of, improper, standing
from autoresearchd.judgement import rules_of, samples, verdict_of
from autoresearchd.mending import concluded_or_mended
from autoresearchd.screening import worse
from autoresearchd.world import Open, World

CUT_OFF = Verdict(outcome=Outcome.SKIPPED, why="its rebase was ended before best moved")
"""Of the baseline that a killed rebase had opened."""


def ledger_moves(world: World) -> Iterator[Action]:
    if world.unbacked:
        return  # whatever were replayed or kept now would rest on no evidence
    kept, live = False, {run.spec.tree for run in world.live if not run.spec.scale}
    # What best holds already is settled first: once best has moved on, nothing would tell that it landed.
    for opened in sorted(world.opened, key=lambda item: not item.landed):
        if opened.experiment.tree in live and not opened.landed and opened.experiment.rebased is None:
            continue
        move = _ledger_move(world, opened)
        if isinstance(move, ConcludeExperiment) and move.verdict.outcome in ON_BEST:
            if kept:
                continue
            kept = True
        if move is not None:
            yield move


def _ledger_move(world: World, opened: Open) -> Action | None:
    """What the ledger should hold about one open experiment and does not yet."""
    experiment = opened.experiment
    if opened.landed:
        return Settle(experiment=experiment)
    if experiment.rebased is not None:
        return ConcludeExperiment(experiment=experiment, verdict=CUT_OFF)
    if (refusal := _refusal(world, opened)) is not None:
        return ConcludeExperiment(experiment=experiment, verdict=refusal)
    if (verdict := worse(world, experiment)) is not None:
        return ConcludeExperiment(experiment=experiment, verdict=verdict)
    decision = verdict_of(world, experiment)
    fresh = experiment.parent == world.best
    if isinstance(decision, Conclude):
        verdict = _never_kept(experiment, decision.verdict)
        if verdict.outcome in ON_BEST and not fresh:
            return Replay(experiment=experiment, alone=_alone(world, experiment, verdict))
        if doubtful(world, experiment, verdict) or (verdict.outcome is Outcome.KEEP and _is_unbound(world)):
            return None
        idle = hold(world) is not None or bool(closing(world))
        verdict = added(experiment, verdict, direction=world.program.metric.direction)
        return concluded_or_mended(world, experiment, verdict, idle=idle)
    # A stale experiment gets no more device time on its old parent: a keep has to be measured on the new best anyway.
    return None if fresh else Replay(experiment=experiment, alone=_alone(world, experiment))


def _alone(world: World, experiment: Experiment, verdict: Verdict | None = None) -> Gain | None:
    """What an experiment gained on the first parent that it was measured against, if it did."""
    if experiment.alone is not None or experiment.is_baseline:
        return experiment.alone
    if verdict is not None and (won := gain_of(verdict, world.program.metric.direction)) is not None:
        return won
    runs = samples(world, experiment.tree, parent=experiment.parent_tree)
    return standing(runs, rules=rules_of(world), spread=world.spread)


def _is_unbound(world: World) -> bool:
    """Whether constraints have nothing to compare with: the baseline was never trained in this environment."""
    return world.baseline_tree is not None and not world.of(world.baseline_tree)


def _never_kept(experiment: Experiment, verdict: Verdict) -> Verdict:
    """A null experiment that the judge would keep is a false keep: said, and not kept."""
    if experiment.category != NULL or verdict.outcome is not Outcome.KEEP:
        return verdict
    why = f"{FALSE_KEEP}: nothing that runs is different ({verdict.why})"
    return replace(verdict, outcome=Outcome.DISCARD, why=why)


def _refusal(world: World, opened: Open) -> Verdict | None:
    """Why an experiment is concluded without being trained, if it is."""
    experiment = opened.experiment
    if experiment.is_baseline:
        return None
    if experiment.number in world.orders.skips:
        return Verdict(outcome=Outcome.SKIPPED, why="skipped by a person")
    if why := improper(opened.changes, world.program):
        return Verdict(outcome=Outcome.REJECTED, why=why)
    if experiment.tree in (experiment.parent_tree, world.best_tree):
        return Verdict(outcome=Outcome.DUPLICATE, why="nothing in it differs from best")
    first = world.past.known.get(experiment.tree, experiment.number)
    if first < experiment.number:
        return Verdict(outcome=Outcome.DUPLICATE, why=f"the same tree as experiment {first:04d}")
    return None
