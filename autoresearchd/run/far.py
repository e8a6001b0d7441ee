"""Live runs on other machines, as they were heard of last: common to the executors of clusters. Asks nobody."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from autoresearchd.experiment import Device, Progress, RunSpec
from autoresearchd.run.parcel import Live

logger = structlog.get_logger()
QUEUED = "queued"
"""The phase of a run that waits for a node."""


class FarRuns:
    """By name; and why one was lost that the owner has not been told of yet."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._trouble = ""

    def queue(self, spec: RunSpec) -> None:
        """It waits for a node from now on."""
        self._live[spec.run] = Live(progress=Progress(spec=spec, started=time.time(), phase=QUEUED))

    def heard(self, live: Live) -> None:
        """How far a run is."""
        self._live[live.progress.spec.run] = live

    def spec(self, run: str) -> RunSpec | None:
        """Of a live run; None of any other."""
        live = self._live.get(run)
        return None if live is None else live.progress.spec

    def specs(self) -> Sequence[RunSpec]:
        """Of all live runs."""
        return [live.progress.spec for live in self._live.values()]

    def end(self, run: str) -> RunSpec | None:
        """It is no longer live; None where it was not."""
        spec = self.spec(run)
        self._live.pop(run, None)
        return spec

    def lose(self, spec: RunSpec, why: str, *, grave: bool = True) -> None:
        """It ended without a measurement; `grave` where the next is likely to end the same way."""
        logger.warning("run_lost", run=spec.run, tree=spec.tree, device=spec.device.name, seed=spec.seed, why=why)
        self.end(spec.run)
        if grave:
            self._trouble = f"a run was lost: {why}"

    def take_trouble(self) -> str:
        """Why a run was lost, once; empty where none was."""
        why, self._trouble = self._trouble, ""
        return why

    def clear(self) -> None:
        """None is live."""
        self._live.clear()

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        return [live.progress for live in self._live.values()]

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far; empty for any other run."""
        live = self._live.get(run)
        return "" if live is None else live.tail

    def residents(self, device: Device) -> Sequence[str]:
        """Nobody: a slot is on some node or other, and who else is there is seen during a run."""
        del device
        return ()
