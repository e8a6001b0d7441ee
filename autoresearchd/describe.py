"""World → Status: what the loop knows, as the one value that every view renders. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoresearchd import audit
from autoresearchd.ascent import is_waited_for
from autoresearchd.experiment import Concluded, Device, Experiment, Progress
from autoresearchd.figures import Figures
from autoresearchd.holds import hold
from autoresearchd.ladder import standing_on
from autoresearchd.promotion import Blocked, Ladder, Level, Runs
from autoresearchd.status import (
    AuditStatus,
    DeviceStatus,
    Idle,
    RefusedIdea,
    RungStatus,
    Status,
    device_status,
    with_best,
)
from autoresearchd.world import Session, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the lab's record says to people, and no decision needs."""

    verdicts: Mapping[str, int]
    best: Concluded | None = None
    baseline: Experiment | Concluded | None = None
    audits: tuple[AuditStatus, ...] = ()
    damaged: tuple[str, ...] = ()
    residents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Who that is none of ours computes on each device, by its name."""
    wishes: int = 0
    refused: tuple[RefusedIdea, ...] = ()


def describe(
    world: World, record: Record, figures: Figures, session: Session, *, pid: int, state: str = "", why: str = ""
) -> Status:
    """The lab at the instant of `world`; `state` only where the world alone does not say it."""
    held = hold(world)
    state = state or _state(world, is_held=held is not None)
    status = Status(
        now=world.now,
        pid=pid,
        program=world.program.program.name,
        metric=world.program.metric.compared,
        direction=world.program.metric.direction.value,
        state=state,
        why=why or _why(world, state, held),
        until=held[1] if held and held[1] != float("inf") else None,
        verdicts=record.verdicts,
        open=tuple(item.experiment.number for item in world.opened),
        ready=len(world.ideas.ready),
        thinking=world.ideas.asked,
        sandbox=session.sandbox,
        session_started=session.started,
        session_opened=session.opened,
        session_limit=session.experiments,
        session_deadline=session.deadline,
    )
    status = _with_record(status, record, world)
    status = _with_figures(status, figures, world)
    status = _with_devices(status, record, world)
    return _with_promotion(status, world)


def _with_record(status: Status, record: Record, world: World) -> Status:
    direction = world.program.metric.direction
    return replace(
        with_best(status, record.best, record.baseline),
        audits=record.audits,
        audit_word=audit.word(record.audits, direction=direction, noise=world.spread.std_dev),
        damaged=record.damaged,
        wishes=record.wishes,
        refused_ideas=record.refused,
    )


def _with_figures(status: Status, figures: Figures, world: World) -> Status:
    elapsed = max(world.now - status.session_started, 1e-9)
    running = sum(max(0.0, world.now - progress.started) for progress in world.live)
    return replace(
        status,
        busy_share=min(1.0, (figures.busy_seconds + running) / elapsed / len(world.all_devices)),
        idle_seconds=dict(figures.idle_seconds),
        experiments_per_hour=3600 * figures.concluded / elapsed if figures.concluded else None,
        side_by_side=dict(figures.side_by_side),
        disturbed=figures.disturbed,
        disturbed_why=figures.disturbed_why,
    )


def _with_devices(status: Status, record: Record, world: World) -> Status:
    live = {progress.spec.device.name: progress for progress in world.live}
    found = [_device(world, device, live.get(device.name), status.best_number) for device in world.all_devices]
    return replace(
        status,
        devices=tuple(replace(each, residents=tuple(record.residents.get(each.device, ()))) for each in found),
    )


def _device(world: World, device: Device, live: Progress | None, best_number: int | None) -> DeviceStatus:
    found = device_status(device.name, device.model, live, [item.experiment for item in world.opened], best_number)
    found = replace(found, screens=device not in world.devices)
    resting = world.health.aside.get(device.name)
    if resting is None or live is not None:
        return found
    return replace(found, phase="set aside", why=resting.why, until=resting.until)


def _with_promotion(status: Status, world: World) -> Status:
    if (ladder := world.ladder) is None:
        return status
    move, why = world.climb, ""
    if isinstance(move, Blocked):
        why = f"{move.scale}: {move.why}"
    elif isinstance(move, Runs) and not is_waited_for(world, move):
        why = f"{move.wanted[0].scale}: no device that leads best fits it"
    return replace(
        status,
        promoted=ladder.promoted,
        rungs=tuple(_rung(ladder, level) for level in ladder.levels),
        rung_share=ladder.share,
        rung_why=why,
    )


def _rung(ladder: Ladder, level: Level) -> RungStatus:
    known: dict[bool | None, list[int]] = {True: [], False: [], None: []}
    for commit in ladder.line:
        known[standing_on(ladder.standings.get(commit, ()), level)].append(ladder.numbers[commit])
    return RungStatus(scale=level.name, holds=tuple(known[True]), falls=tuple(known[False]), unknown=tuple(known[None]))


def _state(world: World, *, is_held: bool) -> str:
    if world.live:
        return "ending" if world.orders.closing else "training"
    return "paused" if world.orders.paused else "held" if is_held else "idle"


def _why(world: World, state: str, held: tuple[str, float] | None) -> str:
    if state == "ending":
        return world.orders.closing
    if held:
        return held[0] if held[0] != state else ""
    waits = state == "idle" and not (world.opened or world.ideas.ready or world.baseline_tree is None)
    if not (waits and world.ideas.asked):
        return ""
    lack = f": {world.ideas.lack}; `autoresearchd doctor` says what to do" if world.ideas.lack else ""
    return f"no idea is at hand; the proposers are asked again{lack}"


def idle(world: World) -> Idle:
    """Why the devices that train nothing now do so."""
    if world.health.trouble or all(device.name in world.health.aside for device in world.all_devices):
        return Idle.MACHINE
    if world.orders.paused:
        return Idle.PAUSED
    if hold(world) is not None:
        return Idle.BEST_FAILS
    if world.orders.closing:
        return Idle.ENDING
    return Idle.BUDGET_SPENT if world.orders.remaining == 0 else Idle.NO_IDEA
