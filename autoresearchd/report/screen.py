"""The terminal, or what stands in for one: which console to print on, and the colours of the verdicts.

Off a terminal nothing is coloured, drawn or cut: the reader is a pipe, a file or a pager.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoresearchd.experiment import Concluded, Experiment, Outcome
from autoresearchd.report.rows import OPEN
from autoresearchd.report.words import plain

UNCUT = 20_000
"""Width of a console that is no terminal: nothing is wrapped or cut to it."""
GAP = 2
STYLES = {
    Outcome.BASELINE: "bold cyan",
    Outcome.KEEP: "bold green",
    Outcome.KEPT_ELSEWHERE: "green",
    Outcome.DISCARD: "dim",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.PRUNED: "dim",
    Outcome.DUPLICATE: "dim",
    Outcome.STALE: "dim",
    Outcome.SKIPPED: "dim",
    Outcome.REJECTED: "magenta",
    Outcome.TAMPERED: "bold red",
    Outcome.CRASH: "red",
    Outcome.OUT_OF_MEMORY: "red",
    Outcome.TIMEOUT: "red",
    Outcome.UNSTABLE: "red",
}


def output() -> Console:
    """The console for answers, on the standard output."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=UNCUT, force_terminal=False, color_system=None)


def print_uncut(console: Console, shown: RenderableType) -> None:
    """Print; off a terminal without the blanks that pad the last column."""
    if console.is_terminal:
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def aligned(
    rows: Sequence[Sequence[RenderableType]],
    *,
    header: Sequence[str | Text] = (),
    right: Collection[int] = (),
    wrap: bool = False,
) -> Table:
    """Columns without lines. Where room is short only the last one gives way: it is wrapped, or cut with an ellipsis.

    `right` are the columns of figures. Strings may hold markup: untrusted words come as `words`.
    """
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=bool(header), header_style="bold")
    widths = _widths([header, *rows] if header else rows)
    for at, width in enumerate(widths):
        name = header[at] if header else ""
        if at == len(widths) - 1:
            table.add_column(name, no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
        else:
            table.add_column(name, no_wrap=True, min_width=width, justify="right" if at in right else "left")
    for row in rows:
        table.add_row(*row)
    return table


def fixed_width(rows: Sequence[Sequence[RenderableType]]) -> int:
    """Terminal columns that all columns but the last one need."""
    return sum(width + GAP for width in _widths(rows)[:-1])


def _widths(rows: Sequence[Sequence[RenderableType]]) -> list[int]:
    return [max(_width(cell) for cell in column) for column in zip(*rows, strict=True)]


def _width(cell: RenderableType) -> int:
    if isinstance(cell, Text):
        return cell.cell_len
    if isinstance(cell, ProgressBar):
        return cell.width or 0
    return cell_len(cell) if isinstance(cell, str) else 0


def words(text: str, style: str = "") -> Text:
    """Untrusted words as one harmless line: neither markup nor control characters work in it."""
    return Text(plain(text), style=style)


def verdict_word(row: Experiment | Concluded) -> str:
    """The word of the verdict, or `open`."""
    return row.verdict.outcome.value if isinstance(row, Concluded) else OPEN


def verdict_text(row: Experiment | Concluded) -> Text:
    """The same, coloured."""
    return Text(verdict_word(row), style=STYLES[row.verdict.outcome] if isinstance(row, Concluded) else "blue")
