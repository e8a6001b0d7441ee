"""World → Status: what the loop knows, as the one value that every view renders. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoresearchd import audit
from autoresearchd.ascent import is_waited_for
from autoresearchd.experiment import Concluded, Device, Experiment, Progress
from autoresearchd.holds import hold
from autoresearchd.ladder import next_move, standing_on
from autoresearchd.promotion import Blocked, Ladder, Level, Runs
from autoresearchd.status import AuditStatus, DeviceStatus, Idle, RefusedIdea, RungStatus, Status, device_status
from autoresearchd.world import Session, World


def describe(
    world: World,
    *,
    session: Session,
    verdicts: Mapping[str, int],
    best: Concluded | None,
    baseline: Experiment | Concluded | None,
    busy_seconds: float,
    idle_seconds: Mapping[str, float],
    concluded: int,
    side_by_side: Mapping[str, int],
    residents: Callable[[Device], Sequence[str]] = lambda device: (),
    disturbed: Sequence[str] = (),
    audits: tuple[AuditStatus, ...] = (),
    damaged: tuple[str, ...] = (),
    wishes: int = 0,
    refused: tuple[RefusedIdea, ...] = (),
    pid: int,
    state: str = "",
    why: str = "",
) -> Status:
    """The lab at the instant of `world`; `state` only where the world alone does not say it.

    `concluded` experiments, `side_by_side`, `busy_seconds` and `idle_seconds` are of this session.
    """
    held = hold(world)
    live = {progress.spec.device.name: progress for progress in world.live}
    opened = [item.experiment for item in world.opened]
    elapsed = max(world.now - session.started, 1e-9)
    running = sum(max(0.0, world.now - progress.started) for progress in world.live)
    number = best.experiment.number if best else None
    state = state or _state(world, is_held=held is not None)
    return Status(
        now=world.now,
        pid=pid,
        program=world.program.program.name,
        metric=world.program.metric.compared,
        direction=world.program.metric.direction.value,
        state=state,
        why=why or _why(world, state, held),
        until=held[1] if held and held[1] != float("inf") else None,
        best=best.verdict.metric if best else None,
        best_number=number,
        best_title=best.experiment.title if best else "",
        baseline=baseline.verdict.start if isinstance(baseline, Concluded) else None,
        verdicts=verdicts,
        open=tuple(experiment.number for experiment in opened),
        devices=tuple(
            replace(_device(world, device, live.get(device.name), number), residents=tuple(residents(device)))
            for device in world.all_devices
        ),
        ready=len(world.ready),
        thinking=world.asked,
        sandbox=session.sandbox,
        session_started=session.started,
        session_opened=session.opened,
        session_limit=session.experiments,
        session_deadline=session.deadline,
        disturbed=len(disturbed),
        disturbed_why=disturbed[-1] if disturbed else "",
        side_by_side=side_by_side,
        audits=audits,
        damaged=damaged,
        wishes=wishes,
        refused_ideas=refused,
        audit_word=audit.word(audits, direction=world.program.metric.direction, noise=world.spread.std_dev),
        busy_share=min(1.0, (busy_seconds + running) / elapsed / len(world.all_devices)),
        idle_seconds=idle_seconds,
        **_promotion(world),
        experiments_per_hour=3600 * concluded / elapsed if concluded else None,
    )


def _device(world: World, device: Device, live: Progress | None, best_number: int | None) -> DeviceStatus:
    found = device_status(device.name, device.model, live, [item.experiment for item in world.opened], best_number)
    found = replace(found, screens=device not in world.devices)
    resting = world.aside.get(device.name)
    if resting is None or live is not None:
        return found
    return replace(found, phase="set aside", why=resting.why, until=resting.until)


def _promotion(world: World) -> dict[str, Any]:
    """The fields of Status about promotion."""
    if (ladder := world.ladder) is None:
        return {}
    move, why = next_move(ladder), ""
    if isinstance(move, Blocked):
        why = f"{move.scale}: {move.why}"
    elif isinstance(move, Runs) and not is_waited_for(world, move):
        why = f"{move.wanted[0].scale}: no device that leads best fits it"
    return {
        "promoted": ladder.promoted,
        "rungs": tuple(_rung(ladder, level) for level in ladder.levels),
        "rung_share": ladder.share,
        "rung_why": why,
    }


def _rung(ladder: Ladder, level: Level) -> RungStatus:
    known: dict[bool | None, list[int]] = {True: [], False: [], None: []}
    for commit in ladder.line:
        known[standing_on(ladder.standings.get(commit, ()), level)].append(ladder.numbers[commit])
    return RungStatus(scale=level.name, holds=tuple(known[True]), falls=tuple(known[False]), unknown=tuple(known[None]))


def _state(world: World, *, is_held: bool) -> str:
    if world.live:
        return "ending" if world.closing else "training"
    return "paused" if world.paused else "held" if is_held else "idle"


def _why(world: World, state: str, held: tuple[str, float] | None) -> str:
    if state == "ending":
        return world.closing
    if held:
        return held[0]
    waits = state == "idle" and not (world.opened or world.ready or world.baseline_tree is None)
    return "no idea is at hand; the proposers are asked again" if waits and world.asked else ""


def idle(world: World) -> Idle:
    """Why the devices that train nothing now do so."""
    if world.trouble or all(device.name in world.aside for device in world.all_devices):
        return Idle.MACHINE
    if world.paused:
        return Idle.PAUSED
    if hold(world) is not None:
        return Idle.BEST_FAILS
    if world.closing:
        return Idle.ENDING
    return Idle.BUDGET_SPENT if world.remaining == 0 else Idle.NO_IDEA
