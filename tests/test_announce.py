"""The log's words: one set of names, in every line of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import autoresearchd

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
SYNONYMS = {
    "number": "experiment", "exp": "experiment", "gpu": "device", "slot": "device", "reason": "why", "error": "why",
    "oid": "tree or commit", "sha": "commit", "metric_value": "metric",
}  # fmt: skip


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, with where it is."""
    package = Path(autoresearchd.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=level)) if level in LEVELS:
                    yield f"{path.relative_to(package)}:{node.lineno}", node


def test_one_thing_has_one_name_in_every_line_of_the_log() -> None:
    used = [(where, keyword.arg) for where, call in calls() for keyword in call.keywords]
    assert len(used) > 50
    assert [f"{where}: {SYNONYMS[name]}, not {name}" for where, name in used if name in SYNONYMS] == []


def test_an_event_is_words_in_lower_case_joined_by_underscores() -> None:
    events = [(where, call.args[0].value) for where, call in calls() if isinstance(call.args[0], ast.Constant)]
    assert [
        f"{where}: {name}" for where, name in events if not name.replace("_", "").isalpha() or name != name.lower()
    ] == []
