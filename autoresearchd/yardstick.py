"""[metric], [[constraint]] and [accept]: the tables of program.toml that say what better means, and who measures it.

Values only; the judge decides by them, a run measures by them.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from autoresearchd.experiment import Direction

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _direction(value: Any) -> Any:
    if value not in set(Direction):
        raise ValueError("'lower' or 'higher'")
    return Direction(value)


Way = Annotated[Direction, BeforeValidator(_direction)]
COMPOSITE = "composite"
"""The name of what is compared where several numbers are weighed."""


class Also(_Section):
    """[[metric.also]]: another reported number that counts."""

    name: Name
    direction: Way = Direction.LOWER
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What a gain of one per cent of the baseline's value counts, in per cent of the metric's."""


class Metric(_Section):
    """[metric]: the one number, and who says it."""

    name: Name
    direction: Way = Direction.LOWER
    pattern: str | None = None
    """Regular expression with one group; the last line of output that it matches gives the number."""
    evaluate: str | None = None
    """Trusted command, run after training from protected files; its result.json gives the number."""
    evaluate_seconds: Seconds = 600.0
    data: str | None = None
    """Folder that only the evaluate command may read, relative to program.toml."""
    audit: str | None = None
    """Folder that best alone is evaluated on, after a keep: nothing is ever decided by that number."""
    target: float | None = None
    """Stop when best is at least this good."""

    also: tuple[Also, ...] = ()
    """Where given, a composite of all of these is compared; `target` is still of this metric alone."""

    @field_validator("also", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

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

    @model_validator(mode="after")
    def _an_audit_needs_an_evaluation(self) -> Metric:
        if self.audit is not None and self.evaluate is None:
            raise ValueError("`audit` needs `evaluate`: the same command is run on another folder")
        return self

    @model_validator(mode="after")
    def _every_number_counts_once(self) -> Metric:
        if len({*self.names, COMPOSITE}) <= len(self.also) + 1:
            raise ValueError(f"every `also` needs a name of its own, and none may be {COMPOSITE}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers that every run has to report."""
        return (self.name, *(also.name for also in self.also))

    @property
    def compared(self) -> str:
        """The name of the one number that is judged by."""
        return COMPOSITE if self.also else self.name

    @property
    def words(self) -> str:
        """What is compared and which way is better, for whoever looks for improvements."""
        said = f"{self.name}, {self.direction.value} is better"
        others = ", ".join(
            f"{also.name} ({also.direction.value} is better, weight {also.weight:g})" for also in self.also
        )
        return said if not others else f"{said}; compared is the {COMPOSITE} of it and {others}"

    @property
    def audit_name(self) -> str:
        """What best's number on the audit data is called."""
        return f"audit_{self.name}"

    @property
    def evaluate_argv(self) -> tuple[str, ...] | None:
        return None if self.evaluate is None else split(self.evaluate)


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
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Chance that a change which does nothing is refused, over all looks at it: a bound, which whole simulated nights
    stay below (BENCHMARKS.md)."""
    max_repeats: Annotated[int, Field(ge=1, le=64)] = 12
    """Most runs of one experiment; 12 find four in five of the improvements of 2 σ (BENCHMARKS.md)."""
    baseline_runs: Annotated[int, Field(ge=1, le=64)] = 3
    """Runs of the baseline before anything is compared with it."""
    sane_gain: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """A gain of more standard deviations of one run than this, and of more than twice the largest one verified so far,
    is trained once more, audited, and flagged; the largest honest ones on record had 26 and 24 (BENCHMARKS.md)."""
    audit_every: Annotated[int, Field(ge=0)] = 1
    """Best is audited after every so many keeps, where `metric.audit` is set; 0 is never."""


def split(command: str) -> tuple[str, ...]:
    """The words of a command line. Raises: ValueError, worded for a person."""
    try:
        argv = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"a command line ({error})") from error
    if not argv:
        raise ValueError("a command line that names a program")
    return argv
