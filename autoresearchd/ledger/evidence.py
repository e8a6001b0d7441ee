"""What a conclusion says against the runs that are filed: what best, `fsck` and the way back all ask. Pure.

The judge's arithmetic is not done again: which runs count is its own business and changes with releases. A centre of
numbers lies between the lowest and the highest of them, whoever takes it; so much is asked of every metric in a commit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoresearchd.experiment import Direction, Ending, Outcome, TreeOid, Verdict
from autoresearchd.ledger.observed import Commit, Facts, Filed
from autoresearchd.trailers import Record
from autoresearchd.yardstick import COMPOSITE

ROUNDING = 1e-6
"""Trailers have at least six decimals or nine digits."""


def is_measured(commit: Commit, facts: Facts) -> bool:
    """Whether its tree has a finished run."""
    return any(run.ending is Ending.FINISHED for run in facts.runs.get(commit.tree or TreeOid(""), ()))


def disagreements(commit: Commit, facts: Facts) -> Iterator[str]:
    """What the trailers of a conclusion say otherwise than the runs of its tree, and of the one it was made on."""
    record = commit.record
    if record is None or record.verdict is None or commit.tree is None:
        return
    runs = _comparable(record.verdict, facts.runs.get(commit.tree, ()))
    yield from _of_figures(record.verdict, record.metric, runs)
    if record.verdict.outcome is Outcome.KEEP and (way := _direction(facts.measured)) is not None:
        before = _comparable(record.verdict, facts.runs.get(commit.on, ())) if commit.on is not None else ()
        yield from _of_keep(record, _counted(record.verdict, runs), before, facts.measured, way)


def _comparable(verdict: Verdict, filed: Sequence[Filed]) -> Sequence[Filed]:
    return [run for run in filed if verdict.environment in ("", run.environment)]


def _counted(verdict: Verdict, runs: Sequence[Filed]) -> Sequence[Filed]:
    return [run for run in runs if run.seed in verdict.seeds]


def _of_figures(verdict: Verdict, metric: str, runs: Sequence[Filed]) -> Iterator[str]:
    if len(runs) < verdict.runs:
        yield f"rests on {verdict.runs} runs, and {len(runs)} are filed"
    if unseen := set(verdict.seeds) - {run.seed for run in runs}:
        yield f"counts seed {min(unseen)}, and no run of its tree had it"
    if verdict.metric is None or metric == COMPOSITE or not runs:
        return
    numbers = _numbers(_counted(verdict, runs), metric)
    if not numbers:
        yield f"says {metric}={verdict.metric:g}, and no run that it counts said any"
    elif not _is_within(verdict.metric, numbers):
        yield f"says {metric}={verdict.metric:.9g}, and its runs gave {min(numbers):.9g} to {max(numbers):.9g}"


def _of_keep(
    record: Record, counted: Sequence[Filed], before: Sequence[Filed], measured: Mapping[str, Any], way: Direction
) -> Iterator[str]:
    """That a kept number is worse is no sign: it is of the run made after it had won. That none was better is one.

    A change that takes lines away may be kept for that alone.
    """
    assert record.verdict is not None
    name = COMPOSITE if measured.get("metric.also") else measured.get("metric.name", record.metric)
    if record.metric != name:
        yield f"was kept by {record.metric or 'no number'}, and the lab is measured by {name}"
        return
    verdict, numbers, theirs = record.verdict, _numbers(counted, record.metric), _numbers(before, record.metric)
    if name == COMPOSITE or verdict.baseline is None:
        return
    if theirs and not _is_within(verdict.baseline, theirs):
        gave = f"{min(theirs):.9g} to {max(theirs):.9g}"
        yield f"says that {name} was {verdict.baseline:.9g} before it, and the runs of that gave {gave}"
    gains = [way.gain(number, verdict.baseline) for number in numbers]
    if gains and record.lines.net >= 0 and max(gains) < -_slack(verdict.baseline):
        yield f"was kept, and none of its runs was better than the {verdict.baseline:.9g} before it"


def _direction(measured: Mapping[str, Any]) -> Direction | None:
    """None where the lab was never told, as before its first start."""
    said = measured.get("metric.direction")
    return next((way for way in Direction if way == said), None)


def _numbers(runs: Sequence[Filed], metric: str) -> Sequence[float]:
    found = (run.metrics.get(metric, math.nan) for run in runs if run.ending is Ending.FINISHED)
    return [number for number in found if math.isfinite(number)]


def _is_within(number: float, numbers: Sequence[float]) -> bool:
    low, high = min(numbers), max(numbers)
    slack = _slack(low, high)
    return low - slack <= number <= high + slack


def _slack(*numbers: float) -> float:
    return ROUNDING * max(1.0, *map(abs, numbers))
