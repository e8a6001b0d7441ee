"""The devices of this machine by what their numbers may be compared with: who leads best, and who screens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from autoresearchd.errors import NotYet, UserError
from autoresearchd.experiment import Device, Environment
from autoresearchd.program import Program
from autoresearchd.run.device import environment, slug
from autoresearchd.run.warm import modules_ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Devices, by environment."""

    environment: Environment
    """The one in which best is led."""
    devices: tuple[Device, ...]
    """Of that environment."""
    screens: Mapping[Environment, tuple[Device, ...]] = field(default_factory=dict)
    """The devices of all others."""
    ahead: tuple[str, ...] = ()
    """What the interpreters of the next runs import, where that takes no time from anybody."""
    scales: Mapping[str, Environment] = field(default_factory=dict)
    """What a run of the leading devices counts for on each rung above the first."""

    def sharing(self, wanted: Environment) -> tuple[Environment, tuple[Device, ...]]:
        """The devices of an environment, or the leading ones where it is not here."""
        return (wanted, self.screens[wanted]) if wanted in self.screens else (self.environment, self.devices)


def fleet(
    program: Program,
    devices: Sequence[Device],
    *,
    folder: Path,
    protected: Mapping[str, bytes],
    editable: Iterable[bytes],
) -> Fleet:
    """Sort devices by their environments.

    Raises: NotYet where none is what `devices.lead` names, UserError where two rungs are one.
    """
    texts, found = tuple(editable), dict[Environment, list[Device]]()
    ahead = {device: modules_ahead(program, device, texts) for device in devices}

    def label(device: Device, rung: str = "") -> Environment:
        return environment(program.on(rung), device, folder=folder, protected=protected, ahead=ahead[device])

    for device in devices:
        found.setdefault(label(device), []).append(device)
    leader = _leader(program.devices.lead, devices)
    leading = next(shared for shared, own in found.items() if leader in own)
    scales = {rung.name: label(leader, rung.name) for rung in program.scale}
    refuse_equal(leading, scales)
    return Fleet(
        environment=leading,
        devices=tuple(found[leading]),
        screens={screen: tuple(own) for screen, own in found.items() if screen != leading},
        ahead=max(ahead.values(), key=len),
        scales=scales,
    )


def refuse_equal(leading: Environment, scales: Mapping[str, Environment]) -> None:
    """Raises: UserError where a rung trains exactly as another one does."""
    taken = {leading: "[train]"}
    for name, label in scales.items():
        if label in taken:
            way = "give it `args`, or a budget that these devices count by"
            raise UserError(f"[[scale]] {name!r} trains as {taken[label]} does, which tells nothing new: {way}")
        taken[label] = f"[[scale]] {name!r}"


def _leader(wanted: str, devices: Sequence[Device]) -> Device:
    if not wanted:
        return devices[0]
    for device in devices:
        names = (device.name, device.model, slug(device.model))
        if any(fnmatchcase(name.lower(), wanted.lower()) for name in names):
            return device
    known = ", ".join(f"{device.name} ({device.model})" for device in devices)
    raise NotYet(f"devices.lead is {wanted!r}, and no device has that name or model; this machine has: {known}")
