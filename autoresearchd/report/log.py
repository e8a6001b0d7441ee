"""The experiments as rows: chosen, as plain data, or as a table. Reads the ledger and prints, nothing else."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from rich.text import Text

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Direction, Experiment, Outcome, Verdict
from autoresearchd.ledger import Ledger
from autoresearchd.report.rows import OPEN
from autoresearchd.report.screen import (
    STYLES,
    aligned,
    fixed_width,
    output,
    print_uncut,
    verdict_text,
    verdict_word,
    words,
)
from autoresearchd.report.words import DAY, HOUR, MINUTE, figure, finite, gain_figure, gain_of, number
from autoresearchd.yardstick import Metric

Row = Experiment | Concluded
PROPOSER = 6
"""The column that gives way on a narrow terminal; `show` has it."""
NARROWEST_TITLE = 24
MEASURED = ("metric", "baseline", "gain", "std_error", "confidence", "runs", "seeds", "train_seconds", "device")
NOT_YET: dict[str, Any] = {**dict.fromkeys(MEASURED), "metrics": {}, "why": ""}
"""What an open experiment has in place of what was measured."""
UNITS = {"min": MINUTE, "h": HOUR, "d": DAY}


def select(
    ledger: Ledger,
    *,
    newest: int,
    verdict: str | None = None,
    proposer: str | None = None,
    category: str | None = None,
    since: float | None = None,
    grep: str | None = None,
) -> tuple[Row, ...]:
    """The newest experiments that match everything asked, open ones among them, in the order of their numbers.

    `since` is the Unix time from which on they were opened; `grep` finds text in titles, whatever its case.

    Raises: UserError for a word that is no verdict.
    """
    if verdict is not None and verdict not in {OPEN, *Outcome}:
        raise UserError(f"there is no verdict {verdict!r}; known are {', '.join([OPEN, *Outcome])}")

    def matches(row: Row) -> bool:
        experiment = experiment_of(row)
        return (
            verdict in (None, verdict_word(row))
            and proposer in (None, experiment.proposer)
            and category in (None, experiment.category)
            and (since is None or experiment.opened >= since)
            and (grep or "").casefold() in experiment.title.casefold()
        )

    return _newest(ledger, newest, matches)


def _newest(ledger: Ledger, count: int, matches: Callable[[Row], bool]) -> tuple[Row, ...]:
    rows: Iterator[Row] = heapq.merge(
        reversed(ledger.concluded()),
        reversed(ledger.imported()),
        sorted(ledger.opened(), key=_order, reverse=True),
        key=_order,
        reverse=True,
    )
    return tuple(islice(filter(matches, rows), count))[::-1]


def moment(text: str, *, now: float) -> float:
    """The Unix time of `90min`, `12h` or `2d` ago, or of a date, or date and time, by the machine's clock.

    Raises: UserError when it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(min|h|d)", text.strip())
    if found:
        return now - float(found[1]) * UNITS[found[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"--since {text!r} is not understood: write 12h, 2d, 2026-11-20 or '2026-11-20 22:00'"
        ) from error


def experiment_of(row: Row) -> Experiment:
    """The experiment of a row, with or without its verdict."""
    return row.experiment if isinstance(row, Concluded) else row


def _order(row: Row) -> int:
    return experiment_of(row).number


def as_json(rows: Sequence[Row], metric: Metric) -> list[dict[str, Any]]:
    """One flat object a row; what an open experiment does not have yet is null, and so is a number that is none."""
    return [row_as_json(row, metric) for row in rows]


def row_as_json(row: Row, metric: Metric) -> dict[str, Any]:
    """One row as plain data; `gain` is positive where the experiment was better than its parent."""
    experiment = experiment_of(row)
    found = {
        "number": experiment.number,
        "verdict": verdict_word(row),
        "metric_name": metric.compared,
        **(_measured(row.verdict, metric.direction) if isinstance(row, Concluded) else NOT_YET),
        "title": experiment.title,
        "category": experiment.category,
        "proposer": experiment.proposer,
        "lines_added": experiment.lines.added,
        "lines_removed": experiment.lines.removed,
        "cost_usd": experiment.cost_usd,
        "opened": experiment.opened,
        "imported": experiment.imported,
        "commit": experiment.commit,
        "tree": experiment.tree,
        "parent": experiment.parent,
        "ref": experiment.ref,
    }
    return {key: finite(value) for key, value in found.items()}


def _measured(verdict: Verdict, direction: Direction) -> dict[str, Any]:
    return {
        "metric": verdict.metric,
        "baseline": verdict.baseline,
        "gain": gain_of(verdict, direction),
        "std_error": verdict.std_error,
        "confidence": verdict.confidence,
        "runs": verdict.runs,
        "seeds": verdict.seeds,
        "train_seconds": verdict.train_seconds,
        "device": verdict.device,
        "metrics": verdict.metrics,
        "why": verdict.why,
    }


def table(rows: Sequence[Row], metric: Metric) -> None:
    """Print the rows as a table; a gain is positive where the experiment was better than its parent."""
    console = output()
    if not rows:
        console.print("no experiment matches")
        return
    header: list[str | Text] = ["no.", "verdict", metric.compared, "gain ± s.e.", "runs", "lines", "proposer", "title"]
    cells = [list(_cells(row, metric)) for row in rows]
    if console.is_terminal and console.width - fixed_width([header, *cells]) < NARROWEST_TITLE:
        for line in (header, *cells):
            del line[PROPOSER]
    print_uncut(console, aligned(cells, header=header, right={2, 3, 4, 5}, wrap=True))


def _cells(row: Row, metric: Metric) -> tuple[str | Text, ...]:
    experiment = experiment_of(row)
    verdict = row.verdict if isinstance(row, Concluded) else None
    return (
        number(experiment),
        verdict_text(row),
        figure(verdict.metric if verdict else None),
        gain_figure(gain_of(verdict, metric.direction), verdict.std_error) if verdict else "-",
        str(verdict.runs) if verdict else "-",
        f"+{experiment.lines.added} -{experiment.lines.removed}",
        words(experiment.proposer),
        words(experiment.title, STYLES[verdict.outcome] if verdict else ""),
    )
