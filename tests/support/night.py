"""One night of a lab on a real experiments.git, with runs that end as the test says and a clock that it moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from autoresearchd.actions import Finish
from autoresearchd.experiment import Concluded, Device, Ending, Environment, Measurement, Outcome, RunSpec
from autoresearchd.lab import Lab
from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger
from autoresearchd.loop import Loop
from autoresearchd.program import parse
from autoresearchd.proposal import Proposal
from autoresearchd.run.fleet import Fleet
from autoresearchd.world import Session
from tests.support.fakes import FakeExecutor, FakePipeline, failed, finished, proposal
from tests.support.projects import PROGRAM

NOISE = (0.0, 0.01, -0.01, 0.005, -0.005, 0.002, -0.002)
MUCH = 10 * FREE_FLOOR_BYTES


class Night:
    """One lab, its loop, and a clock that the test moves."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        experiments: int | None = None,
        devices: int = 1,
        program: str = PROGRAM,
        scales: Mapping[str, Environment] = MappingProxyType({}),
    ) -> None:
        self.ledger, self.now, self.free = ledger, 1000.0, MUCH
        self.executor = FakeExecutor(self.result)
        self.pipeline = FakePipeline(self.next_idea)
        self.ideas: list[Proposal] = []
        self.broken = ""
        self.hanging = False
        slots = tuple(Device(name=f"cpu:{index}") for index in range(devices))
        self.lab = Lab(
            ledger=ledger,
            executor=self.executor,
            pipeline=self.pipeline,  # type: ignore[arg-type]
            fleet=Fleet(environment=Environment("test"), devices=slots, scales=dict(scales)),
            session=Session(started=self.now, experiments=experiments),
            free=lambda _: self.free,
        )
        self.loop = Loop(self.lab, parse(program))

    def result(self, spec: RunSpec, now: float) -> Measurement | None:
        """The loss is RATE; a file that says `raise` crashes."""
        if self.hanging:
            return None
        if self.broken:
            return failed(spec, Ending.CRASH, self.broken, now=now)
        text = self.ledger.files(spec.tree, lambda path: path == "train.py")["train.py"].decode()
        if "raise" in text:
            return failed(spec, Ending.CRASH, "ValueError: raised", now=now)
        rate = float(text.split("\n")[0].removeprefix("RATE = "))
        done = finished(spec, "loss", rate + NOISE[spec.seed % len(NOISE)], now=now)
        more = {"audit_loss": rate + 0.5} if spec.audit else {}
        return replace(done, metrics={**done.metrics, "speed": 10 * rate, **more}, audited=spec.audit)

    def next_idea(self) -> Proposal | None:
        return self.ideas.pop(0) if self.ideas else None

    def propose(self, *rates: float | str) -> None:
        best = self.ledger.best().commit
        for rate in rates:
            self.pipeline.put(proposal(best, f"RATE = {rate}\nDEPTH = 2\n", title=f"Set RATE to {rate}"))

    def steps(self, count: int = 60) -> Finish | None:
        for _ in range(count):
            self.now += 10.0
            if (finish := self.loop.step(self.now)) is not None:
                return finish
        return None

    def outcome(self, number: int) -> Outcome | None:
        found = self.ledger.find(number)
        return found.verdict.outcome if isinstance(found, Concluded) else None
