"""The daemon's shell: one process that owns the lab, steps the loop, and answers signals, files and service managers.

In the foreground and under a service manager it is the same program; only the view differs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from autoresearchd import announce, controls, metrics, notify
from autoresearchd.bulletin import write_live, write_status
from autoresearchd.equipment import equip
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, TreeOid
from autoresearchd.ledger import FREE_FLOOR_BYTES, Housekeeping, Ledger
from autoresearchd.ledger.repository import git
from autoresearchd.loop import Loop
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import Ablation, Nulls, Program, load
from autoresearchd.propose.command import Command
from autoresearchd.propose.llm import Key, Llm, take_key
from autoresearchd.propose.portfolio import build, is_enabled
from autoresearchd.reload import differences, identity, refuse_another_lab, refuse_fixed
from autoresearchd.run import reap_leftovers
from autoresearchd.run.checkpoints import Checkpoints
from autoresearchd.run.workbench import LocalWorkbench
from autoresearchd.status import LiveRun, Status, wishes_wait
from autoresearchd.trailers import parse
from autoresearchd.watch import SavedFile, Wake, ending, hangup, watching
from autoresearchd.world import Finish, Session

log = structlog.get_logger()
RIVALS = ("space", "patterns", "refine", "retest", "combine", "llm", "command")
"""The proposers that can be switched off."""
TICK_SECONDS = 1.0
"""Longest sleep of the loop: deadlines, curves and the views are this fresh."""


class View(Protocol):
    """Who is told how it goes; `recent` are the conclusions since the last call."""

    def update(self, status: Status, recent: Sequence[Concluded]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked of this start; None leaves it to program.toml."""

    program: Path
    experiments: int | None = None
    hours: float | None = None
    target: float | None = None
    """In place of `metric.target`."""
    lab: Path | None = None
    """In place of `program.experiments`."""
    metrics_port: int | None = None
    """In place of `service.metrics_port`."""
    only_nulls: bool = False
    """Propose nothing but changes of nothing that runs: a test of the judge."""
    only_ablations: bool = False
    """Propose nothing but best without one of its steps, until each has been taken out; no budget but its own."""
    parts: bool = False
    """The parts of the steps as well."""


def run(request: Request, view: View) -> Status:
    """Run the lab until its work is done or a signal comes; returns the last status.

    Raises: UserError for what a person has to mend first, AlreadyRunning when another daemon holds the lab.
    """
    manager, saved = notify.take(os.environ), SavedFile(request.program)
    program = _requested(load(request.program), request)
    with ExitStack() as stack:
        ledger = Ledger(request.program.resolve().parent / program.program.experiments)
        stack.enter_context(ledger.hold())
        _refuse_another_lab(ledger, program)
        wake = stack.enter_context(Wake())
        loop, llm, checkpoints = stack.enter_context(_assembled(request, program, ledger, wake, manager.starting))
        housekeeping = Housekeeping(ledger.path)
        stack.callback(housekeeping.close)
        daemon = _Daemon(
            loop=loop,
            request=request,
            view=view,
            manager=manager,
            llm=llm,
            housekeeping=housekeeping,
            checkpoints=checkpoints,
            wake=wake,
            saved=saved,
        )
        if program.service.metrics_port is not None:
            stack.enter_context(metrics.served(program.service.metrics_port, lambda: daemon.status))
        stack.enter_context(ending(daemon.end))
        if manager.listens:
            stack.enter_context(hangup(daemon.look_at_program))
        switches, ideas = (ledger.pause_switch, controls.stop_switch(ledger.path)), ledger.path / "refs/heads/idea"
        stack.enter_context(watching(request.program, switches, ideas, wake))
        announce.daemon_started(loop.environment, loop.devices, loop.screens)
        return daemon.drive()


@contextmanager
def _assembled(
    request: Request, program: Program, ledger: Ledger, wake: Wake, waits: Callable[[], None]
) -> Iterator[tuple[Loop, Llm, Checkpoints]]:
    """The loop with its executor and proposers, among these the language model, and what trainings left."""
    folder = request.program.resolve().parent
    reap_leftovers(ledger.path / "autoresearchd" / "runs")
    with ExitStack() as stack:
        checkpoints = Checkpoints(
            ledger.path / "autoresearchd" / "checkpoints",
            most_bytes=program.service.checkpoints_mib * 2**20,
            reserve_bytes=2 * FREE_FLOOR_BYTES,
        )
        stack.callback(checkpoints.close)
        ours = equip(program, folder, ledger, waits, keep=checkpoints.take)
        stack.callback(ours.executor.close)
        llm, command = thinkers(program, folder, ledger, take_key())
        memory = min((device.memory_mib for device in ours.fleet.devices if device.memory_mib), default=None)
        pipeline = Pipeline(build(program, llm, command), ledger.path, wake=wake, memory_mib=memory)
        stack.callback(pipeline.close)
        session = _session(program, request)
        session.sandbox = ours.sandbox
        loop = Loop(
            ledger=ledger,
            executor=ours.executor,
            pipeline=pipeline,
            program=program,
            devices=ours.fleet.devices,
            environment=ours.fleet.environment,
            screens=ours.fleet.screens,
            scales=ours.fleet.scales,
            session=session,
        )
        yield loop, llm, checkpoints


def _refuse_another_lab(ledger: Ledger, program: Program) -> None:
    """Go on only by what the lab was measured by; before its baseline has a verdict that may still change.

    Labs from before that was noted know the name of their metric alone.
    """
    baseline, noted = ledger.baseline(), ledger.measured_by()
    if isinstance(baseline, Concluded):
        refuse_another_lab(noted, program)
        _refuse_another_metric(ledger, baseline, program)
    else:
        noted = {}
    ledger.note_measured_by({**identity(program), **noted})


def _refuse_another_metric(ledger: Ledger, baseline: Concluded, program: Program) -> None:
    message = git(ledger.path, "show", "--no-patch", "--format=%B", baseline.experiment.commit)
    measured = parse(message.decode("utf-8", "replace")).metric
    if measured and measured != program.metric.compared:
        raise UserError(
            f"{ledger.path} was measured by {measured}, not by program.toml's {program.metric.compared}; "
            "set `program.experiments` to a new experiments.git and `autoresearchd init` it"
        )


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

    loop: Loop
    request: Request
    view: View
    manager: notify.Notifier
    llm: Llm
    housekeeping: Housekeeping
    checkpoints: Checkpoints
    wake: Wake
    saved: SavedFile
    refused: str = ""
    """Why the newest program.toml is not in force."""
    written: float = 0.0

    def drive(self) -> Status:
        """Step the loop until it is done or somebody ends it; returns the last status."""
        self.manager.ready()
        while True:
            if self.saved.is_new():
                self._reload()
            finish = self.loop.step(time.time())
            self._tell(self.loop.news())
            if finish is not None or self.loop.session.stopping:
                return self._end(finish)
            self.loop.wait(TICK_SECONDS, self.wake.fileno())

    def end(self, signal_name: str) -> None:
        """Called by signal handlers: the step that runs now is the last one."""
        self.loop.session.stopping = f"stopped by {signal_name}"
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
        self.housekeeping.step(len(news))
        ledger = self.loop.ledger
        self.checkpoints.tidy(ledger.best().tree, [experiment.tree for experiment in ledger.opened()])

    @property
    def status(self) -> Status:
        """What everybody is told; also asked by other threads."""
        model = self.llm.status if is_enabled(self.loop.program, self.llm) else None
        why = wishes_wait(model) if self.loop.status.wishes else ""
        return replace(self.loop.status, llm=model, wishes_why=why, program_refused=self.refused)

    def _write(self, status: Status, live: Sequence[LiveRun]) -> None:
        """For those who look from elsewhere; a disk that is full for them is no reason to end."""
        try:
            write_status(self.loop.ledger.path, status)
            write_live(self.loop.ledger.path, live)
        except OSError as error:
            log.warning("status_not_written", why=str(error))

    def _end(self, finish: Finish | None) -> Status:
        stopping = self.loop.session.stopping
        why = stopping or (finish.why if finish else "")
        self.manager.stopping(why)
        status = replace(self.status, state="stopped" if stopping else "finished", why=why)
        log.info("daemon_stopped", why=why)
        self._write(status, ())
        self.view.update(status, ())
        controls.stop_switch(self.loop.ledger.path).unlink(missing_ok=True)
        return status

    def _reload(self) -> None:
        """Put a saved program.toml in force; one that is wrong, or changes what cannot change, leaves the old one."""
        self.manager.reloading()
        try:
            fresh = _requested(load(self.request.program), self.request)
            changed = differences(self.loop.program, fresh)
            refuse_fixed(changed)
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
            session = self.loop.session
            session.deadline = _deadline(fresh, self.request, session.started)
        self.written = 0.0  # who waits for it is told now
        self.manager.ready()


def _shown(setting: object) -> object:
    return "not set" if setting is None else setting


def _requested(program: Program, request: Request) -> Program:
    if request.target is not None:
        program = _updated(program, "metric", target=request.target)
    if request.lab is not None:
        program = _updated(program, "program", experiments=str(request.lab.resolve()))
    if request.metrics_port is not None:
        program = _updated(program, "service", metrics_port=request.metrics_port)
    if request.only_nulls:
        program = _updated(program, "propose", null=Nulls(every=1))
    if request.only_ablations:
        off = {name: getattr(program.propose, name).model_copy(update={"enabled": False}) for name in RIVALS}
        program = _updated(
            program, "propose", **off, null=Nulls(every=0), ablate=Ablation(every=1, parts=request.parts)
        )
        program = _updated(program, "budget", experiments=None)
    return program


def _updated(program: Program, section: str, **values: object) -> Program:
    return program.model_copy(update={section: getattr(program, section).model_copy(update=values)})


def _session(program: Program, request: Request) -> Session:
    now = time.time()
    return Session(
        started=now,
        experiments=request.experiments,
        deadline=_deadline(program, request, now),
        until_exhausted="each kept change was taken out once" if request.only_ablations else "",
    )


def _deadline(program: Program, request: Request, started: float) -> float | None:
    hours = request.hours if request.hours is not None else program.budget.hours
    return None if hours is None else started + hours * 3600
