"""program.toml → Program: what "better" means, what may be changed, and what it may cost.

The border where a person's words are checked: every bad value is one ConfigError that names the key, the value and what
is allowed. Touches neither git nor processes.
"""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import tomli
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoresearchd.errors import ConfigError, UserError
from autoresearchd.experiment import Direction

Glob = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
STARTUP_SECONDS = 600.0
"""Wall time granted beyond the training budget: imports, torch.compile from a cold cache, writing the weights."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Subject(_Section):
    """[program]: what is being improved."""

    name: Annotated[str, Field(min_length=1)]
    goal: str = ""
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
            _argv(value)
        return value

    @property
    def argv(self) -> tuple[str, ...]:
        return _argv(self.command)

    @property
    def deadline(self) -> float:
        """Wall seconds after which the daemon's clock ends a run."""
        return self.deadline_seconds or self.seconds + STARTUP_SECONDS


class Metric(_Section):
    """[metric]: the one number, and who says it."""

    name: Name
    direction: Direction = Direction.LOWER
    pattern: str | None = None
    """Regular expression with one group; the last line of output that it matches gives the number."""
    evaluate: str | None = None
    """Trusted command, run after training from protected files; its result.json gives the number."""
    evaluate_seconds: Seconds = 600.0
    data: str | None = None
    """Folder that only the evaluate command may read, relative to program.toml."""
    target: float | None = None
    """Stop when best is at least this good."""

    @field_validator("direction", mode="before")
    @classmethod
    def _direction_by_word(cls, value: Any) -> Any:
        if value not in set(Direction):
            raise ValueError("'lower' or 'higher'")
        return Direction(value)

    @field_validator("pattern")
    @classmethod
    def _compiles_with_one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        if groups != 1:
            raise ValueError(f"a regular expression with exactly one group, this one has {groups}")
        return value

    @property
    def evaluate_argv(self) -> tuple[str, ...] | None:
        return None if self.evaluate is None else _argv(self.evaluate)


class Constraint(_Section):
    """[[constraint]]: a bound on another reported number; an experiment that breaks it is rejected."""

    metric: Name
    max: float | None = None
    min: float | None = None
    relative_to: Literal["nothing", "baseline"] = "nothing"
    """With `baseline`, the bounds are multiples of what experiment 0000 measured."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Constraint:
        if self.max is None and self.min is None:
            raise ValueError("needs `max`, `min` or both")
        return self


class Accept(_Section):
    """[accept]: how much evidence moves `best`."""

    min_delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Smallest improvement worth a commit, in the metric's unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """Chance that a change which does nothing is refused, over all looks at it."""
    max_repeats: Annotated[int, Field(ge=1, le=64)] = 8
    """Most runs of one experiment."""
    baseline_runs: Annotated[int, Field(ge=1, le=64)] = 3
    """Runs of the baseline before anything is compared with it."""


class Budget(_Section):
    """[budget]: when the daemon has done enough; None is no limit."""

    experiments: Annotated[int, Field(ge=0)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    usd: Annotated[float, Field(ge=0)] | None = None


class Devices(_Section):
    """[devices]: where to train. `auto` is every CUDA device, or the CPU slots where there is none."""

    use: Literal["auto", "cpu"] | tuple[str, ...] = "auto"
    cpu_slots: Annotated[int, Field(ge=1, le=256)] = 1
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of one CPU slot; default: the machine's cores shared evenly between the slots."""

    @field_validator("use", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, list):
            for name in value:
                if not (isinstance(name, str) and re.fullmatch(r"cuda:\d+|cpu:\d+", name)):
                    raise ValueError('"auto", "cpu" or a list like ["cuda:0", "cuda:1"] or ["cpu:0"]')
            return tuple(value)
        return value


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
    custom: tuple[CustomPattern, ...] = ()

    @field_validator("skip", "custom", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Switch(_Section):
    """A proposer that needs no settings."""

    enabled: bool = True


class Propose(_Section):
    """[propose]: who has ideas; one table per proposer."""

    seed: int = 0
    space: Space = Space()
    patterns: Patterns = Patterns()
    refine: Switch = Switch()
    retest: Switch = Switch()
    combine: Switch = Switch()


class Program(_Section):
    """The whole of program.toml, checked. `folder` is where it lies; relative paths start there."""

    program: Subject
    train: Train
    metric: Metric
    constraint: tuple[Constraint, ...] = ()
    accept: Accept = Accept()
    budget: Budget = Budget()
    devices: Devices = Devices()
    propose: Propose = Propose()

    @field_validator("constraint", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _somebody_says_the_number(self) -> Program:
        if self.metric.pattern is not None and self.metric.evaluate is not None:
            raise ValueError("`metric.pattern` and `metric.evaluate` exclude each other: one of them says the number")
        return self

    def may_edit(self, path: str) -> bool:
        """Whether an experiment may change this path of the repository."""
        return any(matches(path, glob) for glob in self.program.editable) and not any(
            matches(path, glob) for glob in self.program.protected
        )


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


def load(path: Path) -> Program:
    """Read and check a program file.

    Raises: UserError when it cannot be read, ConfigError for the first value that is not allowed.
    """
    try:
        text = path.read_text("utf-8")
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
        raise _config_error(error, data) from error


def _argv(command: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"a command line ({error})") from error
    if not argv:
        raise ValueError("a command line that names a program")
    return argv


def _config_error(error: ValidationError, data: dict[str, Any]) -> ConfigError:
    # A mistyped key comes first: it is the cause of the key that is then missing.
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    where = first["loc"]
    key = _dotted(where) or "the file"
    if first["type"] == "extra_forbidden":
        return ConfigError(key, first["input"], _nearest(where))
    if first["type"] == "missing":
        return ConfigError(key, None, "it is required")
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(key, first["input"] if where else "…", allowed)


def _dotted(where: tuple[int | str, ...]) -> str:
    """`propose.patterns.custom[0].find`, without the names that pydantic gives to the arms of a union."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_\-./:]+", part) and "[" not in part and part not in _UNION_ARMS:
            text += f".{part}" if text else part
    return text


_UNION_ARMS = {"bool", "int", "float", "str", "tuple"}


def _nearest(where: tuple[int | str, ...]) -> str:
    model: Any = Program
    for part in where[:-1]:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = _section_of(model.model_fields[part].annotation) or model
    known = sorted(model.model_fields)
    close = difflib.get_close_matches(str(where[-1]), known, n=1)
    return f"no such key; did you mean `{close[0]}`?" if close else f"no such key; known here are {', '.join(known)}"


def _section_of(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _section_of(inner)) is not None:
            return found
    return None
