"""The whole policy: what to do next, from what is known now. Pure; the loop observes, this decides, the loop acts.

Recovery after a crash is ordinary reading: everything here follows from git, the filed measurements and what runs now,
so the plan after a restart is the plan that would have come anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from autoresearchd import ascent, audit
from autoresearchd.actions import Action, Ask, AskWish, Drop, Finish, OpenBaseline, OpenExperiment, Prune, Start, Stop
from autoresearchd.blame import doubtful, failures_of_best, finished, undisturbed
from autoresearchd.experiment import AGENT, PERSON, Device, Experiment, TreeOid
from autoresearchd.holds import closing, hold
from autoresearchd.judge import Conclude, Side, hopeless, missing_baseline_seeds, unselected_seed
from autoresearchd.judgement import rules_of, verdict_of
from autoresearchd.promotion import Climb, Note, Promotion
from autoresearchd.proposal import Proposal
from autoresearchd.ruling import ledger_moves
from autoresearchd.screening import is_screened, views
from autoresearchd.world import World


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
        if world.orders.closing:
            return (Finish(why=world.orders.closing),)
        return () if world.is_begun else (OpenBaseline(),)
    if moves := tuple(ledger_moves(world)):
        return moves
    if isinstance(world.climb, Climb | Note | Promotion):
        return (world.climb,)
    return _finish(world) or tuple(_device_moves(world))


def _finish(world: World) -> tuple[Action, ...]:
    if world.live:
        return ()
    if why := closing(world):
        return (Finish(why=why),)
    waited_for = hold(world) is None and (audit.due(world) or ascent.is_waited_for(world, world.climb))
    if world.orders.remaining == 0 and not world.opened and not waited_for:
        return (Finish(why="every experiment of the budget has its verdict"),)
    return ()


def _device_moves(world: World) -> Iterator[Action]:
    """Prune, start, open and ask, in this order; one run a device, each tree and seed once in an environment.

    The leading devices choose first; what they begin with is not screened any more.
    """
    if closing(world):
        return
    seen = views(world)
    for view in seen:
        yield from _prunes(view, world)
    busy = {live.spec.device.name for live in world.live}
    if hold(world) is None:
        unused = [device for device in world.devices if device.name not in busy]
        climbs = list(ascent.starts(world, world.climb, unused))
        yield from climbs
        busy |= {start.device.name for start in climbs}
    begun: set[TreeOid] = set()
    idle = 0
    for view in seen:
        unused = [device for device in view.devices if device.name not in busy]
        free = [device for device in unused if device.name not in world.health.aside]
        if (held := hold(view)) is None or held[1] <= world.now:
            yield from _tries(view, unused)
            starts = list(_starts(view, free, begun))
            yield from starts
            begun |= {start.tree for start in starts} - {world.best_tree}
            idle += 0 if held else len(free) - len(starts)
    if hold(world) is None:
        yield from _new_work(world, begun, idle=idle)


def _starts(view: World, free: Sequence[Device], begun: Collection[TreeOid]) -> Iterator[Start]:
    """The next run of each free device of one environment."""
    if not free:
        return
    wanted = _canary(view) if failures_of_best(view) else _audited(view, list(_needs(view)))
    running = {(live.spec.tree, live.spec.seed) for live in view.live}
    needs = (need for need in dict.fromkeys(wanted) if (need.tree, need.seed) not in running and need.tree not in begun)
    for need, device in zip(needs, free, strict=False):
        yield Start(tree=need.tree, seed=need.seed, device=device, audit=need.audit)


def _tries(world: World, idle: Sequence[Device]) -> Iterator[Start]:
    """A run of best on each device that was set aside and has rested."""
    aside = world.health.aside
    rested = [device for device in idle if device.name in aside and aside[device.name].until <= world.now]
    for number, device in enumerate(rested):
        yield Start(tree=world.best_tree, seed=audit.seed(world) + number, device=device)


def _new_work(world: World, begun: Collection[TreeOid], *, idle: int) -> Iterator[Action]:
    """Open what is ready for idle devices, and have one proposal thought of ahead for every device.

    Where devices have nothing to do although experiments wait that nobody has begun, more of them would wait as well.
    """
    live = {progress.spec.tree for progress in world.live}
    trees = {opened.experiment.tree for opened in world.opened}
    idle -= sum(tree not in live and tree not in begun and not world.runs.get(tree) for tree in trees)
    remaining = world.orders.remaining
    measured = not any(opened.experiment.is_baseline for opened in world.opened)
    outdated = [proposal for proposal in world.ideas.ready if _outdated(world, proposal)]
    for proposal in outdated:
        yield Drop(proposal=proposal)
    ready = [proposal for proposal in world.ideas.ready if proposal not in outdated]
    if measured and ready and idle > 0 and remaining != 0:
        yield OpenExperiment(proposal=ready[0])
        return  # its device begins with it before another is opened, and before anybody thinks
    if measured and remaining != 0:
        yield from (AskWish(wish=wish) for wish in world.ideas.wishes)
    wanted = len(world.all_devices) if remaining is None else min(len(world.all_devices), remaining)
    if (missing := wanted - len(ready) - world.ideas.asked) > 0:
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
    yield from _unmeasured(world)
    begun = sorted(world.opened, key=lambda o: (not o.experiment.is_baseline, not world.of(o.experiment.tree)))
    live = {run.spec.tree for run in world.live}
    for opened in begun:
        experiment = opened.experiment
        if experiment.tree in live and not world.of(experiment.tree):
            continue  # its first run is under way: in a large fleet that is what nearly all wait for
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


def _unmeasured(world: World) -> Iterator[_Need]:
    """Best, and the baseline that constraints compare with, where nothing was measured: a new device, an upgrade."""
    is_over = world.orders.remaining == 0 and not world.opened
    if is_over or any(opened.experiment.is_baseline for opened in world.opened):
        return
    if world.leads and world.baseline_tree is not None and not world.of(world.baseline_tree):
        yield _Need(tree=world.baseline_tree, seed=0)
    if not world.spread.degrees:
        runs = finished(undisturbed(world, world.best_tree))
        for seed in missing_baseline_seeds(runs=runs, rules=rules_of(world)):
            yield _Need(tree=world.best_tree, seed=seed)


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


def _prunes(view: World, world: World) -> Iterator[Prune | Stop]:
    """Of the runs that go on in one environment: those that cannot win there, or that nobody waits for any more."""
    wanted = {opened.experiment.tree: opened.experiment for opened in world.opened if not opened.experiment.is_baseline}
    for live in view.live:
        experiment = wanted.get(live.spec.tree)
        if experiment is None:
            continue
        if experiment.number in world.orders.skips:
            yield Stop(run=live.spec.run, why="its experiment is skipped")
            continue
        if not (view.leads or is_screened(world, experiment)):
            yield Stop(run=live.spec.run, why="it is decided where best is led")
            continue
        best_runs = finished(view.of(experiment.parent_tree))
        if why := hopeless(live, best_runs, direction=view.program.metric.direction):
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
