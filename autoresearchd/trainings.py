"""The runs of one loop: begun, ended early, and filed as they end. Decides nothing."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field

from autoresearchd import announce
from autoresearchd.actions import Prune, Start, Stop
from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import Ending, Environment, Measurement, Progress, RunSpec
from autoresearchd.lab import Lab
from autoresearchd.memory import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """Of one lab."""

    lab: Lab
    memory: Memory
    metric: str
    _unfiled: deque[Measurement] = field(default_factory=deque)
    """Runs that ended and are not in the ledger yet, oldest first."""

    def poll(self, now: float) -> None:
        """Take what has ended; it waits to be filed."""
        self._unfiled.extend(self.lab.executor.poll(now))

    def file(self, now: float) -> None:
        """Write what has ended into the ledger; what cannot be written now (a full disk) waits, and is tried again."""
        while self._unfiled:
            run = self._unfiled[0]
            try:
                self.lab.ledger.record(run)
            except (OSError, RefLocked, StaleRef, CorruptRecord) as error:
                known = self.memory.trouble.why(now)
                self.memory.trouble.failed(error, now=now)
                if self.memory.trouble.why(now) != known:  # said once, however often it is tried
                    announce.run_not_filed(run, self.memory.archive.number_of(run.tree))
                return
            self._unfiled.popleft()
            self._filed(run)

    def start(self, start: Start) -> None:
        """Begin a run. Raises: OSError, CorruptRecord where it cannot be prepared."""
        spec = RunSpec(
            run=f"{start.tree}-{start.seed}-{secrets.token_hex(4)}",
            tree=start.tree,
            seed=start.seed,
            device=start.device,
            environment=self._environment(start),
            audit=start.audit,
            scale=start.scale,
        )
        self.lab.executor.start(spec)
        announce.run_started(spec, self.memory.archive.number_of(spec.tree))

    def stop(self, stop: Stop) -> None:
        """End a run that leaves no measurement."""
        live = self._end(stop.run)
        announce.run_stopped(live.spec, self.memory.archive.number_of(live.spec.tree), stop.why)

    def prune(self, prune: Prune, now: float) -> None:
        """End a run that cannot win; what it has shown so far waits to be filed."""
        self._unfiled.append(pruned(self._end(prune.run), prune.why, now))

    def _filed(self, run: Measurement) -> None:
        self.memory.filed(run, on_rung=run.environment in self.lab.fleet.scales.values())
        announce.run_finished(run, self.memory.archive.number_of(run.tree), self.metric)

    def _end(self, run: str) -> Progress:
        live = next(progress for progress in self.lab.executor.progress() if progress.spec.run == run)
        self.lab.executor.kill(run)
        return live

    def _environment(self, start: Start) -> Environment:
        """What the run counts for: its rung, its device's, else where best is led."""
        screens = (label for label, devices in self.lab.fleet.screens.items() if start.device in devices)
        return self.lab.fleet.scales.get(start.scale) or next(screens, self.lab.fleet.environment)


def pruned(live: Progress, why: str, now: float) -> Measurement:
    """The measurement of a run that was stopped because it could not win."""
    return Measurement(
        run=live.spec.run,
        tree=live.spec.tree,
        seed=live.spec.seed,
        environment=live.spec.environment,
        device=live.spec.device.name,
        ending=Ending.PRUNED,
        curve=live.curve,
        started=live.started,
        train_seconds=live.train_seconds,
        wall_seconds=now - live.started,
        why=why,
        incidents=live.incidents,
    )
