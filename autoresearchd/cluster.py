"""[slurm]: the table of program.toml for runs that Slurm places on the machines of a cluster. Values only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Slurm(BaseModel):
    """[slurm]: what one run asks for, as sbatch takes it, and how many runs there are at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    slots: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Jobs at a time: each trains one thing."""
    folder: str | None = None
    """Folder that every node sees under the same name, relative to program.toml; default: one in experiments.git."""
    cache: str | None = None
    """Folder of each node's own for data and compiled kernels; default: /var/tmp/autoresearchd-UID."""
    partition: Annotated[str, Field(min_length=1)] | None = None
    gres: Annotated[str, Field(min_length=1)] | None = None
    """`gpu:1`, or `gpu:h100:1`."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores of one run, and threads of one that trains on the CPU."""
    memory_mib: Annotated[int, Field(ge=64)] | None = None
    minutes: Annotated[int, Field(ge=1)] | None = None
    """Time limit of a job; default: all deadlines of a run together and a quarter of an hour."""
    extra: tuple[Annotated[str, Field(pattern=r"^--[a-z]")], ...] = ()
    """More options of sbatch: `--account=lab`, `--constraint=h100`."""
    poll_seconds: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """Seconds between two looks at the queue. That a run has ended is seen without."""

    @field_validator("extra", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value
