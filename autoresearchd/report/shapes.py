"""The shapes of `--json`: what other programs may rely on, as types from which the JSON Schema is made. Pure.

Fields are added, never renamed; a field that changes its meaning changes its name.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from autoresearchd.experiment import Ending, Outcome
from autoresearchd.ledger.observed import Finding
from autoresearchd.report.morning.document import Document
from autoresearchd.report.worth import Worth
from autoresearchd.status import Status

_STRICT = ConfigDict(use_attribute_docstrings=True, extra="forbid")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Point = tuple[int, float, float | None]
"""Step, seconds of training, train loss."""


class LogRow(TypedDict):
    """One experiment, as `log --json` lists it. What it does not have yet, or has no number for, is null."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    number: int
    verdict: Outcome | Literal["open"]
    metric_name: str
    """The number that is compared; the same in every row."""
    metric: float | None
    """Mean of its runs, in the metric's own unit and direction."""
    baseline: float | None
    """The parent's value, measured the same way."""
    gain: float | None
    """Positive where it was better than its parent, whichever way the metric goes."""
    std_error: float | None
    """Of the gain."""
    confidence: float | None
    """That the change is an improvement, 0 to 1."""
    runs: int | None
    seeds: list[int] | None
    train_seconds: float | None
    """Of all its runs together."""
    device: str | None
    metrics: dict[str, float | None]
    """Every other number that the program declares."""
    why: str
    """Of the verdict, one sentence. Untrusted words, as are title, category, proposer and rationale."""
    title: str
    category: str
    proposer: str
    lines_added: int
    lines_removed: int
    cost_usd: float | None
    """What a language model was paid for the idea."""
    opened: float
    """Unix time."""
    imported: str
    """Where the record of another program's experiment is from, its number not comparable; empty for ours."""
    commit: str
    tree: str
    parent: str
    """Commit of the best that it was made from."""
    ref: str


class ShownRun(TypedDict):
    """One training of one tree with one seed."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    run: str
    seed: int
    device: str
    environment: str
    """Runs are comparable where it is equal."""
    ending: Ending
    why: str
    metrics: dict[str, float | None]
    started: float
    """Unix time."""
    train_seconds: float
    wall_seconds: float
    curve: list[Point]
    """[step, seconds, train_loss], thinned."""
    log_tail: str
    """The end of what it said: untrusted words."""


class ShownExperiment(LogRow):
    """One experiment in full, as `show --json` gives it."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    rationale: str
    reason: str
    """Why this proposer was asked."""
    run_list: list[ShownRun]
    """Oldest first."""
    diff: str
    """A unified diff against the parent."""


class DoctorFinding(TypedDict):
    """One thing that `doctor` looked at."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    name: str
    state: Literal["ok", "note", "missing"]
    what: str
    mend: str
    """The command that mends it; empty where nothing has to be done."""


class Examination(TypedDict):
    """As `doctor --json` gives them."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    ready: bool
    findings: list[DoctorFinding]


class Soundness(TypedDict):
    """As `fsck --json` gives it."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    sound: bool
    findings: list[Finding]


def schema() -> dict[str, Any]:
    """A JSON Schema of one object: under each command's name, what it prints with `--json`."""
    shapes: dict[str, Any] = {
        "log": list[LogRow],
        "show": ShownExperiment,
        "doctor": Examination,
        "fsck": Soundness,
        "status": Status,
        "report": Document,
        "ablate": list[Worth],
    }
    made, shared = TypeAdapter.json_schemas([(name, "serialization", TypeAdapter(shapes[name])) for name in shapes])
    found = {str(name): shape for (name, _), shape in made.items()}
    _add_to_status(shared["$defs"]["Status"])
    _flatten_report(shared["$defs"])
    return {
        "$schema": DIALECT,
        "title": "What `autoresearchd COMMAND --json` prints, by COMMAND",
        "type": "object",
        "properties": found,
        **shared,
    }


def _flatten_report(shared: dict[str, Any]) -> None:
    """`report --json` is one object: the facts, and beside them what only the report says."""
    document, facts = shared["Document"], shared.pop("Facts")
    del document["properties"]["facts"]
    document["properties"] |= {"format": {"type": "integer"}, **facts["properties"]}
    document["required"] = sorted({"format", *document["required"], *facts["required"]} - {"facts"})
    document["additionalProperties"] = False


def _add_to_status(found: dict[str, Any]) -> None:
    """What `status --json` adds to status.json. Before the first daemon only the required fields are there."""
    found["properties"] |= {
        "running": {"type": "boolean", "description": "A daemon holds the lab."},
        "holder": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Its process id."},
        "last_state": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Of a daemon that is gone."},
        "tried": {"type": "integer", "description": "Experiments with a verdict, the baseline not counted."},
        "kept": {"type": "integer"},
        "failed": {"type": "integer"},
    }
    found["required"] = ["state", "devices"]
    found["additionalProperties"] = False
