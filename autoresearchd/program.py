"""program.toml → Program: what "better" means, what may be changed, and what it may cost.

The border where a person's words are checked: every bad value is one ConfigError that names the key, the value and what
is allowed. Touches neither git nor processes.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import tomli
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoresearchd.cluster import Slurm
from autoresearchd.errors import UserError
from autoresearchd.limits import Sandbox
from autoresearchd.mistakes import config_error
from autoresearchd.morning import Report
from autoresearchd.ray_cluster import Ray
from autoresearchd.rungs import Promote, Rung
from autoresearchd.slots import Devices
from autoresearchd.thinkers import Command, Llm
from autoresearchd.yardstick import Accept, Constraint, Metric, Seconds, split

Glob = Annotated[str, Field(min_length=1)]
STARTUP_SECONDS = 600.0
"""Wall time granted beyond the training budget: imports, torch.compile from a cold cache, writing the weights."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Subject(_Section):
    """[program]: what is being improved."""

    name: Annotated[str, Field(min_length=1)]
    goal: str = ""
    """What the language model is told."""
    project: str = "."
    """The git repository of the project, relative to program.toml."""
    experiments: str = "experiments.git"
    """The lab's own bare repository, relative to program.toml."""
    editable: tuple[Glob, ...] = Field(min_length=1)
    """Globs of the paths that an experiment may change, relative to the repository's root."""
    protected: tuple[Glob, ...] = ()
    """Globs that stay forbidden even where `editable` matches."""

    @field_validator("editable", "protected", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Train(_Section):
    """[train]: one training run."""

    command: Annotated[str, Field(min_length=1)]
    """Run without a shell; `python` is the Python that the daemon runs in."""
    check: str | None = None
    """A cheap command that fails on code that cannot train, run before a device is spent on it."""
    seconds: Seconds = 300.0
    """Training time of one run on a CUDA device, start-up and compilation not counted."""
    cpu_steps: Annotated[int, Field(gt=0)] | None = None
    """Where set, a CPU slot's budget is this many optimiser steps: wall time on a shared CPU compares nothing."""
    deadline_seconds: Seconds | None = None
    """Wall time after which a run is killed; default: the budget plus ten minutes."""
    data: str | None = None
    """Folder that the run may read, relative to program.toml."""

    @field_validator("command", "check")
    @classmethod
    def _splits_like_a_shell(cls, value: str | None) -> str | None:
        if value is not None:
            split(value)
        return value

    @property
    def argv(self) -> tuple[str, ...]:
        return split(self.command)

    @property
    def deadline(self) -> float:
        """Wall seconds after which the daemon's clock ends a run."""
        return self.deadline_seconds or self.seconds + STARTUP_SECONDS


class Budget(_Section):
    """[budget]: when the daemon has done enough; None is no limit."""

    experiments: Annotated[int, Field(ge=0)] | None = None
    """Of the whole lab."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Of one session, after which nothing new begins."""
    usd: Annotated[float, Field(ge=0)] | None = None
    """Of the whole lab, spent on models."""


class Export(_Section):
    """[export]: how commits look that leave the lab for the real project."""

    author: Annotated[str, Field(pattern=r"^[^<>\n]+ <[^<>\s]+@[^<>\s]+>$")] | None = None
    """`Jane Doe <jane@example.org>`; default: the daemon, as in the lab."""
    sign_off: bool = False
    """End each message with the author's `Signed-off-by`."""


class Tunable(_Section):
    """An override of what `space` infers for one constant."""

    low: float | None = None
    high: float | None = None
    log: bool | None = None
    choices: tuple[bool | int | float | str, ...] | None = None
    fixed: bool = False
    """Leave this constant alone."""

    @field_validator("choices", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Space(_Section):
    """[propose.space]: numeric search over the constants that the editable files declare."""

    enabled: bool = True
    sampler: Literal["tpe", "cma-es", "random"] = "tpe"
    constants: dict[str, Tunable] = {}
    """By name (`MATRIX_LR`) or by path and name (`nanogpt/train.py:MATRIX_LR`)."""


class CustomPattern(_Section):
    """[[propose.patterns.custom]]: an edit of the user's own, by exact text that must occur exactly once."""

    name: Annotated[str, Field(min_length=1)]
    category: str = "custom"
    path: Glob = "**"
    find: Annotated[str, Field(min_length=1)]
    replace: str | None = None
    inject_after: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> CustomPattern:
        if (self.replace is None) == (self.inject_after is None):
            raise ValueError("needs exactly one of `replace` and `inject_after`")
        return self


class Patterns(_Section):
    """[propose.patterns]: the catalogue of code transforms."""

    enabled: bool = True
    skip: tuple[str, ...] = ()
    """Names of transforms that are never tried."""
    custom: tuple[CustomPattern, ...] = ()

    @field_validator("skip", "custom", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Switch(_Section):
    """A proposer that needs no settings."""

    enabled: bool = True


class Nulls(_Section):
    """[propose.null]: experiments that change nothing that runs, as a test of the judge."""

    every: Annotated[int, Field(ge=0)] = 50
    """One in so many experiments; 0 is none. With 1 there is nothing else."""


class Ablation(_Section):
    """[propose.ablate]: kept changes are taken out of best again, to see what each is worth today."""

    every: Annotated[int, Field(ge=0)] = 50
    """One in so many experiments, and whenever nobody else has an idea; 0 is never."""
    parts: bool = True
    """Also the single parts of a change, while nobody else has an idea."""


class Service(_Section):
    """[service]: the daemon, as other programs of this machine see it."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Where set, Prometheus is answered at http://127.0.0.1:PORT/metrics; 0 takes a free port and logs it."""
    checkpoints_mib: Annotated[int, Field(ge=0)] = 16_384
    """Most that is kept of what the newest trainings of best and of open experiments left; 0 keeps nothing."""


class Propose(_Section):
    """[propose]: who has ideas; one table per proposer."""

    seed: int = 0
    space: Space = Space()
    patterns: Patterns = Patterns()
    refine: Switch = Switch()
    retest: Switch = Switch()
    combine: Switch = Switch()
    null: Nulls = Nulls()
    ablate: Ablation = Ablation()
    llm: Llm = Llm()
    command: Command = Command()


class Program(_Section):
    """The whole of program.toml, checked. `folder` is where it lies; relative paths start there."""

    program: Subject
    train: Train
    metric: Metric
    constraint: tuple[Constraint, ...] = ()
    accept: Accept = Accept()
    scale: tuple[Rung, ...] = ()
    promote: Promote = Promote()
    budget: Budget = Budget()
    devices: Devices = Devices()
    slurm: Slurm = Slurm()
    ray: Ray = Ray()
    sandbox: Sandbox = Sandbox()
    service: Service = Service()
    propose: Propose = Propose()
    report: Report = Report()
    export: Export = Export()

    @field_validator("constraint", "scale", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _somebody_says_the_number(self) -> Program:
        if self.metric.pattern is not None and self.metric.evaluate is not None:
            raise ValueError("`metric.pattern` and `metric.evaluate` exclude each other: one of them says the number")
        return self

    @model_validator(mode="after")
    def _what_is_held_out_is_not_read_by_training(self) -> Program:
        seen = [("train.data", self.train.data), *(("sandbox.readable", path) for path in self.sandbox.readable)]
        held = (("metric.data", self.metric.data), ("metric.audit", self.metric.audit))
        for (key, path), (name, folder) in itertools.product(seen, held):
            if path is not None and folder is not None and _lies_in(path, folder):
                raise ValueError(f"`{key}` is {path!r}, in `{name}`, which no training may see: keep them apart")
        return self

    @model_validator(mode="after")
    def _every_rung_has_a_name_of_its_own(self) -> Program:
        names = [rung.name.lower() for rung in self.scale]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two `[[scale]]` are called {twice!r}: each needs a name of its own")
        return self

    def on(self, scale: str) -> Program:
        """The program as it trains on one rung of the ladder; the empty name is the first rung, [train] itself."""
        if not scale:
            return self
        rung = next(rung for rung in self.scale if rung.name == scale)
        train = self.train.model_copy(update=rung.train(self.train.command))
        metric = self.metric.model_copy(update=rung.metric(self.metric))
        return self.model_copy(update={"train": train, "metric": metric})

    def may_edit(self, path: str) -> bool:
        """Whether an experiment may change this path of the repository."""
        return any(matches(path, glob) for glob in self.program.editable) and not self.is_protected(path)

    def is_protected(self, path: str) -> bool:
        """Whether this path of the repository belongs to what measures, and is the same for every experiment."""
        return any(matches(path, glob) for glob in self.program.protected)


def _lies_in(path: str, folder: str) -> bool:
    return PurePosixPath(posixpath.normpath(path)).is_relative_to(posixpath.normpath(folder))


def matches(path: str, glob: str) -> bool:
    """Whether a repository path matches a glob; `*` stays within a folder, `**` crosses folders.

    Paths that git would not file (absolute, `..`, empty parts) match nothing.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "/".join(parts) != path:
        return False
    pattern = "".join(
        ".*" if piece in {"**", "**/"} else "[^/]*" if piece == "*" else "[^/]" if piece == "?" else re.escape(piece)
        for piece in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", glob)
    )
    return re.fullmatch(pattern, path, flags=re.DOTALL) is not None


def load(path: Path | str) -> Program:
    """Read and check a program file.

    Raises: UserError when it cannot be read, ConfigError for the first value that is not allowed.
    """
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; write one, or go to the folder that has it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str = "program.toml") -> Program:
    """Check the text of a program file.

    Raises: UserError when it is not TOML, ConfigError for the first value that is not allowed.
    """
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise UserError(f"{name} is not valid TOML: {error}") from error
    try:
        return Program.model_validate(data)
    except ValidationError as error:
        raise config_error(error, Program) from error
