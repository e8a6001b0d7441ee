"""The whole policy: what to do next, from what is known now. Pure; the loop observes, this decides, the loop acts.

Recovery after a crash is ordinary reading: everything here follows from git, the filed measurements and what runs now,
so the plan after a restart is the plan that would have come anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autoresearchd import audit
from autoresearchd.blame import doubtful, failures_of_best, finished, undisturbed
from autoresearchd.experiment import AGENT, PERSON, Device, Experiment, Proposal, TreeOid
from autoresearchd.holds import closing, hold
from autoresearchd.judge import Conclude, Side, hopeless, missing_baseline_seeds, unselected_seed
from autoresearchd.ruling import ledger_moves, rules_of, verdict_of
from autoresearchd.world import (
    Action,
    Ask,
    Drop,
    Finish,
    OpenBaseline,
    OpenExperiment,
    Prune,
    Start,
    Stop,
    World,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    tree: TreeOid
    seed: int
    audit: bool = False


def plan(world: World) -> tuple[Action, ...]:
    """What to do now; called again with a fresh world until it returns nothing.

    Ledger moves come alone and before anything is started, so that no run begins on a state that they change. At most
    one experiment is kept in one plan: the next one is judged against the best that the first one made.
    """
    if world.baseline_tree is None:
        return (Finish(why=world.closing),) if world.closing else (OpenBaseline(),)
    return tuple(ledger_moves(world)) or _finish(world) or tuple(_device_moves(world))


def _finish(world: World) -> tuple[Action, ...]:
    if world.live:
        return ()
    if why := closing(world):
        return (Finish(why=why),)
    if world.remaining == 0 and not world.opened and (hold(world) is not None or not audit.due(world)):
        return (Finish(why="every experiment of the budget has its verdict"),)
    return ()


def _device_moves(world: World) -> Iterator[Action]:
    """Prune, start, open and ask, in this order; one run a device, each tree and seed once."""
    if closing(world):
        return
    yield from _prunes(world)
    held = hold(world)
    needs = list(_canary(world)) if failures_of_best(world) else _audited(world, list(_needs(world)))
    if held is not None and (held[1] > world.now):
        return
    busy = {live.spec.device.name for live in world.live}
    idle = [device for device in world.devices if device.name not in busy]
    yield from _tries(world, idle)
    free = [device for device in idle if device.name not in world.aside]
    running = {(live.spec.tree, live.spec.seed) for live in world.live}
    starts = [need for need in dict.fromkeys(needs) if (need.tree, need.seed) not in running][: len(free)]
    for need, device in zip(starts, free, strict=False):
        yield Start(tree=need.tree, seed=need.seed, device=device, audit=need.audit)
    if held is None:
        yield from _new_work(world, idle=len(free) - len(starts))


def _tries(world: World, idle: Sequence[Device]) -> Iterator[Start]:
    """A run of best on each device that was set aside and has rested."""
    rested = [device for device in idle if device.name in world.aside and world.aside[device.name].until <= world.now]
    for number, device in enumerate(rested):
        yield Start(tree=world.best_tree, seed=audit.seed(world) + number, device=device)


def _new_work(world: World, *, idle: int) -> Iterator[Action]:
    """Open what is ready for idle devices, and have one proposal thought of ahead for every device."""
    allowed = len(world.ready) if world.remaining is None else world.remaining
    measured = not any(opened.experiment.is_baseline for opened in world.opened)
    outdated = [proposal for proposal in world.ready if _outdated(world, proposal)]
    for proposal in outdated:
        yield Drop(proposal=proposal)
    ready = [proposal for proposal in world.ready if proposal not in outdated]
    opening = ready[: min(max(idle, 0), allowed)] if measured else []
    for proposal in opening:
        yield OpenExperiment(proposal=proposal)
    wanted = len(world.devices)
    if world.remaining is not None:
        wanted = min(wanted, world.remaining - len(opening))
    if (missing := wanted - (len(ready) - len(opening)) - world.asked) > 0:
        yield Ask(count=missing)


def _outdated(world: World, proposal: Proposal) -> bool:
    """Whether a proposal was made for a best that is no more, by somebody who thinks for nothing.

    What a person or an agent wrote or a model was paid for is replayed on the new best instead; so is what was thought
    of while the baseline was measured: its commit changed nothing.
    """
    if proposal.parent == world.best or world.best_tree == world.baseline_tree:
        return False
    return proposal.cost_usd is None and proposal.proposer not in (PERSON, AGENT)


def _needs(world: World) -> Iterator[_Need]:
    """Runs that the open experiments wait for: what is begun comes before what is new, lower numbers first."""
    begun = sorted(world.opened, key=lambda o: (not o.experiment.is_baseline, not world.of(o.experiment.tree)))
    for opened in begun:
        experiment = opened.experiment
        if experiment.is_baseline:
            yield from _baseline_needs(world, experiment)
            continue
        decision = verdict_of(world, experiment)
        if isinstance(decision, Conclude):
            if doubtful(world, experiment, decision.verdict):
                yield from _canary(world)
        elif decision.side is Side.CANDIDATE:
            wanted = decision.audit and world.program.accept.audit_every > 0
            yield _Need(tree=experiment.tree, seed=decision.seed, audit=wanted)
        else:
            yield _Need(tree=experiment.parent_tree, seed=decision.seed)


def _baseline_needs(world: World, baseline: Experiment) -> Iterator[_Need]:
    """All the runs that the baseline lacks at once: nothing else can be done before it is known."""
    runs = finished(undisturbed(world, baseline.tree))
    for seed in missing_baseline_seeds(runs=runs, rules=rules_of(world)):
        yield _Need(tree=baseline.tree, seed=seed)


def _audited(world: World, needs: Sequence[_Need]) -> list[_Need]:
    """The same needs; where an audit is due, a run of best that is wanted anyway gets it, else one more at the end."""
    if not audit.due(world):
        return list(needs)
    running = {(live.spec.tree, live.spec.seed) for live in world.live}
    ours = [need for need in needs if need.tree == world.best_tree and (need.tree, need.seed) not in running]
    chosen = ours[0] if ours else _Need(tree=world.best_tree, seed=audit.seed(world))
    marked = replace(chosen, audit=True)
    return [marked if need == chosen else need for need in needs] if ours else [*needs, marked]


def _prunes(world: World) -> Iterator[Prune | Stop]:
    wanted = {opened.experiment.tree: opened.experiment for opened in world.opened if not opened.experiment.is_baseline}
    for live in world.live:
        experiment = wanted.get(live.spec.tree)
        if experiment is not None and experiment.number in world.skips:
            yield Stop(run=live.spec.run)
        elif experiment is not None:
            why = hopeless(live, finished(world.of(experiment.parent_tree)), direction=world.program.metric.direction)
            if why:
                yield Prune(run=live.spec.run, why=why)


def _canary(world: World) -> Iterator[_Need]:
    """A run of best that tells broken code from a broken machine; counted like any other run of best if it finishes.

    With a seed that best has not had, not even in vain: best may diverge with that very one.
    """
    tried = {run.seed for run in world.of(world.best_tree)}
    if world.best_tree == world.baseline_tree:
        seed = next(seed for seed in range(len(tried) + 1) if seed not in tried)
    else:
        seed = unselected_seed(tried, planned=False)
    yield _Need(tree=world.best_tree, seed=seed)
