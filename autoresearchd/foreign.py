"""What other programs wrote down of their experiments, as rows: karpathy/autoresearch's table, pi-autoresearch's log.

Pure, and strict: the text is a stranger's, and what is not understood is refused as a whole, line and column named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoresearchd.errors import UserError
from autoresearchd.experiment import Direction, Outcome

MOST_ROWS, LONGEST_LINE, MOST_METRICS = 20_000, 20_000, 50
ABSURD = 1e100
COMMIT = re.compile(r"[0-9a-f]{4,40}")
BASELINE = "baseline"
"""What the table says in place of a commit where nothing was changed yet."""
COLUMNS = ("commit", "", "memory_gb", "status", "description")
"""Of karpathy/autoresearch's results.tsv; the second is called as the metric is."""
MIB_PER_GB = 1024.0
"""Its program.md divides MiB by 1024."""
MILLISECONDS = 1e11
"""A later time than this in seconds is one in milliseconds."""
_OUTCOMES = {
    "keep": Outcome.KEPT_ELSEWHERE,
    "discard": Outcome.DISCARD,
    "crash": Outcome.CRASH,
    "checks_failed": Outcome.REJECTED,
}
_OUT_OF_ORDER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One experiment of another program."""

    line: int
    """Where it stands in the file, from 1."""
    commit: str
    """An abbreviated hash, `BASELINE`, or empty where its code was never committed."""
    outcome: Outcome
    metric: float | None
    """None where there was no number."""
    description: str
    peak_memory_mib: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    finished: float | None = None
    """Unix time."""


def read(text: str, *, metric: str, direction: Direction) -> tuple[Row, ...]:
    """The rows of a table or a log, whichever it is; `metric` is the number that they have to be about.

    Raises: UserError for the first thing that is not as it must be.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError("there is nothing in it: give a results.tsv with its header, or an autoresearch.jsonl")
    if len(lines) > MOST_ROWS:
        raise UserError(f"it has {len(lines)} lines, more than the {MOST_ROWS} that are read at once: split it")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise UserError(f"line {number} has {len(line)} characters, more than {LONGEST_LINE}")
    lines = [line.removesuffix("\r") for line in lines]
    rows = _log(lines, metric, direction) if lines[0].lstrip().startswith("{") else _table(lines, metric)
    if not rows:
        raise UserError("it has a header and no experiment")
    return rows


def _table(lines: list[str], metric: str) -> tuple[Row, ...]:
    """Tab-separated, the header first: `commit`, the metric, `memory_gb`, `status`, `description`."""
    wanted = (COLUMNS[0], metric, *COLUMNS[2:])
    _columns(lines[0], 1, wanted)
    for column, (name, found) in enumerate(zip(wanted, lines[0].split("\t"), strict=True), 1):
        if found != name:
            raise _Wrong(1, column, found, f"the column {name!r}")
    return tuple(_row(line, number, wanted) for number, line in enumerate(lines[1:], 2))


def _row(line: str, number: int, names: tuple[str, ...]) -> Row:
    commit, value, memory, status, description = _columns(line, number, names)
    outcome = _outcome(status, number, 4)
    if not COMMIT.fullmatch(commit) and commit != BASELINE:
        raise _Wrong(number, 1, commit, "a commit of 4 to 40 hexadecimal digits, or `baseline`")
    measured, peak = _figure(value, number, 2), _figure(memory, number, 3)
    if peak < 0:
        raise _Wrong(number, 3, memory, "a number that is not negative")
    return Row(
        line=number,
        commit=commit,
        outcome=outcome,
        # What crashed, or was given up before it was measured, is written as 0.000000: no number at all.
        metric=None if outcome is Outcome.CRASH or measured == peak == 0 else measured,
        description=description,
        peak_memory_mib=peak * MIB_PER_GB or None,
    )


def _columns(line: str, number: int, names: tuple[str, ...]) -> list[str]:
    cells = line.split("\t")
    if len(cells) != len(names):
        raise UserError(f"line {number} has {len(cells)} columns, not the {len(names)} of {', '.join(names)}, by tabs")
    for column, cell in enumerate(cells, 1):
        _harmless(cell, number, column)
    return cells


def _figure(text: str, number: int, column: int) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise _Wrong(number, column, text, "a number") from error
    if not abs(value) < ABSURD:  # NaN as well
        raise _Wrong(number, column, text, "a finite number")
    return value


def _log(lines: list[str], metric: str, direction: Direction) -> tuple[Row, ...]:
    """One JSON object a line; `{"type": "config", …}` begins a segment, and those about another metric are left out."""
    rows: list[Row] = []
    other, ours = None, False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _entry(line, number)
        if entry.get("type") == "config":
            ours = _is_about(entry, number, metric, direction)
            other = other if ours else _Wrong(number, "metricName", entry.get("metricName"), repr(metric))
        elif "status" in entry:
            if not (ours or other):
                raise _Wrong(number, "type", entry.get("type"), 'a first line {"type": "config", "metricName": …}')
            row = _run(entry, number)
            rows += [row] if ours else []
    if other is not None and not rows:
        raise other
    return tuple(rows)


def _entry(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line, parse_constant=lambda word: word)
    except (ValueError, RecursionError) as error:
        raise UserError(f"line {number} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"line {number} is no JSON object")
    return found


def _is_about(entry: dict[str, Any], number: int, metric: str, direction: Direction) -> bool:
    if entry.get("metricName") != metric:
        return False
    if entry.get("bestDirection", direction.value) != direction.value:
        raise _Wrong(number, "bestDirection", entry["bestDirection"], f"{direction.value!r}, as in program.toml")
    return True


def _run(entry: dict[str, Any], number: int) -> Row:
    outcome = _outcome(entry["status"], number, "status")
    commit, description, others = (entry.get(key, "") for key in ("commit", "description", "metrics"))
    if not isinstance(commit, str) or not (COMMIT.fullmatch(commit) or commit == ""):
        raise _Wrong(number, "commit", commit, "a commit of 4 to 40 hexadecimal digits")
    if not isinstance(description, str):
        raise _Wrong(number, "description", description, "a text")
    _harmless(description.replace("\n", " "), number, "description")
    if not isinstance(others or {}, dict) or len(others or {}) > MOST_METRICS:
        raise _Wrong(number, "metrics", others, f"an object of at most {MOST_METRICS} numbers")
    measured = _plain(entry.get("metric"), number, "metric")
    numbers = {name: _plain(value, number, f"metrics.{name}") for name, value in (others or {}).items()}
    # It says 0 where there was no number.
    has_number = outcome in (Outcome.KEPT_ELSEWHERE, Outcome.DISCARD)
    return Row(
        line=number,
        # What was not kept was never committed: its line names the commit that it was tried on.
        commit=commit if outcome is Outcome.KEPT_ELSEWHERE else "",
        outcome=outcome,
        metric=measured if has_number else None,
        description=description,
        metrics=numbers if has_number else {},
        finished=_moment(entry.get("timestamp"), number),
    )


def _moment(value: object, number: int) -> float | None:
    if value is None:
        return None
    found = _plain(value, number, "timestamp")
    found = found / 1000 if found > MILLISECONDS else found
    if not 0 <= found < MILLISECONDS:
        raise _Wrong(number, "timestamp", value, "a Unix time, in seconds or milliseconds")
    return found


def _plain(value: object, number: int, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(number, name, value, "a number")
    if not abs(value) < ABSURD:  # NaN as well
        raise _Wrong(number, name, value, "a finite number")
    return float(value)


def _outcome(word: object, number: int, place: int | str) -> Outcome:
    if not isinstance(word, str) or word not in _OUTCOMES:
        raise _Wrong(number, place, word, "one of " + ", ".join(_OUTCOMES))
    return _OUTCOMES[word]


def _harmless(text: str, number: int, place: int | str) -> None:
    if _OUT_OF_ORDER.search(text):
        raise _Wrong(number, place, text, "a text without control characters")


class _Wrong(UserError):
    """One cell that is not as it must be; a column is a number, a field of an object is named."""

    def __init__(self, line: int, place: int | str, value: object, wanted: str) -> None:
        where = f"column {place}" if isinstance(place, int) else place
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:59] + "…"
        super().__init__(f"line {line}, {where} is {shown}, not {wanted}")
