"""What the page shows, as plain data made of facts: pages of rows, a chart thinned to what eyes can tell apart. Pure.

Every text is made harmless here (`words.plain`, `words.block`); that it is text and not markup is the browser's part,
which only ever sets text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoresearchd.experiment import CurvePoint, Measurement
from autoresearchd.report.climb import Climb
from autoresearchd.report.facts import Facts
from autoresearchd.report.rows import Row
from autoresearchd.report.words import block, evidence, finite, plain
from autoresearchd.report.worth import Worth

MOST_DOTS = 2_000
MOST_ROWS = 100
LONGEST_DIFF = 200_000
"""Characters; git has the rest."""
LONGEST_LOG = 20_000
CURVE_POINTS = 400
TITLE_CHARACTERS = 300


def overview(found: Facts) -> dict[str, Any]:
    """The lab in a few figures."""
    best, baseline = found.best, found.baseline
    return _finite(
        {
            "name": plain(found.name),
            "goal": plain(found.goal),
            "metric": plain(found.metric),
            "direction": found.direction.value,
            "sentence": found.sentence,
            "best": row(best) if best else None,
            "baseline": baseline.start if baseline else None,
            "noise": found.noise.std_dev if found.noise.degrees else None,
            "kept": found.spend.kept,
            "tried": found.tried,
            "verdicts": sorted(found.counts.keys() | {item.verdict for item in found.imported}),
            "open": [row(item) for item in found.rows if not item.is_concluded],
            "rungs": [plain(rung) for rung in found.rungs],
            "scales": [_climb(each, found.rungs) for each in found.scales[-MOST_ROWS:]],
            "worth": [_worth(each) for each in found.worth_today[-MOST_ROWS:]],
        }
    )


def _climb(each: Climb, rungs: Sequence[str]) -> dict[str, Any]:
    """A kept change on the rungs above the first, by rung in their order."""
    return {
        "number": each.number,
        "title": plain(each.title)[:TITLE_CHARACTERS],
        "gain": each.gain,
        "error": each.std_error,
        "rungs": [evidence(each.rungs.get(rung, "")) for rung in rungs],
        "promoted": each.promoted,
    }


def _worth(each: Worth) -> dict[str, Any]:
    """A kept change when it was kept, and today."""
    return {
        "number": each.number,
        "title": plain(each.title)[:TITLE_CHARACTERS],
        "gain": each.gain,
        "error": each.std_error,
        "today": each.today,
        "today_error": each.today_error,
        "trial": each.trial,
        "is_dead_weight": each.is_dead_weight,
    }


def table(found: Facts, *, text: str, verdict: str, offset: int, limit: int) -> dict[str, Any]:
    """A page of the experiments that match, newest first, and how many match."""
    wanted = text.casefold().strip()
    everything = sorted((*found.rows, *found.imported), key=lambda item: item.number, reverse=True)
    rows = [item for item in everything if _matches(item, wanted) and verdict in ("", item.verdict)]
    shown = rows[max(0, offset) :][: max(1, min(limit, MOST_ROWS))]
    return _finite({"total": len(rows), "offset": max(0, offset), "rows": [row(item) for item in shown]})


def _matches(item: Row, wanted: str) -> bool:
    if not wanted:
        return True
    return wanted in f"{item.number:04d}" or any(
        wanted in words.casefold() for words in (item.title, item.category, item.proposer, item.why)
    )


def row(item: Row) -> dict[str, Any]:
    """One experiment for the table."""
    return {
        "number": item.number,
        "verdict": item.verdict,
        "title": plain(item.title)[:TITLE_CHARACTERS],
        "metric": item.metric,
        "gain": item.gain,
        "error": item.std_error,
        "confidence": item.confidence,
        "runs": item.runs,
        "proposer": plain(item.proposer)[:TITLE_CHARACTERS],
        "category": plain(item.category)[:TITLE_CHARACTERS],
        "lines": f"+{item.lines_added} −{item.lines_removed}",
        "why": plain(item.why),
        "is_step": item.is_step,
        "cost_usd": item.cost_usd,
        "opened": item.opened,
        "commit": item.commit,
        "parent": item.parent,
    }


def idea(ref: str, title: str, why: str, *, is_wish: bool = False) -> dict[str, Any]:
    """One of the inbox; `why` is there where it cannot be tried."""
    named = plain(ref.removeprefix("refs/heads/"))
    return {"ref": named, "title": plain(title)[:TITLE_CHARACTERS], "why": plain(why), "is_wish": is_wish}


def chart(found: Facts) -> dict[str, Any]:
    """The staircase of best and the tries as dots, by columns; `tried` counts those that gave a number."""
    dots = [item for item in found.rows if item.metric is not None]
    failed = [item.number for item in found.rows if item.is_failed]
    kept = _thinned(dots)
    return _finite(
        {
            "metric": plain(found.metric),
            "direction": found.direction.value,
            "steps": [[step.number, step.metric] for step in found.steps],
            "seams": [step.number for step in found.steps if step.is_seam],
            "last": found.rows[-1].number if found.rows else 0,
            "tried": len(dots),
            "number": [item.number for item in kept],
            "value": [item.metric for item in kept],
            "error": [item.std_error for item in kept],
            "kept": [item.is_step for item in kept],
            "failed": failed[:: max(1, len(failed) // MOST_DOTS)],
        }
    )


def _thinned(dots: Sequence[Row]) -> list[Row]:
    """All where there is room; else the steps of best, and the best and the worst of every stretch of numbers."""
    if len(dots) <= MOST_DOTS:
        return list(dots)
    stretch = -(-len(dots) * 2 // MOST_DOTS)
    found = {item.number: item for item in dots if item.is_step}
    for at in range(0, len(dots), stretch):
        ordered = sorted(dots[at : at + stretch], key=lambda item: item.metric or 0.0)
        found |= {item.number: item for item in (ordered[0], ordered[-1])}
    return [found[number] for number in sorted(found)]


def experiment(item: Row, *, rationale: str, reason: str, diff: str, runs: Sequence[Measurement]) -> dict[str, Any]:
    """One experiment in full."""
    whole = block(diff[:LONGEST_DIFF])
    return _finite(
        {
            **row(item),
            "rationale": block(rationale),
            "reason": plain(reason),
            "diff": whole,
            "diff_is_cut": len(diff) > LONGEST_DIFF,
            "runs": [_run(run) for run in runs],
            "log": block(runs[-1].log_tail[-LONGEST_LOG:]) if runs else "",
        }
    )


def _run(run: Measurement) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "device": plain(run.device),
        "ending": run.ending.value,
        "why": plain(run.why),
        "metrics": {plain(name): value for name, value in list(run.metrics.items())[:50]},
        "seconds": run.train_seconds,
    }


def curves(number: int, runs: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The train loss of an experiment's newest run that wrote one, over the steps and thinned: repeats look alike."""
    drawn = [run for run in runs if run.curve][-1:]
    return [_finite({"number": number, "seed": run.seed, "points": _points(run.curve)}) for run in drawn]


def _points(curve: Sequence[CurvePoint]) -> list[list[float]]:
    stride = max(1, -(-len(curve) // CURVE_POINTS))
    kept = [*curve[:-1:stride], curve[-1]]
    return [[point.step, point.train_loss] for point in kept]


def status(found: dict[str, Any]) -> dict[str, Any]:
    """What the daemon does now, its words made harmless."""
    live = [
        {
            "run": plain(str(run.get("run", ""))),
            "experiment": run.get("experiment"),
            "device": plain(str(run.get("device", ""))),
            "points": [[point[0], point[2]] for point in run.get("curve", ())],
            "log": block(str(run.get("log_tail", ""))[-LONGEST_LOG:]),
        }
        for run in found.get("live", ())
    ]
    return {**_harmless({key: value for key, value in found.items() if key != "live"}), "live": live}


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(str(key)): _harmless(inner) for key, inner in value.items()}
    return [_harmless(inner) for inner in value] if isinstance(value, list | tuple) else value


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    return {key: finite(value) for key, value in found.items()}
