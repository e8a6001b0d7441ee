"""The whole policy: what to do next, from what is known now. Pure; the loop observes, this decides, the loop acts.

Recovery after a crash is ordinary reading: everything here follows from git, the filed measurements and what runs now,
so the plan after a restart is the plan that would have come anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autoresearchd import audit
from autoresearchd.blame import doubtful, failures_of_best, finished, is_timed, trusted, undisturbed
from autoresearchd.experiment import (
    AGENT,
    FALSE_KEEP,
    NULL,
    ON_BEST,
    PERSON,
    Device,
    Experiment,
    Gain,
    Outcome,
    Proposal,
    TreeOid,
    Verdict,
)
from autoresearchd.judge import (
    Conclude,
    Decision,
    Rules,
    Side,
    added,
    decide,
    decide_baseline,
    gain_of,
    hopeless,
    improper,
    missing_baseline_seeds,
    standing,
    unselected_seed,
    value,
)
from autoresearchd.mending import concluded_or_mended
from autoresearchd.world import (
    Action,
    Ask,
    ConcludeExperiment,
    Drop,
    Finish,
    Open,
    OpenBaseline,
    OpenExperiment,
    Prune,
    Replay,
    Settle,
    Start,
    Stop,
    World,
)

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 10.0, 1800.0


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
    return tuple(_ledger_moves(world)) or _finish(world) or tuple(_device_moves(world))


def hold(world: World) -> tuple[str, float] | None:
    """Why no training is started and until when (Unix time; infinity: until somebody acts); None when all is well."""
    if world.trouble:
        return world.trouble, float("inf")
    if world.paused:
        return "paused", float("inf")
    failures = failures_of_best(world)
    if not failures:
        return None
    wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** (len(failures) - 1), LONGEST_BACKOFF_SECONDS)
    until = failures[-1].started + failures[-1].wall_seconds + wait
    return f"best itself does not train: {failures[-1].why or failures[-1].ending}", until


def _ledger_moves(world: World) -> Iterator[Action]:
    kept = False
    # What best holds already is settled first: once best has moved on, nothing would tell that it landed.
    for opened in sorted(world.opened, key=lambda item: not item.landed):
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
    if _is_live(world, experiment.tree):
        return None
    if (refusal := _refusal(world, opened)) is not None:
        return ConcludeExperiment(experiment=experiment, verdict=refusal)
    decision = _decide(world, experiment)
    fresh = experiment.parent == world.best
    if isinstance(decision, Conclude):
        verdict = _never_kept(experiment, decision.verdict)
        if verdict.outcome in ON_BEST and not fresh:
            return Replay(experiment=experiment, alone=_alone(world, experiment, verdict))
        if doubtful(world, experiment, verdict):
            return None
        idle = hold(world) is not None or bool(_closing(world))
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
    return standing(
        best_runs=undisturbed(world, experiment.parent_tree),
        candidate_runs=trusted(world, undisturbed(world, experiment.tree, best=experiment.parent_tree)),
        baseline_runs=finished(undisturbed(world, world.baseline_tree)) if world.baseline_tree else (),
        rules=_rules(world),
        spread=world.spread,
    )


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
    if experiment.number in world.skips:
        return Verdict(outcome=Outcome.SKIPPED, why="skipped by a person")
    if why := improper(opened.changes, world.program):
        return Verdict(outcome=Outcome.REJECTED, why=why)
    if experiment.tree in (experiment.parent_tree, world.best_tree):
        return Verdict(outcome=Outcome.DUPLICATE, why="nothing in it differs from best")
    first = world.known.get(experiment.tree, experiment.number)
    if first < experiment.number:
        return Verdict(outcome=Outcome.DUPLICATE, why=f"the same tree as experiment {first:04d}")
    return None


def _rules(world: World) -> Rules:
    train = world.program.train
    seconds, steps = (train.seconds, None) if is_timed(world) else (None, train.cpu_steps)
    return replace(Rules.of(world.program), train_seconds=seconds, train_steps=steps)


def _decide(world: World, experiment: Experiment) -> Decision:
    rules = _rules(world)
    if experiment.is_baseline:
        return decide_baseline(runs=finished(undisturbed(world, experiment.tree)), rules=rules)
    assert world.baseline_tree is not None
    return decide(
        best_runs=undisturbed(world, experiment.parent_tree),  # a seed that failed is one that was tried
        candidate_runs=trusted(world, undisturbed(world, experiment.tree, best=experiment.parent_tree)),
        baseline_runs=finished(undisturbed(world, world.baseline_tree)),
        rules=rules,
        spread=world.spread,
        lines=experiment.lines,
        category=experiment.category,
        largest_gain=world.largest_gain,
    )


def _device_moves(world: World) -> Iterator[Action]:
    """Prune, start, open and ask, in this order; one run a device, each tree and seed once."""
    if _closing(world):
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
        decision = _decide(world, experiment)
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
    for seed in missing_baseline_seeds(runs=runs, rules=_rules(world)):
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


def _finish(world: World) -> tuple[Action, ...]:
    if world.live:
        return ()
    if why := _closing(world):
        return (Finish(why=why),)
    if world.remaining == 0 and not world.opened and (hold(world) is not None or not audit.due(world)):
        return (Finish(why="every experiment of the budget has its verdict"),)
    return ()


def _closing(world: World) -> str:
    """Why nothing new may begin: somebody said so, or best is as good as the program asked."""
    metric = world.program.metric
    if world.closing or metric.target is None or any(opened.experiment.is_baseline for opened in world.opened):
        return world.closing
    runs = finished(world.of(world.best_tree))
    numbers = [number for run in runs if (number := value(run, metric.name)) is not None]
    mean = sum(numbers) / len(numbers) if numbers else None
    if mean is None or metric.direction.gain(mean, metric.target) < 0:
        return ""
    return f"{metric.name} reached {mean:.6f}, the target was {metric.target}"


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


def _is_live(world: World, tree: TreeOid) -> bool:
    return any(live.spec.tree == tree for live in world.live)
