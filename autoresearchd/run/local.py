"""The local executor: every device of this machine trains in a process group of its own, and nothing here waits.

Knows nothing of git refs, nor of what is good. `fileno` wakes the owner at once when a process ends.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Ending, Measurement, Progress, RunSpec
from autoresearchd.program import Program
from autoresearchd.run import proc
from autoresearchd.run._protocol import Checkout
from autoresearchd.run.company import Company, Residents, Watch
from autoresearchd.run.folders import Disposal, remove
from autoresearchd.run.log import one_line
from autoresearchd.run.phase import Phase
from autoresearchd.run.pins import shares
from autoresearchd.run.process import GRACE_SECONDS, Ward
from autoresearchd.run.sandbox import broken, choose
from autoresearchd.run.site import Bench, Site
from autoresearchd.run.trial import Trial

logger = structlog.get_logger()
KILL_SECONDS = 2.0
CLOSE_SECONDS = 5.0


class LocalExecutor:
    """Satisfies `Executor`. One thread owns it."""

    def __init__(
        self,
        program: Program,
        *,
        folder: Path,
        work: Path,
        checkout: Checkout,
        most_bytes: int | None = None,
        grace: float = GRACE_SECONDS,
        ahead: tuple[str, ...] = (),
        keep: Callable[[Path, RunSpec], None] | None = None,
        only_one: bool = False,
        hidden: tuple[Path, ...] = (),
    ) -> None:
        """`folder` is where program.toml lies, `work` holds checkouts and outputs of live runs.

        `most_bytes` bounds what one run writes (default: sandbox.output_mib), `grace` is the seconds between SIGTERM
        and SIGKILL, `ahead` what the next run's interpreter imports while it waits; none does where it is for
        `only_one` run. `hidden` is what no run sees, beside the project, the lab and held-out data.
        Raises: OSError when the folders cannot be made, UserError when the sandbox that is asked for does not work,
        or a slot would have no core.
        """
        sandbox, pins = choose(program.sandbox.mode), shares(program.devices)
        passed_over = broken("bubblewrap") if sandbox == "landlock" else None
        (logger.warning if sandbox == "none" else logger.info)(
            "sandbox_chosen", mode=sandbox, no_bubblewrap=passed_over
        )
        most_bytes = most_bytes or program.sandbox.output_mib * 2**20
        work = work.absolute()
        work.mkdir(parents=True, exist_ok=True)
        proc.adopt_orphans()
        self.sandbox = sandbox
        """What runs are kept in, as `sandbox.choose` found it."""
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._bench = Bench(
            program=program,
            folder=folder.resolve(),
            work=work,
            cache=work.parent / "cache",
            checkout=checkout,
            ward=Ward(epoll=self._epoll, file_bytes=proc.file_bound(most_bytes), grace=grace),
            sandbox=sandbox,
            pins=pins,
            ahead=ahead if program.devices.warm else None,
            hidden=hidden,
        )
        self._live: dict[str, Trial] = {}
        self._watch, self._residents = Watch(), Residents()
        self._company: dict[str, Company] = {}
        """Of the live runs on GPUs."""
        self._next: dict[str, Site] = {}
        """By device: where its next run will be, with an interpreter that waits for it."""
        self._prepared: set[str] = set()
        """Live runs beside which all was made ready that can be."""
        self._dying: list[Site] = []
        self._finished: dict[Site, RunSpec] = {}
        """Runs whose output is `keep`'s before their folder goes."""
        self._keep = keep
        self._lost = ""
        """Why a run was lost that the owner has not been told of yet."""
        self._disposal = Disposal()
        self._only_one = only_one

    def start(self, spec: RunSpec) -> None:
        """Begin a run; it counts as live until `poll` has returned its Measurement.

        Raises: OSError when this machine cannot (a full disk, no more processes), or has lost a run since the last
        start: another one at once would be lost as well. Nothing is left behind then.
        """
        if self._lost:
            why, self._lost = self._lost, ""
            raise OSError(why)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", spec.run):
            raise ValueError(f"{spec.run!r} is no name for a run")
        company = Company(self._watch, spec.device, self._residents) if spec.device.is_cuda else None
        site = self._next.pop(spec.device.name, None) or Site(self._bench, spec)
        try:
            trial = Trial(spec, site)
        except BaseException:
            self._clear_away(site, time.time())
            raise
        self._live[spec.run] = trial
        if company is not None:
            self._company[spec.run] = company
        if trial.is_settled:
            os.eventfd_write(self._bell, 1)

    def poll(self, now: float) -> Sequence[Measurement]:
        """The runs that ended since the last call, reaped; enforces deadlines by `now` (Unix time).

        A run that this machine failed (a full disk or a damaged tree before its evaluation) gives no Measurement: it
        is no longer live, and `start` says so.
        """
        self._silence()
        self._bury(now)
        ended = []
        for company in self._company.values():
            company.note()
        for run, trial in tuple(self._live.items()):
            try:
                measurement = trial.step(now)
            except (OSError, CorruptRecord) as error:
                spec = trial.spec
                if isinstance(error, OSError):
                    self._lost = f"a run was lost: {one_line(str(error))}"
                logger.exception("run_lost", run=run, tree=spec.tree, device=spec.device.name, seed=spec.seed)
                self._drop(run, now)
                continue
            if measurement is not None:
                ended.append(self._accompanied(measurement))
                if measurement.ending is Ending.FINISHED and not trial.spec.scale:
                    self._finished[trial.site] = trial.spec
                self._drop(run, now)
            elif run not in self._prepared and trial.is_under_way(now):
                self._prepare(trial, now)
        return ended

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        live = [(trial.progress(), self._company.get(run)) for run, trial in self._live.items()]
        return [found if company is None else replace(found, incidents=company.incidents) for found, company in live]

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far, fit to be shown; empty for any other run."""
        trial = self._live.get(run)
        return "" if trial is None else trial.tail()

    def kill(self, run: str) -> None:
        """End a live run; it yields no Measurement. Waits for its end KILL_SECONDS at the most; later `poll` does."""
        if run in self._live:
            self._drop(run, time.time())
            self._wait(KILL_SECONDS)

    def fileno(self) -> int:
        """Becomes readable when a process of a run has ended."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Kill what is live and free everything; waits CLOSE_SECONDS at the most for processes and files each."""
        for run in tuple(self._live):
            self._drop(run, time.time())
        for device in tuple(self._next):
            self._discard(self._next.pop(device), time.time())
        self._wait(CLOSE_SECONDS)
        for site in self._dying:
            logger.error("run_stuck", run=site.name)
            self._disposal.put(*site.release())
        self._dying.clear()
        if not self._epoll.closed:
            self._watch.close()
            self._disposal.close(CLOSE_SECONDS)
            self._epoll.close()
            os.close(self._bell)

    def _prepare(self, trial: Trial, now: float) -> None:
        """While a training goes on: have its evaluation and the next run of its device wait in interpreters."""
        self._prepared.add(trial.spec.run)
        device = trial.spec.device
        try:
            trial.prepare_evaluation()
            if not self._only_one and device.name not in self._next and trial.site.is_warm(Phase.TRAIN):
                site = self._next[device.name] = Site.ahead(self._bench, device)
                site.prepare(Phase.TRAIN)
        except OSError as error:
            logger.warning("nothing_prepared", device=device.name, why=str(error), then="it is started plainly")
            if device.name in self._next:
                self._discard(self._next.pop(device.name), now)

    def _accompanied(self, measurement: Measurement) -> Measurement:
        """With what else went on on its GPU."""
        company = self._company.get(measurement.run)
        if company is None:
            return measurement
        company.note()
        if measurement.ending is not Ending.FINISHED:
            company.failed()
        return replace(measurement, incidents=company.incidents)

    def _drop(self, run: str, now: float) -> None:
        self._prepared.discard(run)
        self._company.pop(run, None)
        self._discard(self._live.pop(run).site, now)

    def _discard(self, site: Site, now: float) -> None:
        """Kill what is there, and delete the files once it has ended."""
        site.kill(now)
        self._dying.append(site)
        self._bury(now)

    def _clear_away(self, site: Site, now: float) -> None:
        """The same, at once where nothing lives there."""
        if site.is_empty:
            for path in site.release():
                remove(path)
        else:
            self._discard(site, now)

    def _bury(self, now: float) -> None:
        for site in tuple(self._dying):
            if site.is_dead(now):
                self._dying.remove(site)
                finished = self._finished.pop(site, None)
                if finished is not None and self._keep is not None:
                    self._keep(site.out(Phase.TRAIN), finished)
                self._disposal.put(*site.release())
        for device, site in tuple(self._next.items()):
            site.step(now)
            if site.is_empty:  # it died while it waited; the next run starts without it
                self._disposal.put(*self._next.pop(device).release())

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._bury(time.time())
        while self._dying and (rest := until - time.monotonic()) > 0:
            self._epoll.poll(min(rest, 0.1))
            self._bury(time.time())

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return
