"""[sandbox]: the table of program.toml for the walls around what experiments run. Values only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Mode = Literal["auto", "bubblewrap", "landlock", "none"]


class Sandbox(BaseModel):
    """[sandbox]: how runs are kept to what is theirs, and what they may use up."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mode: Mode = "auto"
    """`auto` takes bubblewrap where it works, else Landlock, else refuses to start; `none` is no sandbox at all."""
    readable: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """More files and folders that runs may read, relative to program.toml; `~` is the home folder."""
    memory_mib: Annotated[int, Field(ge=64)] | None = None
    """Main memory of one run; default: nine tenths of the machine's."""
    processes: Annotated[int, Field(ge=16)] = 4096
    """Most processes and threads of one run at the same time."""
    open_files: Annotated[int, Field(ge=64)] = 65_536
    output_mib: Annotated[int, Field(ge=1)] = 16_384
    """Most that one run may write."""
    cpus: Annotated[int, Field(ge=1)] | None = None
    """Cores that one run may use; default: all that the daemon may."""

    @field_validator("readable", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value
