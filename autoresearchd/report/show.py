"""One experiment in full: hypothesis, evidence, runs, curve, what went wrong and the diff. Reads and prints only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearchd.experiment import Concluded, Ending, Experiment, Measurement
from autoresearchd.ledger import Ledger
from autoresearchd.report.climb import outcome
from autoresearchd.report.curve import BLOCKS, LETTERS, against, sparkline
from autoresearchd.report.log import Row, experiment_of, row_as_json
from autoresearchd.report.rows import comparable
from autoresearchd.report.screen import aligned, output, print_uncut, verdict_text, words
from autoresearchd.report.words import block, counted, duration, evidence, figure, finite, gain_figure, gain_of, number
from autoresearchd.standing import Standing
from autoresearchd.yardstick import Metric

LONGEST_DIFF = 2_000
"""Lines of a diff that are shown; git has the rest."""
LOG_LINES = 20


def as_json(ledger: Ledger, found: Row, metric: Metric) -> dict[str, Any]:
    """The experiment's row as in `log`, with its hypothesis, its runs and its diff."""
    experiment = experiment_of(found)
    runs = [_run_as_json(run) for run in runs_of(ledger, experiment)]
    return {
        **row_as_json(found, metric),
        "rationale": experiment.rationale,
        "reason": experiment.reason,
        "run_list": runs,
        "diff": ledger.diff(experiment),
    }


def absent(ledger: Ledger, number: int) -> str:
    """Why an experiment that was asked for cannot be shown, and the way out."""
    name, way = f"{number:04d}", "`autoresearchd fsck` says the way out"
    if ledger.has_branch(number):
        return f"{name} is there and cannot be read; {way}"
    if any(step.experiment.number == number for step in ledger.line()):
        return f"{name} has no branch; it is on best, and {way}"
    if back := ledger.way_back_to(number):
        return f"{name} was given and its branch is gone; what was measured stays under refs/autoresearch/runs; {back}"
    return f"there is no experiment {name} in {ledger.path}; `autoresearchd log` lists them"


def runs_of(ledger: Ledger, experiment: Experiment) -> Sequence[Measurement]:
    """The runs of its tree; none of a record that only stands on its parent's."""
    return () if experiment.is_lost else ledger.measurements(experiment.tree)


def _run_as_json(run: Measurement) -> dict[str, Any]:
    found = {
        "run": run.run,
        "seed": run.seed,
        "device": run.device,
        "environment": run.environment,
        "ending": run.ending.value,
        "why": run.why,
        "metrics": run.metrics,
        "started": run.started,
        "train_seconds": run.train_seconds,
        "wall_seconds": run.wall_seconds,
        "curve": [[point.step, point.seconds, point.train_loss] for point in run.curve],
        "log_tail": run.log_tail,
    }
    return {key: finite(value) for key, value in found.items()}


def page(ledger: Ledger, found: Row, metric: Metric, console: Console | None = None) -> None:
    """Print the experiment for a person, on the standard output or on another console."""
    console, experiment = console or output(), experiment_of(found)
    every = runs_of(ledger, experiment)
    runs = comparable(every, found)
    parent = () if experiment.parent_tree == experiment.tree else ledger.measurements(experiment.parent_tree)
    standings = ledger.promotion.standings().get(experiment.commit, ())
    for part in _parts(console, found, runs, comparable(parent, found), metric, standings):
        print_uncut(console, part)
    if others := len(every) - len(runs):
        elsewhere = f"\n{counted(others, 'run')} in other environments: `show --json` has them"
        print_uncut(console, Text(elsewhere, style="dim"))
    _print_diff(console, ledger.diff(experiment), experiment)


def _parts(
    console: Console,
    found: Row,
    runs: Sequence[Measurement],
    parent: Sequence[Measurement],
    metric: Metric,
    standings: Sequence[Standing],
) -> Iterator[RenderableType]:
    experiment = experiment_of(found)
    yield Text.assemble((number(experiment), "bold cyan"), "  ", verdict_text(found), "  ", words(experiment.title))
    if experiment.rationale:
        yield Text("\n" + block(experiment.rationale))
    yield Text("")
    yield _evidence(found, metric, standings)
    if runs:
        yield Text("\nruns", style="bold")
        yield _runs(runs, metric)
        yield from _curves(console, runs, parent)
        yield from _failure(runs[-1])


def _evidence(found: Row, metric: Metric, standings: Sequence[Standing]) -> Table:
    above = ((f"on {each.scale}", evidence(outcome(each.holds, each.evidence))) for each in standings)
    facts = [(Text(name, style="dim"), words(value)) for name, value in (*_facts(found, metric), *above) if value]
    return aligned(facts, wrap=True)


def _facts(found: Row, metric: Metric) -> Iterator[tuple[str, str]]:
    experiment = experiment_of(found)
    if isinstance(found, Concluded):
        verdict = found.verdict
        yield "why", verdict.why
        yield "flag", verdict.flag
        if verdict.metric is not None:
            parent = f" (parent {figure(verdict.baseline)})" if verdict.baseline is not None else ""
            yield metric.compared, figure(verdict.metric) + parent
        if (gain := gain_of(verdict, metric.direction)) is not None:
            yield "gain", f"{gain_figure(gain, verdict.std_error)} (plus is better)"
        if verdict.confidence is not None:
            yield "confidence", f"{verdict.confidence:.4f} that it is an improvement"
        seeds = ", ".join(map(str, verdict.seeds))
        yield "evidence", counted(verdict.runs, "run") + (f", seeds {seeds}" if seeds else "")
        yield "trained", f"{duration(verdict.train_seconds)} on {verdict.device}" if verdict.device else ""
        if verdict.peak_memory_mib is not None:
            yield "peak memory", f"{verdict.peak_memory_mib:.0f} MiB"
    else:
        yield "why", "no verdict yet"
    yield "proposer", f"{experiment.proposer} ({experiment.category})"
    yield "imported", experiment.imported
    yield "asked because", experiment.reason
    yield "cost", f"{experiment.cost_usd:.4f} USD" if experiment.cost_usd is not None else ""
    yield "corrected", f"{experiment.fix_attempts} × after a crash" if experiment.fix_attempts else ""
    yield "lines", f"+{experiment.lines.added} -{experiment.lines.removed}"
    yield "commit", f"{experiment.commit} on {experiment.ref}"
    yield "parent", experiment.parent


def _runs(runs: Sequence[Measurement], metric: Metric) -> Table:
    header = ("seed", metric.name, "trained", "wall", "ending", "device", "why")
    return aligned([_run(run, metric) for run in runs], header=header, right={0, 1, 2, 3}, wrap=True)


def _run(run: Measurement, metric: Metric) -> tuple[RenderableType, ...]:
    return (
        str(run.seed),
        figure(run.metrics.get(metric.name)),
        duration(run.train_seconds),
        duration(run.wall_seconds),
        Text(run.ending.value, style="" if run.ending is Ending.FINISHED else "red"),
        words(run.device),
        words(run.why),
    )


def _curves(console: Console, runs: Sequence[Measurement], parent: Sequence[Measurement]) -> Iterator[RenderableType]:
    heights = BLOCKS if console.encoding.startswith("utf") else LETTERS
    drawn = [run for run in runs if run.curve]
    if drawn:
        yield Text("\ntrain loss", style="bold")
    for run in drawn:
        first, last = run.curve[0], run.curve[-1]
        line = sparkline(run.curve, heights=heights)
        yield Text(f"seed {run.seed}  {first.train_loss:.4f} {line} {last.train_loss:.4f} at step {last.step}")
    before = max((run.curve for run in parent), key=len, default=())
    if drawn and before:
        upper, lower = against(drawn[0].curve, before, heights=heights)
        yield Text("\nbeside its parent, at equal training time", style="bold")
        yield Text(f"this    {upper}\nparent  {lower}")


def _failure(run: Measurement) -> Iterator[RenderableType]:
    if run.ending is Ending.FINISHED or not run.log_tail:
        return
    yield Text("\nend of the log", style="bold")
    yield Text("\n".join(block(run.log_tail).split("\n")[-LOG_LINES:]), style="dim")


def _print_diff(console: Console, diff: str, experiment: Experiment) -> None:
    lines = block(diff).split("\n")
    if lines == [""]:
        return
    shown = "\n".join(lines[:LONGEST_DIFF])
    print_uncut(console, Text("\nchange", style="bold"))
    if console.is_terminal:
        from rich.syntax import Syntax  # brings pygments, which nothing else here needs

        console.print(Syntax(shown, "diff", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        print_uncut(console, Text(shown))
    if len(lines) > LONGEST_DIFF:
        print_uncut(console, Text(f"… {len(lines) - LONGEST_DIFF} more lines: git show {experiment.commit}"))
