"""[[scale]] and [promote]: the ladder of program.toml, on which what was kept has to hold before it is promoted.

Values only. `best` lives on the first rung, which is [train] itself; these are the rungs above it, in order.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoresearchd.experiment import Device
from autoresearchd.yardstick import Metric, Seconds, split


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rung(_Section):
    """[[scale]]: one larger training of the same code. What is not set is as [train] and [metric] say."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$", max_length=40)]
    """In the trailer `Scale-<name>`: letters, digits and single hyphens."""
    args: str = ""
    """Appended to `train.command`: `--depth 12`."""
    evaluate_args: str = ""
    """Appended to `metric.evaluate`."""
    seconds: Seconds | None = None
    """The budget there."""
    cpu_steps: Annotated[int, Field(gt=0)] | None = None
    deadline_seconds: Seconds | None = None
    """Wall time after which a run is killed; default: the rung's budget plus ten minutes."""
    evaluate_seconds: Seconds | None = None
    device: Annotated[str, Field(min_length=1)] = "*"
    """Glob of the devices that it may train on: `cuda:*`."""
    memory_mib: Annotated[int, Field(ge=1)] | None = None
    """Least memory of such a device; one whose memory nobody knows is left out."""

    @field_validator("args", "evaluate_args")
    @classmethod
    def _splits_like_a_shell(cls, value: str) -> str:
        if value.strip():
            split(value)
        return value

    def train(self, command: str) -> dict[str, object]:
        """What is different in [train] here."""
        said = {"seconds": self.seconds, "cpu_steps": self.cpu_steps}
        changed = {key: value for key, value in said.items() if value is not None}
        return {**changed, "command": _longer(command, self.args), "deadline_seconds": self.deadline_seconds}

    def metric(self, metric: Metric) -> dict[str, object]:
        """What is different in [metric] here."""
        seconds = self.evaluate_seconds or metric.evaluate_seconds
        command = None if metric.evaluate is None else _longer(metric.evaluate, self.evaluate_args)
        return {"evaluate": command, "evaluate_seconds": seconds}

    def fits(self, device: Device) -> bool:
        """Whether it may train there."""
        is_large = self.memory_mib is None or (device.memory_mib is not None and device.memory_mib >= self.memory_mib)
        return is_large and fnmatchcase(device.name, self.device)


class Promote(_Section):
    """[promote]: how much is spent on the rungs above the first."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Most of the devices' training time that goes there; 0 is none."""


def _longer(command: str, args: str) -> str:
    return f"{command} {args.strip()}" if args.strip() else command
