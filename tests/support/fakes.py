"""Stand-ins at our own Protocols: an executor whose runs end when the test says so, and proposals that are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from autoresearchd.experiment import CommitOid, Concluded, Device, Ending, Experiment, Measurement, Progress, RunSpec
from autoresearchd.program import Program
from autoresearchd.proposal import Edit, Proposal, Wish
from autoresearchd.propose._protocol import Declined

Outcome = Callable[[RunSpec], Measurement]


def finished(spec: RunSpec, metric: str, value: float, *, now: float) -> Measurement:
    """A run that went well."""
    return Measurement(
        run=spec.run,
        tree=spec.tree,
        seed=spec.seed,
        environment=spec.environment,
        device=spec.device.name,
        ending=Ending.FINISHED,
        metrics={metric: value},
        started=now - 1.0,
        train_seconds=1.0,
        wall_seconds=1.0,
    )


def failed(spec: RunSpec, ending: Ending, why: str, *, now: float) -> Measurement:
    """A run that did not."""
    return replace(finished(spec, "none", 0.0, now=now), ending=ending, metrics={}, why=why, log_tail=why)


class FakeExecutor:
    """Runs that end at the next poll with what `result` says about them, or stay live where it says None."""

    def __init__(self, result: Callable[[RunSpec, float], Measurement | None]) -> None:
        self.result = result
        self.live: dict[str, RunSpec] = {}
        self.company: dict[str, tuple[str, ...]] = {}
        """Who else is on a device, by its name."""
        self.started: list[RunSpec] = []
        self._pipe = os.pipe()

    def start(self, spec: RunSpec) -> None:
        assert all(other.device != spec.device for other in self.live.values()), "one device runs two things"
        self.live[spec.run] = spec
        self.started.append(spec)

    def poll(self, now: float) -> Sequence[Measurement]:
        ended = [(spec, self.result(spec, now)) for spec in self.live.values()]
        measurements = [measurement for _, measurement in ended if measurement is not None]
        for measurement in measurements:
            del self.live[measurement.run]
        return measurements

    def progress(self) -> Sequence[Progress]:
        return [Progress(spec=spec, started=0.0) for spec in self.live.values()]

    def tail(self, run: str) -> str:
        return f"{run} says nothing" if run in self.live else ""

    def residents(self, device: Device) -> Sequence[str]:
        return self.company.get(device.name, ())

    def kill(self, run: str) -> None:
        del self.live[run]

    def fileno(self) -> int:
        return self._pipe[0]

    def close(self) -> None:
        self.live.clear()
        for descriptor in self._pipe:
            os.close(descriptor)


class FakePipeline:
    """Proposals that the test puts there; `ask` calls `answer` at once."""

    def __init__(self, answer: Callable[[], Proposal | None] = lambda: None) -> None:
        self._answer = answer
        self._ready: list[Proposal] = []
        self.asked = 0
        self.pending: tuple[Proposal | Experiment, ...] = ()
        """What was open when an idea was asked for the last time."""
        self.is_exhausted = self.is_silent = False
        self.lack = ""
        self.fixes_asked: frozenset[CommitOid] = frozenset()
        self.fixes: dict[CommitOid, Proposal | None] = {}
        self.wishes_asked: set[CommitOid] = set()
        self.wishes: dict[CommitOid, Proposal | Declined | None] = {}

    @property
    def ready(self) -> tuple[Proposal, ...]:
        return tuple(self._ready)

    def ask(self, program: Program, pending: tuple[Proposal | Experiment, ...]) -> None:
        del program
        self.pending = pending
        proposal = self._answer()
        if proposal is None:
            self.asked += 1
        else:
            self._ready.append(proposal)

    def ask_fix(self, program: Program, crash: Concluded, pending: tuple[Proposal | Experiment, ...]) -> None:
        del program, pending
        self.fixes_asked |= {crash.experiment.commit}

    def take_fix(self, commit: CommitOid) -> None:
        self.fixes_asked -= {commit}
        self.fixes.pop(commit, None)

    def ask_wish(self, program: Program, wish: Wish, pending: tuple[Proposal | Experiment, ...]) -> None:
        del program, pending
        self.wishes_asked.add(wish.oid)

    def take_wish(self, wish: CommitOid) -> None:
        self.wishes_asked.discard(wish)
        self.wishes.pop(wish, None)

    def take(self, proposal: Proposal) -> None:
        self._ready.remove(proposal)

    def put(self, proposal: Proposal) -> None:
        self._ready.insert(0, proposal)


def proposal(parent: CommitOid, content: str, *, title: str = "Change the rate", path: str = "train.py") -> Proposal:
    """A change of one file."""
    return Proposal(
        parent=parent,
        edits=(Edit(path=path, content=content.encode()),),
        title=title,
        rationale="It may help.",
        category="test",
        proposer="test",
    )
