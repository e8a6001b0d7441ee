"""[ray]: the table of program.toml for runs on the nodes of a Ray cluster. Values only."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Ray(BaseModel):
    """[ray]: the cluster, and what one slot takes of it. The daemon's own machine is one of its nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    address: Annotated[str, Field(pattern=r"^(auto|[^:/\s]+:\d{1,5})$")] = "auto"
    """`HOST:PORT` of the head, or `auto`: the cluster that `ray start` made this machine a node of."""
    slots: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Runs at a time; default: as many as the cluster has room for when the daemon starts."""
    cpus: Annotated[float, Field(ge=0)] = 1.0
    """Of one slot; also the threads of a run that trains on the CPU."""
    gpus: Annotated[float, Field(gt=0)] = 1.0
    """Of one slot, unless `[devices] use = "cpu"`."""
    resources: dict[Annotated[str, Field(min_length=1)], Annotated[float, Field(gt=0)]] = {}
    """What else a node must have: `{ h200 = 1 }` for nodes started with `--resources='{"h200": 8}'`."""
    cache: str | None = None
    """Folder of each node's own for data and compiled kernels; default: /var/tmp/autoresearchd-UID."""
