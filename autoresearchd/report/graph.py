"""What grew on what: the line of best as a trunk, and beside each step the experiments that were made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from autoresearchd.experiment import ON_BEST, Concluded
from autoresearchd.ledger import Ledger
from autoresearchd.report.log import Row, experiment_of
from autoresearchd.report.screen import STYLES, aligned, output, print_uncut, verdict_text, words
from autoresearchd.report.summary import lines
from autoresearchd.report.words import figure, gain_figure, gain_of, number
from autoresearchd.yardstick import Metric

DRAWN = ("●  ", "├─ ", "└─ ")
PLAIN = ("*  ", "|- ", "`- ")
"""The same where the terminal has no such letters."""
Cells = tuple[Text, ...]


def table(ledger: Ledger, rows: Sequence[Row], metric: Metric) -> None:
    """Print the rows on their trunk; a step that is not among them is there where something shown grew on it."""
    console = output()
    if not rows:
        console.print("no experiment matches")
        return
    marks = DRAWN if console.encoding.startswith("utf") else PLAIN
    cells = list(_lines(grown(ledger, rows), metric, marks))
    header = ("no.", "verdict", metric.compared, "gain ± s.e.", "title")
    print_uncut(console, aligned(cells, header=header, right={2, 3}, wrap=True))


def grown(ledger: Ledger, rows: Sequence[Row]) -> Sequence[tuple[Concluded | None, Sequence[Row]]]:
    """Each step of best with what grew on it, in the order of history; first what grew on nothing that is known."""
    steps = {entry.commit: entry.number for entry in ledger.entries() if entry.outcome in ON_BEST}
    found: dict[int, list[Row]] = {}
    shown: dict[int, Concluded] = {}
    for row in rows:
        if isinstance(row, Concluded) and row.verdict.outcome in ON_BEST:
            shown[row.experiment.number] = row
        else:
            found.setdefault(steps.get(experiment_of(row).parent, -1), []).append(row)
    for missing in found.keys() - shown.keys() - {-1}:
        step = ledger.find(missing)
        assert isinstance(step, Concluded), f"experiment {missing} is on best without a verdict"
        shown[missing] = step
    lost = [(None, found[-1])] if -1 in found else []
    return [*lost, *((shown[at], found.get(at, ())) for at in _in_order(ledger) if at in shown)]


def _in_order(ledger: Ledger) -> Sequence[int]:
    """The numbers of the steps of best, the first one first."""
    steps = [ledger.find(entry.number) for entry in ledger.entries() if entry.outcome in ON_BEST]
    found = lines([step for step in steps if isinstance(step, Concluded)])
    return [step.experiment.number for line in found for step in line]


def _lines(
    trunk: Sequence[tuple[Concluded | None, Sequence[Row]]], metric: Metric, marks: tuple[str, str, str]
) -> Iterator[Cells]:
    top, branch, last = marks
    for step, grew in trunk:
        if step is not None:
            yield _cells(step, metric, top)
        for index, row in enumerate(grew):
            yield _cells(row, metric, last if index == len(grew) - 1 else branch)


def _cells(row: Row, metric: Metric, mark: str) -> Cells:
    verdict = row.verdict if isinstance(row, Concluded) else None
    gain = gain_figure(gain_of(verdict, metric.direction), verdict.std_error) if verdict else "-"
    style = STYLES[verdict.outcome] if verdict else ""
    return (
        Text.assemble((mark, "green"), number(experiment_of(row))),
        verdict_text(row),
        Text(figure(verdict.metric if verdict else None)),
        Text(gain),
        words(experiment_of(row).title, style),
    )
