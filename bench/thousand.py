"""Where one daemon saturates: `python -m bench.thousand`, the real loop on a real ledger against a simulated fleet.

Trainings take 300 s of a clock that jumps over what nobody waits for; everything that the daemon does itself - git with
fsync, observing, planning, proposing, telling - takes the time that it takes, and devices stand idle meanwhile. So the
share of time in which they train is what so many real ones would have had with this machine as their daemon's.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import random
import re
import select
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from autoresearchd import loop as loops
from autoresearchd.bulletin import write_live, write_status
from autoresearchd.experiment import Device, Ending, Environment, Measurement, Progress, RunSpec
from autoresearchd.lab import Lab
from autoresearchd.ledger import Housekeeping, Ledger
from autoresearchd.loop import Loop
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import parse
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.run.fleet import Fleet as Slots
from autoresearchd.watch import Wake
from autoresearchd.world import Session
from bench.loop import PROGRAM, make_project

SECONDS = 300.0
FILL_SECONDS = 60.0
"""In which no first run ends."""
CONSTANTS = 60
"""Far enough from each other in the file that two changes merge."""
EFFECTS = (0.0,) * 55 + (1.0,) * 14 + (2.0,) * 13 + (3.0,) * 13 + (-2.0,) * 3 + (-3.0,) * 2
"""Of a hundred ideas, in standard deviations of the noise; more is worse."""
TOLD_SECONDS = 1.0
WRITES = ("open_baseline", "open_experiment", "record", "conclude", "replay", "settle")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.thousand", description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[10, 100, 300])
    parser.add_argument("--runs", type=int, default=100, help="runs that end in the window that is looked at")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a window is closed in any case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the lab is, such as /dev/shm: there an fsync costs nothing")
    parser.add_argument("--profile", action="store_true", help="where the time goes, function by function")
    options = parser.parse_args()
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    print(
        "| devices | supply: runs/s | training | loop's time a run | git writes | observe | plan | the rest "
        "| CPU a run | verdicts, kept | could serve |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for devices in options.devices:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            profile = cProfile.Profile() if options.profile else None
            report(devices, simulate(Path(name), devices, options, profile))
            if profile is not None:
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the window saw."""

    virtual: float = 0.0
    """Seconds of the fleet's clock."""
    training: float = 0.0
    """Device seconds."""
    working: float = 0.0
    """Seconds in which the loop did something."""
    cpu: float = 0.0
    """Of the whole process."""
    runs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    """Of the loop's seconds."""


def report(devices: int, seen: Tally) -> None:
    each = 1000 / max(1, seen.runs)
    parts = {name: seen.parts[name] * each for name in ("git", "observe", "plan")}
    rest = seen.working * each - sum(parts.values())
    kept = seen.verdicts["keep"]
    print(
        f"| {devices} | {devices / SECONDS:.2f} | {seen.training / (devices * seen.virtual):.1%} "
        f"| {seen.working * each:.0f} ms | {parts['git']:.0f} ms | {parts['observe']:.0f} ms | {parts['plan']:.0f} ms "
        f"| {rest:.0f} ms | {seen.cpu * each:.0f} ms | {seen.verdicts.total()}, {kept} "
        f"| {SECONDS * seen.runs / seen.working:.0f} |",
        flush=True,
    )


class Clock:
    """Real time, and leaps."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.perf_counter()

    def now(self) -> float:
        return self._ahead + time.perf_counter()

    def leap(self, to: float) -> None:
        self._ahead += max(0.0, to - self.now())


class Fleet:
    """An executor whose trainings take SECONDS of a clock and none of this machine."""

    def __init__(self, clock: Clock, ledger: Ledger, rng: random.Random) -> None:
        self._clock, self._ledger, self._rng = clock, ledger, rng
        self._live: dict[str, tuple[RunSpec, float, float]] = {}
        self._begun: set[str] = set()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self.trained: list[tuple[float, float]] = []
        """Begin and end of every run."""

    def start(self, spec: RunSpec) -> None:
        now = self._clock.now()
        # A fleet that begins at once would end at once for ever: the first run of a device is of any length.
        first = spec.device.name not in self._begun
        self._begun.add(spec.device.name)
        lasts = (
            self._rng.uniform(FILL_SECONDS, FILL_SECONDS + SECONDS) if first else SECONDS + self._rng.uniform(0.0, 3.0)
        )
        self._live[spec.run] = spec, now, now + lasts

    def poll(self, now: float) -> Sequence[Measurement]:
        over = [(spec, begun, end) for spec, begun, end in self._live.values() if end <= now]
        return [self._end(*each) for each in over]

    def _end(self, spec: RunSpec, begun: float, end: float) -> Measurement:
        del self._live[spec.run]
        self.trained.append((begun, end))
        text = self._ledger.files(spec.tree, lambda path: path == "train.py")["train.py"].decode()
        loss = 100 + sum(float(value) for value in re.findall(r"= (\S+)", text)) + self._rng.gauss(0, 1)
        return Measurement(
            run=spec.run, tree=spec.tree, seed=spec.seed, environment=spec.environment, device=spec.device.name,
            ending=Ending.FINISHED, metrics={"loss": loss}, started=begun, train_seconds=end - begun,
            wall_seconds=end - begun, log_tail="loss: 1.0\n" * 40,
        )  # fmt: skip

    def is_full(self, devices: int) -> bool:
        """Every device has begun to train."""
        return len(self._begun) == devices

    @property
    def next_end(self) -> float:
        """Infinity while nothing trains."""
        return min((end for _, _, end in self._live.values()), default=float("inf"))

    def trained_between(self, since: float, until: float) -> float:
        """Device seconds."""
        spans = [*self.trained, *((begun, end) for _, begun, end in self._live.values())]
        return sum(max(0.0, min(end, until) - max(begun, since)) for begun, end in spans)

    def progress(self) -> Sequence[Progress]:
        return [Progress(spec=spec, started=begun, phase="training") for spec, begun, _ in self._live.values()]

    def tail(self, run: str) -> str:
        return f"{run} trains\n"

    def residents(self, device: Device) -> Sequence[str]:
        del device
        return ()

    def kill(self, run: str) -> None:
        del self._live[run]

    def fileno(self) -> int:
        return self._bell

    def close(self) -> None:
        os.close(self._bell)


class Ideas:
    """A proposer that costs next to nothing: another value for one of the constants."""

    name = "ideas"

    async def propose(self, context: Context) -> Proposal | None:
        rng = random.Random()  # not the context's: a hundred are asked with one state of the lab
        at, effect = rng.randrange(CONSTANTS), rng.choice(EFFECTS)
        text = context.files["train.py"].decode()
        old = float(re.findall(r"= (\S+)", text)[at])
        new = old + effect + rng.uniform(0, 1e-6)  # never the same tree twice
        changed = re.sub(rf"^C{at} = .*$", f"C{at} = {new!r}", text, flags=re.MULTILINE)
        return Proposal(
            parent=context.best, edits=(Edit(path="train.py", content=changed.encode()),),
            title=f"Set C{at} to {new:.6g}", rationale="It may help.", category="constant", proposer=self.name,
        )  # fmt: skip


def simulate(folder: Path, devices: int, options: argparse.Namespace, profile: cProfile.Profile | None) -> Tally:
    """A window of so many runs or seconds, once every device has begun to train, or could have long ago."""
    constants = "\n\n\n\n".join(f"C{at} = 0.0" for at in range(CONSTANTS))
    project = make_project(folder / "project", seconds=0, target=constants + "\n")
    clock, rng, tally = Clock(), random.Random(options.seed), Tally()
    ledger = Ledger.init(folder / "experiments.git", project_path=project)
    with ExitStack() as stack:
        stack.enter_context(ledger.hold())
        wake = stack.enter_context(Wake())
        fleet = Fleet(clock, Ledger(ledger.path), rng)
        stack.callback(fleet.close)
        pipeline = Pipeline(Ideas(), ledger.path, wake=wake)
        stack.callback(pipeline.close)
        housekeeping = Housekeeping(ledger.path)
        stack.callback(housekeeping.close)
        slots = tuple(Device(name=f"cpu:{at}", index=at) for at in range(devices))
        lab = Lab(
            ledger=ledger,
            executor=fleet,
            pipeline=pipeline,
            fleet=Slots(environment=Environment("simulated"), devices=slots),
            session=Session(started=clock.now()),
            free=lambda _: 2**40,
        )
        loop = Loop(lab, parse(PROGRAM))
        night = Night(loop=loop, fleet=fleet, clock=clock, wake=wake, housekeeping=housekeeping, tally=tally)
        night.drive(lambda: fleet.is_full(devices), limit=2 * options.limit)
        stack.enter_context(watched(ledger, loop, tally))
        since, cpu, ended, night.told_verdicts = clock.now(), time.process_time(), len(fleet.trained), Counter()
        tally.working = 0.0
        if profile is not None:
            profile.enable()
        night.drive(lambda: len(fleet.trained) >= ended + options.runs, limit=options.limit)
        if profile is not None:
            profile.disable()
        tally.virtual, tally.cpu = clock.now() - since, time.process_time() - cpu
        tally.runs, tally.verdicts = len(fleet.trained) - ended, night.told_verdicts
        tally.training = fleet.trained_between(since, clock.now())
    return tally


@dataclass(slots=True, kw_only=True)
class Night:
    """The daemon's own loop (`service._Daemon.drive`), on the fleet's clock."""

    loop: Loop
    fleet: Fleet
    clock: Clock
    wake: Wake
    housekeeping: Housekeeping
    tally: Tally
    told: float = 0.0
    told_verdicts: Counter[str] = field(default_factory=Counter)

    def drive(self, done: Callable[[], bool], *, limit: float) -> None:
        until = time.monotonic() + limit
        while not done() and time.monotonic() < until:
            began = time.perf_counter()
            self.loop.step(self.clock.now())
            self._tell()
            self.tally.working += time.perf_counter() - began
            wait = self.fleet.next_end - self.clock.now()
            if self.loop.lab.pipeline.asked or wait == float("inf"):
                if wait > 0 and select.select([self.wake.fileno()], [], [], min(wait, 1.0))[0]:
                    os.read(self.wake.fileno(), 4096)
            else:
                self.clock.leap(self.fleet.next_end)

    def _tell(self) -> None:
        news, now = self.loop.news(), self.clock.now()
        self.told_verdicts.update(each.verdict.outcome for each in news)
        if news or now - self.told >= TOLD_SECONDS:
            write_status(self.loop.lab.ledger.path, self.loop.status)
            write_live(self.loop.lab.ledger.path, self.loop.live())
            self.told = now
        self.housekeeping.step(len(news))


class watched:
    """Counts the seconds of the loop's parts, from outside."""

    def __init__(self, ledger: Ledger, loop: Loop, tally: Tally) -> None:
        self._tally = tally
        self._wrapped: list[tuple[Any, str, str]] = [(ledger, name, "git") for name in WRITES]
        self._wrapped += [(loop, "observe", "observe"), (loops, "plan", "plan")]

    def __enter__(self) -> None:
        self._plan = loops.plan
        for owner, name, part in self._wrapped:
            setattr(owner, name, self._timed(getattr(owner, name), part))

    def __exit__(self, *_: object) -> None:
        loops.plan = self._plan  # type: ignore[attr-defined]

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._tally.parts[part] += time.perf_counter() - began

        return timed


if __name__ == "__main__":
    sys.exit(main())
