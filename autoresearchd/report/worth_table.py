"""What each kept change is worth today, as a table or as plain data. Prints, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text

from autoresearchd.report.screen import aligned, output, print_uncut, words
from autoresearchd.report.words import finite, gain_figure
from autoresearchd.report.worth import Worth


def as_json(found: Sequence[Worth]) -> list[dict[str, Any]]:
    """One flat object a change; what is not known is null."""
    return [{key: finite(value) for key, value in asdict(each).items()} for each in found]


def table(found: Sequence[Worth]) -> None:
    """Print them for a person."""
    console = output()
    if not found:
        console.print("nothing was kept yet")
        return
    header = ("no.", "gain then ± s.e.", "worth today ± s.e.", "taken out as", "change")
    print_uncut(console, aligned([_cells(each) for each in found], header=header, right={1, 2, 3}, wrap=True))


def _cells(each: Worth) -> tuple[str | Text, ...]:
    trial = "-" if each.trial is None else f"{each.trial:04d}"
    return (
        f"{each.number:04d}",
        gain_figure(each.gain, each.std_error),
        gain_figure(each.today, each.today_error),
        trial + (", for good" if each.is_dead_weight else ""),
        words(each.title, "dim" if each.is_dead_weight else ""),
    )
