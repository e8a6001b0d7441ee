"""What `top` shows, read from ledger, status.json and live.json at one moment. Reads only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from autoresearchd import bulletin
from autoresearchd.experiment import Concluded, CurvePoint, Experiment
from autoresearchd.ledger import Ledger
from autoresearchd.report import status as reading
from autoresearchd.report.rows import comparable
from autoresearchd.status import Status

RECENT = 100
"""Verdicts that are read; a terminal has no room for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """The lab at one moment."""

    status: Status | None
    """The last that a daemon said; None before the first."""
    is_running: bool
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    """Of what trains now, by device."""
    best_curve: tuple[CurvePoint, ...] = ()
    opened: tuple[Experiment, ...] = ()
    """Without a verdict, training or not."""
    ideas: tuple[str, ...] = ()
    """Titles in the inbox: untrusted."""
    recent: tuple[Concluded, ...] = ()
    """Newest first."""

    @property
    def training(self) -> tuple[int, ...]:
        """The experiments on the devices."""
        devices = self.status.devices if self.status and self.is_running else ()
        return tuple(dict.fromkeys(device.experiment for device in devices if device.experiment is not None))

    @property
    def queue(self) -> tuple[Experiment, ...]:
        """Open and not training."""
        return tuple(experiment for experiment in self.opened if experiment.number not in self.training)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Every experiment that can be chosen, from top to bottom."""
        below = (*(e.number for e in self.queue), *(c.experiment.number for c in self.recent))
        return tuple(dict.fromkeys((*self.training, *below)))


def glance(ledger: Ledger) -> Glance:
    """Look once, at what other processes wrote since as well."""
    ledger.refresh()
    data, holder = reading.look(ledger)
    status, is_running = reading.typed(data), reading.is_fresh(data, holder)
    if status is not None and not is_running:
        status = replace(reading.past(status, time.time()), busy_share=None)
    return Glance(
        status=status,
        is_running=is_running,
        curves={run["device"]: _curve(run["curve"]) for run in bulletin.read_live(ledger.path)} if is_running else {},
        best_curve=_best_curve(ledger),
        opened=ledger.opened(),
        ideas=tuple(idea.title or idea.ref for idea in ledger.ideas()),
        recent=tuple(islice(reversed(ledger.concluded()), RECENT)),
    )


def _best_curve(ledger: Ledger) -> tuple[CurvePoint, ...]:
    """The longest of the newest runs of best."""
    best, every = ledger.best_record(), ledger.measurements(ledger.best().tree)
    runs = every if best is None else comparable(every, best)
    return max((run.curve for run in runs), key=len, default=())


def _curve(points: Sequence[Any]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(step=step, seconds=seconds, train_loss=float("nan") if loss is None else loss)
        for step, seconds, loss in points
    )
