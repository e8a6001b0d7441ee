"""[devices]: the table of program.toml for where runs train. Values only."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Devices(BaseModel):
    """[devices]: where to train. `auto` is every CUDA device, or the CPU slots where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    executor: Literal["local", "slurm", "ray"] = "local"
    """Where runs train: on this machine, or on those of a cluster."""
    use: Literal["auto", "cpu"] | tuple[str, ...] = "auto"
    """Or a list: `["cuda:0", "cuda:1"]`, `["cpu:0"]`."""
    lead: str = ""
    """Which environment leads best, by the name or the model of a device in it (`cuda:1`, `*H200*`); default: the first
    device's. Devices of other environments screen: they discard what is worse there, and decide no keep."""
    cpu_slots: Annotated[int, Field(ge=1, le=256)] = 1
    """Runs at a time, where they train on the CPU."""
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of one CPU slot; default: the machine's cores shared evenly between the slots."""
    cpu_pin: bool = False
    """Give each CPU slot cores of its own, for all the processes of its runs; needs a core for each slot."""
    warm: bool = True
    """Have the next run wait, in its sandbox and with torch imported where the editable files do so, while one trains.

    For commands like `python -m train` and `python train.py`; others start plainly, as they do with false.
    """

    @field_validator("use", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, list):
            for name in value:
                if not (isinstance(name, str) and re.fullmatch(r"cuda:\d+|cpu:\d+", name)):
                    raise ValueError('"auto", "cpu" or a list like ["cuda:0", "cuda:1"] or ["cpu:0"]')
            return tuple(value)
        return value

    @model_validator(mode="after")
    def _a_cluster_gives_its_devices_itself(self) -> Devices:
        if self.executor != "local" and (isinstance(self.use, tuple) or self.cpu_pin):
            raise ValueError(f'with executor = "{self.executor}" the cluster says which device and cores a run gets: '
                             'leave `cpu_pin` out, and `use` "auto" or "cpu"')  # fmt: skip
        return self

    @property
    def cpu_names(self) -> tuple[str, ...]:
        """The CPU slots, where runs train on the CPU."""
        if isinstance(self.use, str):
            return tuple(f"cpu:{slot}" for slot in range(self.cpu_slots))
        return tuple(dict.fromkeys(name for name in self.use if name.startswith("cpu")))
