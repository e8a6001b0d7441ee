"""[report]: the table of program.toml for the report that is written by itself. Values only."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoresearchd.yardstick import split

NEVER = "never"


class Report(BaseModel):
    """When a report is written by itself, where it goes, and who is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    at: str = "07:00"
    """Each morning at this hour of the machine's own time, while the daemon runs; `never` for none."""
    at_end: bool = True
    """Also at the end of a session that tried anything."""
    folder: str | None = None
    """Where reports go, relative to program.toml; default: `autoresearchd/reports` in experiments.git."""
    hook: str | None = None
    """A command of yours that gets the one-sentence outcome on its standard input, and the report's path in
    AUTORESEARCH_REPORT. It is started without a shell, in program.toml's folder, outside any sandbox; in a service
    behind the walls of its unit."""
    hook_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    """After so long the hook is killed. Where the daemon is told to end (SIGTERM: `systemctl stop`, `autoresearchd
    stop`) it has what is left of ten seconds, about six."""

    @field_validator("at")
    @classmethod
    def _is_an_hour(cls, value: str) -> str:
        if value != NEVER:
            _hour(value)
        return value

    @field_validator("hook")
    @classmethod
    def _splits_like_a_shell(cls, value: str | None) -> str | None:
        if value is not None:
            split(value)
        return value

    @property
    def hour(self) -> time | None:
        """`at` as a time of day; None for never."""
        return None if self.at == NEVER else _hour(self.at)


def _hour(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f'an hour like "07:00", or "{NEVER}"') from error
