"""[slurm]: the table of program.toml for runs that Slurm places on the machines of a cluster. Values only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

OURS = (
    *("--job-name", "--comment", "--chdir", "--output", "--open-mode", "--export", "--ntasks", "--parsable"),
    *("--requeue", "--no-requeue", "--array", "--wrap", "--wait"),
)
"""Options of sbatch by which the daemon finds its jobs again, or that would make a job something else than one run."""
KEYS = {
    "--cpus-per-task": "cpus", "--time": "minutes", "--partition": "partition", "--gres": "gres", "--mem": "memory_mib",
}  # fmt: skip


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

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        for option in extra:
            name = option.partition("=")[0]
            taken = next((own for own in (*OURS, *KEYS) if own.startswith(name)), None)  # sbatch takes short forms too
            if taken in KEYS:
                raise ValueError(f"{taken} is set by slurm.{KEYS[taken]}; take {option!r} out and set that")
            if taken is not None:
                raise ValueError(f"{taken} is the daemon's own to set; take {option!r} out")
        return extra
