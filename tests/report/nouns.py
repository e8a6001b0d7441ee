"""Ready-made nouns for the views' tests, and a lab on disk that holds them."""

from __future__ import annotations

from typing import Any

from autoresearchd.experiment import (
    CommitOid,
    Concluded,
    CurvePoint,
    Experiment,
    Lines,
    Outcome,
    RefName,
    TreeOid,
    Verdict,
)
from autoresearchd.status import DeviceStatus, Status
from autoresearchd.yardstick import Metric

EVIL = "\x1b]0;owned\x07\x1b[2J[bold red]not markup[/] \x9b31m \u202eright to left"
"""A title that tries to steer the terminal and rich's markup."""
METRIC = Metric(name="val_bpb")


def experiment(number: int, title: str = "Try it", **fields: Any) -> Experiment:
    """An open experiment."""
    defaults: dict[str, Any] = {
        "slug": "try-it",
        "ref": RefName(f"refs/heads/exp/{number:04d}-try-it"),
        "commit": CommitOid(f"{number:040x}"),
        "tree": TreeOid(f"{number + 4096:040x}"),
        "parent": CommitOid(f"{number - 1:040x}" if number else "f" * 40),
        "parent_tree": TreeOid(f"{max(number - 1, 0) + 4096:040x}"),
        "rationale": "",
        "category": "schedule",
        "proposer": "space",
        "lines": Lines(added=3, removed=12),
        "opened": 1_700_000_000.0 + number,
    }
    return Experiment(number=number, title=title, **(defaults | fields))


def concluded(
    number: int, outcome: Outcome, metric: float | None = None, baseline: float | None = None, **fields: Any
) -> Concluded:
    """An experiment with its verdict; `title`, `proposer` and `rationale` go to the experiment."""
    own = {key: fields.pop(key) for key in ("title", "proposer", "rationale", "lines", "parent") if key in fields}
    verdict = Verdict(outcome=outcome, metric=metric, baseline=baseline, **fields)
    return Concluded(experiment=experiment(number, **own), verdict=verdict)


def status(**fields: Any) -> Status:
    """A daemon that trains experiment 0007 on one slot, ten minutes into its session."""
    defaults: dict[str, Any] = {
        "now": 1_700_000_600.0,
        "pid": 4242,
        "program": "nanogpt",
        "metric": "val_bpb",
        "direction": "lower",
        "state": "training",
        "best": 1.2,
        "best_number": 4,
        "best_title": "Warm down longer",
        "baseline": 1.3,
        "verdicts": {"baseline": 1, "keep": 2, "discard": 3, "crash": 1},
        "open": (7,),
        "devices": (device(),),
        "session_started": 1_700_000_000.0,
        "session_opened": 7,
        "busy_share": 0.98,
    }
    return Status(**(defaults | fields))


def device(**fields: Any) -> DeviceStatus:
    """A slot half-way through a run."""
    defaults: dict[str, Any] = {
        "device": "cpu:0",
        "model": "some CPU",
        "experiment": 7,
        "title": "Softcap 15",
        "seed": 1,
        "phase": "training",
        "fraction": 0.5,
        "step": 75,
        "train_loss": 2.5,
        "started": 1_700_000_590.0,
    }
    return DeviceStatus(**(defaults | fields))


def curve(*losses: float) -> tuple[CurvePoint, ...]:
    """One point a step."""
    return tuple(CurvePoint(step=step, seconds=float(step), train_loss=loss) for step, loss in enumerate(losses))
