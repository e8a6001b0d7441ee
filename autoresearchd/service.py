"""The daemon's shell: one process that owns the lab, steps the loop, and answers signals, files and service managers.

In the foreground and under a service manager it is the same program; only the view differs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from autoresearchd import notify
from autoresearchd.bulletin import write_live, write_status
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Device, Environment, TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.loop import Loop
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import Nulls, Program, load
from autoresearchd.propose.command import Command
from autoresearchd.propose.llm import Key, Llm, take_key
from autoresearchd.propose.portfolio import build, is_enabled
from autoresearchd.run import LocalExecutor, discover, environment, reap_leftovers
from autoresearchd.run.workbench import LocalWorkbench
from autoresearchd.status import Status
from autoresearchd.world import Session

log = structlog.get_logger()
TICK_SECONDS = 1.0
"""Longest sleep of the loop: deadlines, curves and the views are this fresh."""
PACK_EVERY = 256
"""Conclusions between two packings of the refs: loose ones cost every later start."""


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
    only_nulls: bool = False
    """Propose nothing but changes of nothing that runs: a test of the judge."""


def run(request: Request, view: View) -> Status:
    """Run the lab until its work is done or a signal comes; returns the last status.

    Raises: UserError for what a person has to mend first, AlreadyRunning when another daemon holds the lab.
    """
    manager = notify.take(os.environ)
    program = _requested(load(request.program), request)
    folder = request.program.resolve().parent
    with ExitStack() as stack:
        ledger = Ledger(folder / program.program.experiments)
        stack.enter_context(ledger.hold())
        work = ledger.path / "autoresearchd" / "runs"
        reap_leftovers(work)
        devices, lab_environment = fleet(program, folder, ledger)
        executor = LocalExecutor(program, folder=folder, work=work, checkout=ledger.checkout)
        stack.callback(executor.close)
        wake = stack.enter_context(_Wake())
        llm, command = thinkers(program, folder, ledger, take_key())
        memory = min((device.memory_mib for device in devices if device.memory_mib), default=None)
        pipeline = Pipeline(build(program, llm, command), ledger.path, wake=wake, memory_mib=memory)
        stack.callback(pipeline.close)
        session = _session(program, request)
        session.sandbox = executor.sandbox
        loop = Loop(
            ledger=ledger,
            executor=executor,
            pipeline=pipeline,
            program=program,
            devices=devices,
            environment=lab_environment,
            session=session,
        )
        stack.enter_context(_signals(session, wake))
        watch = stack.enter_context(_watching(request.program, ledger.path, wake))
        stack.enter_context(_hangup(watch if manager.listens else None))
        log.info("daemon_started", devices=[device.name for device in devices], environment=lab_environment)
        return _drive(loop, wake, watch, request, view, llm, manager)


def thinkers(program: Program, folder: Path, ledger: Ledger, key: Key) -> tuple[Llm, Command]:
    """The proposers that think outside this process, and the bench on which their drafts are tried."""
    place = ledger.path / "autoresearchd"

    def checkout(tree: TreeOid, target: Path) -> None:
        Ledger(ledger.path).checkout(tree, target)  # a handle of its own: they think in another thread

    bench = LocalWorkbench(program, folder=folder, work=place / "errands", checkout=checkout)
    return Llm(program, key=key, workbench=bench, spend=place / "spend.jsonl"), Command(bench)


def fleet(program: Program, folder: Path, ledger: Ledger) -> tuple[tuple[Device, ...], Environment]:
    """The devices that share the leading device's environment, and that environment.

    Raises: UserError when program.toml asks for devices that are not there.
    """
    devices = discover(program.devices)
    protected = ledger.files(ledger.best().tree, program.is_protected)
    labels = [environment(program, device, folder=folder, protected=protected) for device in devices]
    leading = tuple(device for device, label in zip(devices, labels, strict=True) if label == labels[0])
    if len(leading) < len(devices):
        others = [device.name for device in devices if device not in leading]
        log.warning("devices_left_out", devices=others, why="another environment than the first device's")
    return leading, labels[0]


def _drive(
    loop: Loop, wake: _Wake, watch: _Watch, request: Request, view: View, llm: Llm, manager: notify.Notifier
) -> Status:
    written, shown, unpacked = 0.0, 0.0, 0
    manager.ready()

    def told() -> Status:
        return replace(loop.status, llm=llm.status if is_enabled(loop.program, llm) else None)

    while True:
        if watch.program_changed:
            watch.program_changed = False
            manager.reloading()
            _reload(loop, request)
            manager.ready()
        finish = loop.step(time.time())
        news = loop.news()
        if finish is not None or news or time.time() - written >= TICK_SECONDS:
            write_status(loop.ledger.path, told())
            written = time.time()
        if time.time() - shown >= TICK_SECONDS:
            write_live(loop.ledger.path, loop.live())
            shown = time.time()
        view.update(told(), news)
        manager.alive(told(), time.monotonic())
        unpacked += len(news)
        if unpacked >= PACK_EVERY:
            _pack(loop.ledger)
            unpacked = 0
        if finish is not None or loop.session.stopping:
            break
        loop.wait(TICK_SECONDS, wake.fileno())
    why = loop.session.stopping or (finish.why if finish else "")
    manager.stopping(why)
    state = "stopped" if loop.session.stopping else "finished"
    status = replace(told(), state=state, why=why)
    log.info("daemon_stopped", why=why)
    write_status(loop.ledger.path, status)
    write_live(loop.ledger.path, ())
    view.update(status, ())
    _pack(loop.ledger)
    return status


def _pack(ledger: Ledger) -> None:
    try:
        ledger.pack()
    except OSError as error:
        log.warning("packing_failed", why=str(error), then="tried again later")


def _requested(program: Program, request: Request) -> Program:
    if request.target is not None:
        program = _updated(program, "metric", target=request.target)
    if request.lab is not None:
        program = _updated(program, "program", experiments=str(request.lab.resolve()))
    if request.only_nulls:
        program = _updated(program, "propose", null=Nulls(every=1))
    return program


def _updated(program: Program, section: str, **values: object) -> Program:
    return program.model_copy(update={section: getattr(program, section).model_copy(update=values)})


def _session(program: Program, request: Request) -> Session:
    now = time.time()
    hours = request.hours if request.hours is not None else program.budget.hours
    return Session(
        started=now,
        experiments=request.experiments,
        deadline=None if hours is None else now + hours * 3600,
    )


def _reload(loop: Loop, request: Request) -> None:
    """Put a saved program.toml in force; one that is wrong, or changes what cannot change live, leaves the old one."""
    try:
        fresh = _requested(load(request.program), request)
    except UserError as error:
        log.error("program_refused", why=str(error), in_force="the old program")  # noqa: TRY400 - a person's mistake
        return
    old = loop.program
    if fresh == old:
        return
    fixed = ("program", "train", "metric", "devices", "sandbox")
    if any(getattr(fresh, name) != getattr(old, name) for name in fixed):
        why = "[program], [train], [metric], [devices] and [sandbox] change with a restart only"
        log.error("program_refused", why=why, in_force="the old program")
        return
    loop.program = fresh
    changed = [name for name in Program.model_fields if getattr(fresh, name) != getattr(old, name)]
    log.info("program_reloaded", changed=changed)


class _Wake:
    """A descriptor that other threads and signal handlers make readable."""

    def __enter__(self) -> _Wake:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def __call__(self) -> None:
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def fileno(self) -> int:
        return self._reader


@contextmanager
def _signals(session: Session, wake: _Wake) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks the loop to end; the second ends the process at once."""
    before: dict[int, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        session.stopping = f"stopped by {signal.Signals(number).name}"
        signal.signal(number, before[number])
        wake()

    for wanted in (signal.SIGTERM, signal.SIGINT):
        before[wanted] = signal.signal(wanted, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _hangup(watch: _Watch | None) -> Iterator[None]:
    """Under a service manager SIGHUP looks at program.toml again; on a terminal it is the terminal's end, as ever."""
    if watch is None:
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda *_: watch.reload())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class _Watch(FileSystemEventHandler):
    """Turns file events into a flag and a wake-up; the loop looks for itself."""

    def __init__(self, program: Path, wake: _Wake) -> None:
        self._program, self._wake = str(program.resolve()), wake
        self.program_changed = False

    def reload(self) -> None:
        """Have the loop read program.toml again."""
        self.program_changed = True
        self._wake()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write"):
            return
        if self._program in (event.src_path, event.dest_path):
            self.program_changed = True
        self._wake()


@contextmanager
def _watching(program: Path, ledger: Path, wake: _Wake) -> Iterator[_Watch]:
    """Watch program.toml, the inbox and the control files; without inotify the loop's tick finds changes as well."""
    watch, observer = _Watch(program, wake), Observer()
    (ledger / "refs" / "heads" / "idea").mkdir(parents=True, exist_ok=True)
    observer.schedule(watch, str(program.resolve().parent))
    observer.schedule(watch, str(ledger / "refs" / "heads" / "idea"), recursive=True)
    try:
        observer.start()
    except OSError as error:
        log.warning("file_watching_off", why=str(error), then="changes are found within a second")
        yield watch
        return
    try:
        yield watch
    finally:
        observer.stop()
        observer.join(timeout=2.0)
