"""What else went on on the GPU of a run, seen from a thread: a driver that hangs must not hold up the daemon."""

from __future__ import annotations

import threading
from dataclasses import replace

import structlog

from autoresearchd.experiment import Device, Ending, Measurement, Progress, RunSpec
from autoresearchd.incident import Disturbance, Incident
from autoresearchd.run.nvml import Driver, Sight

logger = structlog.get_logger()
LOOK_SECONDS = 5.0
"""Between two looks."""
PATIENCE_SECONDS = 0.5
"""So long the daemon waits for a look before a run and after one that failed."""
HELD_MIB = 1024.0
"""More memory in use before a run than a driver and a desktop take."""
MOST_INCIDENTS = 8


class Watch:
    """Looks at the GPUs that it was asked about, again and again; without a driver it is quiet."""

    def __init__(self, root: int | None = None) -> None:
        """`root` is the daemon whose runs are its own; default: this process."""
        self._root = root
        self._changed = threading.Condition()
        self._sights: dict[Device, Sight | None] = {}
        self._asked = self._answered = 0
        self._over = False
        self._thread: threading.Thread | None = None

    def look(self, device: Device) -> Sight | None:
        """A device now, as far as the driver answers within PATIENCE_SECONDS; else as it was seen last."""
        with self._changed:
            self._asked += 1
            wanted = self._asked
            self._want(device)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or self._answered >= wanted, PATIENCE_SECONDS)
            return self._sights[device]

    def last(self, device: Device) -> Sight | None:
        """A device as it was seen last; never waits. One that nobody has asked about is looked at from now on."""
        with self._changed:
            self._want(device)
            return self._sights[device]

    def close(self) -> None:
        """End; a look that hangs in the driver is left behind."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)

    def _want(self, device: Device) -> None:
        self._sights.setdefault(device, None)
        if self._thread is None:
            self._thread = threading.Thread(target=self._go_on, name="gpus", daemon=True)
            self._thread.start()

    def _go_on(self) -> None:
        try:
            self._look_on(Driver(self._root))
        except LookupError:
            return  # no driver
        finally:  # nobody waits for a look any more
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _look_on(self, driver: Driver) -> None:
        while not self._over:
            with self._changed:
                asked, devices = self._asked, tuple(self._sights)
            sights = {device: driver.look(device) for device in devices}
            with self._changed:
                self._sights |= sights
                self._answered = asked
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._over or self._asked > self._answered, LOOK_SECONDS)
            if any(sight is not None and sight.lost for sight in sights.values()):
                driver.again()


class Residents:
    """Who computed on a GPU before our first run there and in every look since, such as the server of CUDA MPS.

    Every run has the same company then: it is how that GPU is, and to repeat a run would not better it.
    """

    def __init__(self) -> None:
        self._there: dict[Device, frozenset[int]] = {}

    def begin(self, device: Device, sight: Sight | None) -> None:
        """What is there before a run; said in the log when it is the first one."""
        if device in self._there:
            return
        self._there[device] = frozenset() if sight is None else sight.unknown | sight.foreign.keys()
        if sight is not None and self._there[device]:
            who = [sight.foreign.get(pid, f"pid {pid} of another namespace") for pid in sorted(self._there[device])]
            logger.warning("gpu_shared", device=device.name, who=who, then="no incident of a run while it stays")

    def left(self, device: Device, sight: Sight) -> frozenset[int]:
        """The numbers of those that have stayed until now."""
        if not sight.lost:
            self._there[device] &= sight.unknown | sight.foreign.keys()
        return self._there[device]


class Company:
    """The incidents of one run on a GPU."""

    def __init__(self, watch: Watch, device: Device, residents: Residents) -> None:
        """Look before the run begins: what is there now is not its own."""
        self._watch, self._device, self._residents = watch, device, residents
        self._before = watch.look(device)
        residents.begin(device, self._before)
        self._seen: Sight | None = None
        self._slowed: frozenset[str] = frozenset()
        self._found: dict[Incident, None] = {}
        self._note(self._before)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """So far, in the order in which they were seen."""
        return tuple(self._found)[:MOST_INCIDENTS]

    def note(self) -> None:
        """Take what was seen since the last call; never waits."""
        self._note(self._watch.last(self._device))

    def failed(self) -> None:
        """The run did not end well: see whether its device is still there, and what held its memory."""
        self._note(self._watch.look(self._device))
        before = self._before
        if before is not None and before.used_mib is not None and before.used_mib >= HELD_MIB:
            self._add(Disturbance.HELD, f"{before.used_mib:.0f} MiB of {self._device.name} were in use before it began")

    def _note(self, sight: Sight | None) -> None:
        if sight is None or sight is self._seen:
            return
        self._seen = sight
        if sight.lost:
            self._add(Disturbance.LOST, f"{self._device.name}: {sight.lost}")
        residents = self._residents.left(self._device, sight)
        for words in (words for pid, words in sight.foreign.items() if pid not in residents):
            self._add(Disturbance.FOREIGN, f"{words} on {self._device.name}")
        there = frozenset() if self._before is None else self._before.unknown - residents
        for pid in sorted(sight.unknown & there) if sight is not self._before else ():
            self._add(Disturbance.FOREIGN, f"a process of another namespace (pid {pid} there) on {self._device.name}")
        slowed = frozenset(sight.slowed)
        for words in sorted(slowed & self._slowed):  # twice in a row: a moment of it is nothing
            self._add(Disturbance.THROTTLED, f"{words} of {self._device.name}")
        self._slowed = slowed

    def _add(self, kind: Disturbance, what: str) -> None:
        self._found.setdefault(Incident(kind=kind, what=what))


class Lookout:
    """Who sees to it that every live run on a GPU has its Company."""

    def __init__(self) -> None:
        self._watch, self._residents = Watch(), Residents()
        self._live: dict[str, Company] = {}

    def begin(self, spec: RunSpec) -> None:
        """A run will begin now."""
        if spec.device.is_cuda:
            self._live[spec.run] = Company(self._watch, spec.device, self._residents)

    def note(self) -> None:
        """Take what was seen since the last call; never waits."""
        for company in self._live.values():
            company.note()

    def beside(self, progress: Progress) -> Progress:
        """A live run with its incidents so far."""
        company = self._live.get(progress.spec.run)
        return progress if company is None else replace(progress, incidents=company.incidents)

    def ended(self, measurement: Measurement) -> Measurement:
        """A run that is over, with its incidents."""
        company = self._live.get(measurement.run)
        if company is None:
            return measurement
        company.note()
        if measurement.ending is not Ending.FINISHED:
            company.failed()
        return replace(measurement, incidents=company.incidents)

    def forget(self, run: str) -> None:
        """It is no longer live."""
        self._live.pop(run, None)

    def residents(self, device: Device) -> tuple[str, ...]:
        """Who that is none of ours computes on a device, as it was seen last; never waits."""
        sight = self._watch.last(device) if device.is_cuda else None
        return () if sight is None else tuple(sight.foreign.values())

    def close(self) -> None:
        """End; waits PATIENCE_SECONDS at the most."""
        self._watch.close()
