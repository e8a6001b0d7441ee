"""When promotion gets a device: its share of their time, and where nothing else is left to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoresearchd.actions import Start
from autoresearchd.experiment import Device
from autoresearchd.promotion import Move, Runs
from autoresearchd.world import World


def is_waited_for(world: World, move: Move | None) -> bool:
    """Whether a run on a rung is all that is left to do, and some device may do it."""
    return isinstance(move, Runs) and any(_fits(world, wanted.scale, world.devices) for wanted in move.wanted)


def starts(world: World, move: Move | None, free: Sequence[Device]) -> Iterator[Start]:
    """The runs on rungs to begin now. What leads best is never starved: beyond the share only when it has no more work.

    A device that waits for the next proposal is not without work, on a rung it would be busy for long; unless the last
    that was asked for did not come.
    """
    if not isinstance(move, Runs):
        return
    left, unused = _allowed(world), list(free)
    running = {(live.spec.tree, live.spec.seed, live.spec.scale) for live in world.live}
    for wanted in move.wanted:
        fitting = _fits(world, wanted.scale, unused)
        if left <= 0 or not fitting:
            return
        if (wanted.tree, wanted.seed, wanted.scale) not in running:
            unused.remove(fitting[0])
            left -= 1
            yield Start(
                tree=wanted.tree, seed=wanted.seed, device=fitting[0], scale=wanted.scale, commits=wanted.commits
            )


def _allowed(world: World) -> int:
    """How many more runs may go on there at once."""
    live, share = sum(bool(run.spec.scale) for run in world.live), world.program.promote.share
    if not world.opened and (world.orders.remaining == 0 or (world.ideas.is_silent and not world.ideas.ready)):
        return len(world.devices) - live
    if world.ladder is None or world.ladder.share >= share:
        return 0
    return max(1, int(share * len(world.devices))) - live


def _fits(world: World, scale: str, devices: Sequence[Device]) -> list[Device]:
    rung = next(rung for rung in world.program.scale if rung.name == scale)
    return [device for device in devices if rung.fits(device) and device.name not in world.health.aside]
