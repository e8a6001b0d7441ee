"""A program.toml that was saved while the daemon runs: what is different, and what of that cannot change live. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearchd.errors import UserError
from autoresearchd.program import Program

LIVE = (
    "accept",
    "budget",
    "constraint",
    "export",
    "metric.target",
    "program.goal",
    "program.name",
    "promote",
    "propose",
    "report",
)
"""Tables and keys that are read anew for every decision."""
ANOTHER_LAB = ("metric", "program.project", "train.command", "train.cpu_steps", "train.data", "train.seconds")
"""What every number in the lab was measured by: with another one they compare with nothing."""

BETWEEN_STARTS = (
    "metric.audit",
    "metric.data",
    "metric.evaluate_seconds",
    "metric.target",
    "program.project",
    "train.data",
)
"""Of these, where things lie and how long they may take; what lies there is part of each run's environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One setting, by its dotted key; a value of None is not set."""

    key: str
    old: Any
    new: Any


def differences(old: Program, new: Program) -> tuple[Difference, ...]:
    """The settings in which two programs differ, defaults included, by key."""
    before, after = (dict(_settings(program.model_dump(mode="json"))) for program in (old, new))
    keys = sorted(before.keys() | after.keys())
    pairs = ((key, before.get(key), after.get(key)) for key in keys)
    return tuple(Difference(key=key, old=old, new=new) for key, old, new in pairs if old != new)


def refuse_fixed(changed: Sequence[Difference]) -> None:
    """Let only those settings pass that may change while the daemon runs.

    Raises: UserError that names the others and says what they need.
    """
    fixed = [change.key for change in changed if not _is_in(change.key, LIVE)]
    needs_lab = [key for key in fixed if _is_in(key, ANOTHER_LAB)]
    needs_start = [key for key in fixed if key not in needs_lab]
    said = []
    if needs_lab:
        said.append(
            f"{', '.join(needs_lab)} cannot change in a lab: what was measured so far compares with nothing measured "
            "after it; set `program.experiments` to a new experiments.git, `autoresearchd init` it, and start again"
        )
    if needs_start:
        changes = "changes" if len(needs_start) == 1 else "change"
        said.append(f"{', '.join(needs_start)} {changes} at a new start of the daemon")
    if said:
        raise UserError("; ".join(said))


def identity(program: Program) -> Mapping[str, Any]:
    """The settings that every number of a lab is measured by, defaults included, by key: the same at each start."""
    settings = _settings(program.model_dump(mode="json"))
    return {key: value for key, value in settings if _is_in(key, ANOTHER_LAB) and not _is_in(key, BETWEEN_STARTS)}


def refuse_another_lab(measured: Mapping[str, Any], program: Program) -> None:
    """Let a lab go on only by what it was `measured` by so far; settings that it knows nothing of pass.

    Raises: UserError that names the others and says what they need.
    """
    asked = identity(program)
    others = [key for key in sorted(asked) if key in measured and measured[key] != asked[key]]
    if others:
        said = ", ".join(f"{key} = {measured[key]!r}, not {asked[key]!r}" for key in others)
        raise UserError(
            f"the lab was measured with {said} as program.toml says now: its numbers would compare with nothing; set "
            "`program.experiments` to a new experiments.git and `autoresearchd init` it, or take that back"
        )


def _is_in(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
