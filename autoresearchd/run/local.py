"""The local executor: every device of this machine trains in a process group of its own, and nothing here waits.

Knows nothing of git refs, nor of what is good. `fileno` wakes the owner at once when a process ends.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Device, Ending, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.limits import Mode
from autoresearchd.run.clearing import Clearing, Keep
from autoresearchd.run.company import Lookout
from autoresearchd.run.log import one_line
from autoresearchd.run.phase import Phase
from autoresearchd.run.sandbox import broken
from autoresearchd.run.site import Bench, Site
from autoresearchd.run.trial import FullMeanwhile, Trial
from autoresearchd.run.ward import GRACE_SECONDS, ward

logger = structlog.get_logger()
PATIENCE = 3
"""So often somebody else may have filled the disk while a tree ran."""
KILL_SECONDS = 2.0
CLOSE_SECONDS = 5.0


class LocalExecutor:
    """Satisfies `Executor`. One thread owns it."""

    def __init__(
        self,
        bench: Bench,
        *,
        most_bytes: int | None = None,
        grace: float = GRACE_SECONDS,
        keep: Keep | None = None,
        only_one: bool = False,
    ) -> None:
        """`most_bytes` bounds what one run writes (default: sandbox.output_mib), `grace` is the seconds between SIGTERM
        and SIGKILL. No interpreter waits for the next run where it is for `only_one`.

        Raises: OSError when the folders cannot be made, UserError when the sandbox that is asked for does not work,
        or a slot would have no core.
        """
        self._bench = replace(bench, folder=bench.folder.resolve(), work=bench.work.absolute())
        self._bench.work.mkdir(parents=True, exist_ok=True)
        self._ward = ward(bench.program, most_bytes=most_bytes, grace=grace)
        _say(self._ward.sandbox)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ward.epoll.register(self._bell, select.EPOLLIN)
        self._clearing, self._lookout, self._only_one = Clearing(self._ward.epoll, keep), Lookout(), only_one
        self._live: dict[str, Trial] = {}
        self._next: dict[str, Site] = {}
        """By device: where its next run will be, with an interpreter that waits for it."""
        self._prepared: set[str] = set()
        """Live runs beside which all was made ready that can be."""
        self._full: Counter[TreeOid] = Counter()
        """How often in a row the disk was full while a tree ran, which may have filled it with files without a name."""
        self._lost = ""
        """Why a run was lost that the owner has not been told of yet."""

    @property
    def sandbox(self) -> str:
        """What runs are kept in."""
        return self._ward.sandbox

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
        self._lookout.begin(spec)
        try:
            trial = self._begun(spec)
        except BaseException:
            self._lookout.forget(spec.run)
            raise
        self._live[spec.run] = trial
        if trial.is_settled:
            os.eventfd_write(self._bell, 1)

    def _begun(self, spec: RunSpec) -> Trial:
        site = self._next.pop(spec.device.name, None) or Site(self._bench, self._ward, spec)
        try:
            return Trial(spec, site, fills=self._full[spec.tree] >= PATIENCE)
        except BaseException:
            self._clearing.take_at_once(site, time.monotonic())
            raise

    def poll(self, now: float) -> Sequence[Measurement]:
        """The runs that ended since the last call, reaped; enforces deadlines by `now` (Unix time).

        A run that this machine failed (a full disk or a damaged tree before its evaluation) gives no Measurement: it
        is no longer live, and `start` says so.
        """
        self._silence()
        now = time.monotonic() + (now - time.time())  # within, by a clock that nobody sets while a training goes on
        self._clearing.look(now)
        self._look_at_next(now)
        self._lookout.note()
        ended = []
        for run, trial in tuple(self._live.items()):
            try:
                measurement = trial.step(now)
            except (OSError, CorruptRecord) as error:
                self._lose(trial, error, now)
                continue
            if measurement is not None:
                ended.append(self._lookout.ended(measurement))
                if measurement.ending is Ending.FINISHED:
                    self._full.pop(trial.spec.tree, None)
                is_to_keep = measurement.ending is Ending.FINISHED and not trial.spec.scale
                self._drop(run, now, finished=trial.spec if is_to_keep else None)
            elif run not in self._prepared and trial.is_under_way(now):
                self._prepare(trial, now)
        return ended

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        return [self._lookout.beside(trial.progress()) for trial in self._live.values()]

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far, fit to be shown; empty for any other run."""
        trial = self._live.get(run)
        return "" if trial is None else trial.tail()

    def residents(self, device: Device) -> Sequence[str]:
        """Who that is none of ours computes on a device, as it was seen last; never waits."""
        return self._lookout.residents(device)

    def kill(self, run: str) -> None:
        """End a live run; it yields no Measurement. Waits for its end KILL_SECONDS at the most; later `poll` does."""
        if run in self._live:
            self._drop(run, time.monotonic())
            self._clearing.wait(KILL_SECONDS)

    def fileno(self) -> int:
        """Becomes readable when a process of a run has ended."""
        return self._ward.epoll.fileno()

    def close(self) -> None:
        """Kill what is live and free everything; waits CLOSE_SECONDS at the most for processes and files each."""
        if self._ward.epoll.closed:
            return
        for run in tuple(self._live):
            self._drop(run, time.monotonic())
        for device in tuple(self._next):
            self._clearing.take(self._next.pop(device), time.monotonic())
        self._lookout.close()
        self._clearing.close(CLOSE_SECONDS)
        self._ward.epoll.close()
        os.close(self._bell)

    def _prepare(self, trial: Trial, now: float) -> None:
        """While a training goes on: have its evaluation and the next run of its device wait in interpreters."""
        self._prepared.add(trial.spec.run)
        device = trial.spec.device
        try:
            trial.prepare_evaluation()
            if not self._only_one and device.name not in self._next and trial.site.is_warm(Phase.TRAIN):
                site = self._next[device.name] = Site.ahead(self._bench, self._ward, device)
                site.prepare(Phase.TRAIN)
        except OSError as error:
            logger.warning("nothing_prepared", device=device.name, why=str(error), then="it is started plainly")
            if device.name in self._next:
                self._clearing.take(self._next.pop(device.name), now)

    def _look_at_next(self, now: float) -> None:
        """An interpreter that died while it waited is nobody's fault: the next run starts without it."""
        for device, site in tuple(self._next.items()):
            try:
                site.step(now)
                is_useless = site.is_empty
            except OSError:  # such as that this process can open nothing more: then there are better times to wait
                is_useless = True
            if is_useless:
                self._clearing.take(self._next.pop(device), now)

    def _lose(self, trial: Trial, error: OSError | CorruptRecord, now: float) -> None:
        """This machine failed a run."""
        spec = trial.spec
        if isinstance(error, FullMeanwhile):
            self._full[spec.tree] += 1
        if isinstance(error, OSError):
            self._lost = f"a run was lost: {one_line(str(error))}"
        logger.error("run_lost", run=spec.run, tree=spec.tree, device=spec.device.name, seed=spec.seed, exc_info=error)
        self._drop(spec.run, now)

    def _drop(self, run: str, now: float, *, finished: RunSpec | None = None) -> None:
        self._prepared.discard(run)
        self._lookout.forget(run)
        self._clearing.take(self._live.pop(run).site, now, finished=finished)

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return


def _say(sandbox: Mode) -> None:
    passed_over = broken("bubblewrap") if sandbox == "landlock" else None
    (logger.warning if sandbox == "none" else logger.info)("sandbox_chosen", mode=sandbox, no_bubblewrap=passed_over)
