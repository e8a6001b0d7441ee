"""Which cores a CPU slot has to itself. Looks only; `bounds` puts it on the processes of a run."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device
from autoresearchd.slots import Devices

logger = structlog.get_logger()
TOPOLOGY = Path("/sys/devices/system/cpu")


def pinned(devices: Devices, device: Device) -> tuple[int, ...]:
    """The cores of a slot, an even share of those that this process may use; empty where a run may use them all.

    Raises: UserError where program.toml asks for pins and a slot would have no whole core.
    """
    slots = devices.cpu_names
    if not devices.cpu_pin or device.name not in slots:
        return ()
    ours = sorted(os.sched_getaffinity(0), key=_place)
    share, at = len(ours) // len(slots), slots.index(device.name)
    if share == 0:
        raise UserError(
            f"devices.cpu_pin is true, and {len(slots)} slots cannot have a core each: this machine has {len(ours)}; "
            "use fewer slots, or cpu_pin = false"
        )
    return tuple(ours[at * share : (at + 1) * share])


def shares(devices: Devices) -> dict[str, tuple[int, ...]]:
    """The cores of every CPU slot by its name, empty where pins are not asked for. Raises: UserError like `pinned`."""
    if not devices.cpu_pin:
        return {}
    return {name: pinned(devices, Device(name=name)) for name in devices.cpu_names}


def left(pins: tuple[int, ...], device: str) -> tuple[int, ...]:
    """Those of a slot's cores that this process may still use: a cpuset can shrink at any time, which ends no night.

    Empty, so that a run may use whatever there is, where none of them is left.
    """
    now = tuple(core for core in pins if core in os.sched_getaffinity(0))
    if now != pins:
        logger.warning("cores_lost", device=device, pinned=pins, left=now, then="its runs share what there is")
    return now


def _place(core: int) -> tuple[int, int, int]:
    """Neighbours are those that share a package and a physical core: no two slots share one where that can be."""
    return _topology(core, "physical_package_id"), _topology(core, "core_id"), core


def _topology(core: int, what: str) -> int:
    try:
        return int((TOPOLOGY / f"cpu{core}" / "topology" / what).read_text("ascii"))
    except (OSError, ValueError):
        return 0  # not told everywhere; then the cores' own numbers have to do
