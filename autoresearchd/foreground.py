"""Trainings of a command that holds the lab meanwhile: no plan, each run is given back as it ends."""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import Device, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.run import Executor

STEP_SECONDS = 1.0
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

        Raises: OSError where this machine could not evaluate one.
        """
        waiting, free, done = list(wanted), list(self.devices), 0
        while done < len(wanted):
            while waiting and free:
                self._start(*waiting.pop(0), free.pop(0), what)
            select.select([self.executor.fileno()], [], [], STEP_SECONDS)
            for run in self.executor.poll(time.time()):
                done += 1
                free += [device for device in self.devices if device.name == run.device]
                yield run
            if len(self.executor.progress()) + len(waiting) + done < len(wanted):
                raise OSError("a run was lost: this machine could not evaluate it")

    def _start(self, tree: TreeOid, seed: int, device: Device, what: str) -> None:
        name = f"{tree}-{seed}-{secrets.token_hex(4)}"
        self.executor.start(RunSpec(run=name, tree=tree, seed=seed, device=device, environment=self.environment))
        self.say(f"{what}seed {seed} trains on {device.name}")
