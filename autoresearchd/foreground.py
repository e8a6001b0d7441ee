"""Trainings of a command that holds the lab meanwhile: no plan, each run is given back as it ends."""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.run import Executor

STEP_SECONDS = 1.0
AGAIN = "mend that and run the command again to go on"
Run = tuple[TreeOid, int]
"""A tree and a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """What a command trains on; the executor is the caller's to close."""

    executor: Executor
    devices: Sequence[Device]
    """They share one environment."""
    environment: Environment
    say: Callable[[str], None]

    def train(self, wanted: Sequence[Run], *, what: str = "") -> Iterator[Measurement]:
        """Each once, one run a device at a time; `what` they are goes before what is said of each.

        Raises: UserError where this machine could not begin or evaluate one.
        """
        waiting, free, live = list(wanted), list(self.devices), dict[str, Run]()
        while waiting or live:
            while waiting and free:
                run, device = waiting.pop(0), free.pop(0)
                live[self._start(*run, device, what)] = run
            select.select([self.executor.fileno()], [], [], STEP_SECONDS)
            for done in self.executor.poll(time.time()):
                del live[done.run]
                free += [device for device in self.devices if device.name == done.device]
                yield done
            if lost := live.keys() - {progress.spec.run for progress in self.executor.progress()}:
                seeds = ", ".join(str(seed) for _, seed in sorted(live[name] for name in lost))
                raise UserError(f"{what}seed {seeds} was lost before it gave its number (the log says why); {AGAIN}")

    def _start(self, tree: TreeOid, seed: int, device: Device, what: str) -> str:
        name = f"{tree}-{seed}-{secrets.token_hex(4)}"
        spec = RunSpec(run=name, tree=tree, seed=seed, device=device, environment=self.environment)
        try:
            self.executor.start(spec)
        except OSError as error:
            raise UserError(f"{what}seed {seed} cannot be trained on {device.name}: {error}; {AGAIN}") from error
        self.say(f"{what}seed {seed} trains on {device.name}")
        return name
