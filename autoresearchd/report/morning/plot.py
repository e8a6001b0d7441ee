"""The staircase of best as a picture file, for a talk or a paper: by matplotlib, which the extra `plot` brings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoresearchd.errors import UserError
from autoresearchd.report.facts import Facts
from autoresearchd.report.morning.chart import visible
from autoresearchd.report.words import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
INCHES, DOTS_PER_INCH = (9.0, 4.5), 160
KEEP, OTHER, BAD = "#1a7f37", "#818b98", "#cf222e"
CROWD = 1_000
"""From so many tries on they are drawn as pixels, in vector files too: these stay small."""


def write(facts: Facts, path: Path) -> None:
    """Draw best over the experiments, with every try and its standard error.

    Raises: UserError when matplotlib is not there, the suffix is none of `SUFFIXES`, or nothing was measured.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--plot {path} is not understood: name a file that ends in {', '.join(SUFFIXES)}")
    span = visible(facts)
    if span is None:
        raise UserError(
            "nothing was measured yet, so there is nothing to plot; `autoresearchd status` says how far it is"
        )
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_ylim(span)
    _tries(axes, facts)
    _best(axes, facts)
    axes.set_title(plain(facts.name), parse_math=False)
    axes.set_xlabel("experiment")
    axes.set_ylabel(f"{facts.metric} ({facts.direction} is better)", parse_math=False)
    axes.legend(frameon=False)
    figure.savefig(path)


def _tries(axes: Axes, facts: Facts) -> None:
    others = [row for row in facts.rows if row.metric is not None and not row.is_step]
    if others:
        axes.errorbar(
            [row.number for row in others],
            [row.metric for row in others if row.metric is not None],
            yerr=[row.std_error or 0.0 for row in others],
            fmt=".",
            color=OTHER,
            ecolor=OTHER + "55",
            elinewidth=0.7,
            markersize=3,
            label="tried, ± one standard error",
            rasterized=len(others) >= CROWD,
        )
    failed = [row.number for row in facts.rows if row.is_failed]
    if failed:
        bottom = axes.get_xaxis_transform()
        axes.vlines(failed, 0, 0.02, transform=bottom, color=BAD, linewidth=0.8, label="gave no number")


def _best(axes: Axes, facts: Facts) -> None:
    numbers, values = [step.number for step in facts.steps], [step.metric for step in facts.steps]
    last = max(row.number for row in facts.rows)
    axes.step([*numbers, last], [*values, values[-1]], where="post", color=KEEP, label="best")
    errors = [step.std_error or 0.0 for step in facts.steps]
    axes.errorbar(numbers, values, yerr=errors, fmt="o", color=KEEP, markersize=4, elinewidth=1)
    seams = [step.number for step in facts.steps if step.is_seam]
    if seams:
        across = axes.get_xaxis_transform()
        axes.vlines(seams, 0, 1, transform=across, color=KEEP, linewidth=0.8, linestyles="dotted", label="rebase")
