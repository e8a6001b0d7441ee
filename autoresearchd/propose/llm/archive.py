"""What a model may look up of the lab's history: experiments in a line each, and one of them in full. Pure."""

from __future__ import annotations

import itertools

from autoresearchd.experiment import FAILED, Concluded, CurvePoint, Outcome
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.llm import digest
from autoresearchd.propose.llm.fence import fence
from autoresearchd.propose.llm.tools import MOST_ANSWER, ListExperiments, ShowExperiment, ToolError

SYMBOL_ROWS = 300
"""Experiments whose diffs are searched for a text, for one question."""
CURVE_POINTS = 8


def listed(context: Context, call: ListExperiments) -> str:
    """The newest that fit the filters."""
    rows, looked = list[str](), 0
    for each in itertools.chain(reversed(context.history.concluded()), reversed(context.history.imported())):
        if call.category is not None and call.category.lower() not in each.experiment.category.lower():
            continue
        if call.verdict is not None and each.verdict.outcome.value != call.verdict:
            continue
        if call.symbol is not None:
            looked += 1
            if looked > SYMBOL_ROWS:
                rows.append(f"(only the newest {SYMBOL_ROWS} were searched for {call.symbol!r})")
                break
            if call.symbol not in _diff(context, each):
                continue
        rows.append(digest.one_line(context, each))
        if len(rows) == call.limit:
            break
    return fence("\n".join(rows), "experiments", most=MOST_ANSWER) if rows else "no such experiment"


def shown(context: Context, call: ShowExperiment) -> str:
    """One experiment in full. Raises: ToolError where there is none of that number."""
    history = context.history
    everything = itertools.chain(history.concluded(), history.imported())
    found = next((each for each in everything if each.experiment.number == call.number), None)
    if found is None:
        raise ToolError(f"there is no experiment {call.number} with a verdict")
    own, verdict = found.experiment, found.verdict
    parts = [digest.one_line(context, found), fence(own.rationale, "hypothesis", most=2000)]
    if verdict.why:
        parts.append(fence(verdict.why, "reason", most=400))
    parts += [f"{name}: {value:.6g}" for name, value in sorted(verdict.metrics.items())[:24]]
    every = () if own.is_lost else history.measurements(own.tree)
    runs = [run for run in every if verdict.environment in ("", run.environment)]
    if runs and runs[-1].curve:
        parts.append(f"curve (seconds, train_loss): {_curve(runs[-1].curve)}")
    parts.append(fence(_diff(context, found), f"diff {own.number:04d}", most=10_000))
    if verdict.outcome in FAILED or verdict.outcome is Outcome.TAMPERED:
        why, log = digest.last_run(history, own.tree)
        parts.append(fence(f"{why}\n{log[-6000:]}", f"log {own.number:04d}", most=6_400))
    return "\n".join(parts)


def _diff(context: Context, each: Concluded) -> str:
    return digest.diff(context.history, each.experiment.parent_tree, each.experiment.tree)


def _curve(curve: tuple[CurvePoint, ...]) -> str:
    step = max(1, len(curve) // CURVE_POINTS)
    points = [*curve[::step][:CURVE_POINTS], curve[-1]]
    return ", ".join(f"({point.seconds:.4g}, {point.train_loss:.5g})" for point in dict.fromkeys(points))
