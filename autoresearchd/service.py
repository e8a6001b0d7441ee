"""The daemon's shell: one process that owns the lab, steps the loop, and answers signals, files and service managers.

In the foreground and under a service manager it is the same program; only the view differs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from autoresearchd import announce, controls, heap, metrics, notify
from autoresearchd.actions import Finish
from autoresearchd.admission import admit, refuse_nothing_editable
from autoresearchd.bulletin import write_live, write_status
from autoresearchd.equipment import Equipment, equip
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, TreeOid
from autoresearchd.lab import Lab
from autoresearchd.ledger import FREE_FLOOR_BYTES, Housekeeping, Ledger
from autoresearchd.loop import Loop
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import Program, load
from autoresearchd.propose.command import Command
from autoresearchd.propose.llm import Key, Llm, take_key
from autoresearchd.propose.portfolio import Portfolio, build, is_enabled
from autoresearchd.reload import differences, refuse_fixed
from autoresearchd.request import Request
from autoresearchd.run import reap_leftovers
from autoresearchd.run.checkpoints import Checkpoints
from autoresearchd.run.workbench import LocalWorkbench
from autoresearchd.status import LiveRun, Status, wishes_wait
from autoresearchd.watch import SavedFile, Wake, ending, hangup, watching
from autoresearchd.world import Session

log = structlog.get_logger()
TICK_SECONDS = 1.0
"""Longest sleep of the loop: deadlines, curves and the views are this fresh."""


class View(Protocol):
    """Who is told how it goes; `recent` are the conclusions since the last call."""

    def update(self, status: Status, recent: Sequence[Concluded]) -> None: ...


def run(request: Request, view: View) -> Status:
    """Run the lab until its work is done or a signal comes; returns the last status.

    Raises: UserError for what a person has to mend first, AlreadyRunning when another daemon holds the lab.
    """
    heap.be_frugal()
    manager, saved = notify.take(os.environ), SavedFile(request.program)
    program = request.over(load(request.program))
    with ExitStack() as stack:
        ledger = Ledger(request.program.resolve().parent / program.program.experiments)
        stack.enter_context(ledger.hold())
        ledger.refuse_unbacked()
        admit(ledger, program, request.program)
        wake = stack.enter_context(Wake())
        parts = stack.enter_context(_assembled(request, program, ledger, wake, manager.starting))
        daemon = _Daemon(parts=parts, request=request, view=view, manager=manager, wake=wake, saved=saved)
        for listening in daemon.listening(program):
            stack.enter_context(listening)
        fleet = parts.loop.lab.fleet
        announce.daemon_started(fleet.environment, fleet.devices, fleet.screens)
        return daemon.drive()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What one daemon is put together from."""

    loop: Loop
    portfolio: Portfolio
    llm: Llm
    housekeeping: Housekeeping
    checkpoints: Checkpoints


@contextmanager
def _assembled(
    request: Request, program: Program, ledger: Ledger, wake: Wake, waits: Callable[[], None]
) -> Iterator[_Parts]:
    """The loop with its executor and proposers, and what goes on beside it; all closed at the end, the last first."""
    folder, place = request.program.resolve().parent, ledger.path / "autoresearchd"
    reap_leftovers(place / "runs")
    with ExitStack() as stack:
        checkpoints = _checkpoints(program, place)
        stack.callback(checkpoints.close)
        ours = equip(program, folder, ledger, waits, keep=checkpoints.take)
        stack.callback(ours.executor.close)
        llm, command = thinkers(program, folder, ledger, take_key())
        memory = min((device.memory_mib for device in ours.fleet.devices if device.memory_mib), default=None)
        portfolio = build(program, llm, command)
        pipeline = Pipeline(portfolio, ledger.path, wake=wake, memory_mib=memory)
        stack.callback(pipeline.close)
        loop = _loop(program, ledger, ours, pipeline, request.session(program, time.time()))
        housekeeping = Housekeeping(ledger.path)
        stack.callback(housekeeping.close)
        yield _Parts(loop=loop, portfolio=portfolio, llm=llm, housekeeping=housekeeping, checkpoints=checkpoints)


def _loop(program: Program, ledger: Ledger, ours: Equipment, pipeline: Pipeline, session: Session) -> Loop:
    session.sandbox = ours.sandbox
    lab = Lab(ledger=ledger, executor=ours.executor, pipeline=pipeline, fleet=ours.fleet, session=session)
    return Loop(lab, program)


def _checkpoints(program: Program, place: Path) -> Checkpoints:
    most = program.service.checkpoints_mib * 2**20
    return Checkpoints(place / "checkpoints", most_bytes=most, reserve_bytes=2 * FREE_FLOOR_BYTES)


def thinkers(program: Program, folder: Path, ledger: Ledger, key: Key) -> tuple[Llm, Command]:
    """The proposers that think outside this process, and the bench on which their drafts are tried."""
    place = ledger.path / "autoresearchd"

    def checkout(tree: TreeOid, target: Path) -> None:
        Ledger(ledger.path).checkout(tree, target)  # a handle of its own: they think in another thread

    bench = LocalWorkbench(program, folder=folder, work=place / "errands", checkout=checkout)
    return Llm(program, key=key, workbench=bench, spend=place / "spend.jsonl"), Command(bench)


@dataclass(slots=True, kw_only=True)
class _Daemon:
    """The loop, and everybody who wants to know how it goes."""

    parts: _Parts
    request: Request
    view: View
    manager: notify.Notifier
    wake: Wake
    saved: SavedFile
    refused: str = ""
    """Why the newest program.toml is not in force."""
    written: float = 0.0
    unwritten: str = ""
    """Why the newest status could not be written down."""
    unread: str = ""
    """Why the lab could not be read the last time."""

    @property
    def loop(self) -> Loop:
        return self.parts.loop

    def listening(self, program: Program) -> Iterator[AbstractContextManager[object]]:
        """What may wake, ask or end it, each for as long as it is entered."""
        ledger = self.loop.lab.ledger
        if program.service.metrics_port is not None:
            yield metrics.served(program.service.metrics_port, lambda: self.status)
        yield ending(self.end)
        if self.manager.listens:
            yield hangup(self.look_at_program)
        switches = (ledger.pause_switch, controls.stop_switch(ledger.path))
        yield watching(self.saved, switches, ledger.path / "refs/heads/idea", self.wake)

    def drive(self) -> Status:
        """Step the loop until it is done or somebody ends it; returns the last status."""
        self.manager.ready()
        while True:
            finish = self._step()
            if finish is not None or self.loop.lab.session.stopping:
                return self._end(finish)
            self.loop.wait(TICK_SECONDS, self.wake.fileno())

    def _step(self) -> Finish | None:
        """One step of the loop, of which everybody is told; one in which nothing can be read is tried again.

        What can be read, and not written or begun, is the loop's: this is a daemon that may open no more files, or
        whose disk is away.
        """
        try:
            if self.saved.is_new():
                self._reload()
            finish = self.loop.step(time.time())
            self._tell(self.loop.news())
        except OSError as error:
            self._hold(error)
            return None
        if self.unread:
            log.info("lab_read_again")
            self.unread = ""
        return finish

    def _hold(self, error: OSError) -> None:
        if str(error) != self.unread:  # said once, however long it lasts
            log.error("lab_not_read", exc_info=error, then="tried again")
        self.unread = str(error)
        self.loop.rest(f"the lab cannot be read: {error}")
        self._write(self.status, ())
        self.view.update(self.status, ())
        self.manager.alive(self.status, time.monotonic())

    def end(self, signal_name: str) -> None:
        """Called by signal handlers: the step that runs now is the last one."""
        self.loop.lab.session.stopping = f"stopped by {signal_name}"
        self.wake()

    def look_at_program(self) -> None:
        """Read program.toml again even if it looks the same."""
        self.saved.forget()
        self.wake()

    def _tell(self, news: Sequence[Concluded]) -> None:
        status, now = self.status, time.time()
        if news or now - self.written >= TICK_SECONDS:
            self._write(status, self.loop.live())
            self.written = now
        self.view.update(status, news)
        self.manager.alive(status, time.monotonic())
        self.parts.housekeeping.step(len(news))
        ledger = self.loop.lab.ledger
        if news:
            ledger.rest()
            heap.trim()
        self.parts.checkpoints.tidy(ledger.best().tree, [experiment.tree for experiment in ledger.opened()])

    @property
    def status(self) -> Status:
        """What everybody is told; also asked by other threads."""
        llm = self.parts.llm
        model = llm.status if is_enabled(self.loop.program, llm) else None
        why = wishes_wait(model) if self.loop.status.wishes else ""
        failing = self.parts.portfolio.failing
        return replace(self.loop.status, llm=model, failing=failing, wishes_why=why, program_refused=self.refused)

    def _write(self, status: Status, live: Sequence[LiveRun]) -> None:
        """For those who look from elsewhere; a disk that is full for them is no reason to end."""
        try:
            write_status(self.loop.lab.ledger.path, status)
            write_live(self.loop.lab.ledger.path, live)
        except OSError as error:
            if str(error) != self.unwritten:  # said once, however long it lasts
                log.warning("status_not_written", why=str(error))
            self.unwritten = str(error)
        else:
            self.unwritten = ""

    def _end(self, finish: Finish | None) -> Status:
        stopping = self.loop.lab.session.stopping
        why = stopping or (finish.why if finish else "")
        self.manager.stopping(why)
        status = replace(self.status, state="stopped" if stopping else "finished", why=why)
        log.info("daemon_stopped", why=why)
        self._write(status, ())
        self.view.update(status, ())
        controls.stopped(self.loop.lab.ledger.path)
        return status

    def _reload(self) -> None:
        """Put a saved program.toml in force; one that is wrong, or changes what cannot change, leaves the old one."""
        self.manager.reloading()
        try:
            fresh = self.request.over(load(self.request.program))
            changed = differences(self.loop.program, fresh)
            refuse_fixed(changed)
            refuse_nothing_editable(self.loop.lab.ledger, fresh)
        except UserError as error:
            if str(error) != self.refused:  # said once, however often it is saved
                log.error("program_refused", why=str(error), in_force="the old one")  # noqa: TRY400 - a person's mistake
            self.refused = str(error)
        else:
            for change in changed:
                log.info("setting_changed", key=change.key, old=_shown(change.old), new=_shown(change.new))
            if changed or self.refused:
                log.info("program_reloaded", changed=[change.key for change in changed])
            self.loop.program, self.refused = fresh, ""
            session = self.loop.lab.session
            session.deadline = self.request.deadline(fresh, session.started)
        self.written = 0.0  # who waits for it is told now
        self.manager.ready()


def _shown(setting: object) -> object:
    return "not set" if setting is None else setting
