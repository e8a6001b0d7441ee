"""What wakes the loop from its sleep: signals, a saved program.toml, a pushed idea, a control file.

Only wakes: the loop looks for itself, at the latest at its next tick, so nothing depends on an event that got lost.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = structlog.get_logger()
WHOLE = frozenset({"closed", "moved", "deleted"})
"""Events after which a file that somebody saves is not half there; truncating and writing are none of them."""
UNTOUCHED = frozenset({"opened", "closed_no_write"})


class Wake:
    """A descriptor that other threads and signal handlers make readable."""

    def __enter__(self) -> Wake:
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


class SavedFile:
    """Tells when a file is another than it was when last asked: written, replaced or gone.

    An empty one is in the middle of being saved: editors truncate, then write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()

    def is_new(self) -> bool:
        """Whether it has changed since the last call."""
        now = self._stamp()
        if now is not None and now[1] == 0:
            return False
        before, self._seen = self._seen, now
        return now != before

    def forget(self) -> None:
        """Have the next call say yes."""
        self._seen = (0, 0, 0)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None  # gone, or not to be read: whoever loads it says why
        return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def ending(ask: Callable[[str], None]) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks for the end, with its name; the second ends the process at once."""
    # All of them before the first is set: a signal may come at once.
    before: dict[int, Any] = {wanted: signal.getsignal(wanted) for wanted in (signal.SIGTERM, signal.SIGINT)}

    def asked(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        ask(signal.Signals(number).name)

    try:
        for wanted in before:
            signal.signal(wanted, asked)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hangup(ask: Callable[[], None]) -> Iterator[None]:
    """SIGHUP asks, as service managers have it; on a terminal it is the terminal's end, and this is not used."""
    before = signal.signal(signal.SIGHUP, lambda *_: ask())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class _Events(FileSystemEventHandler):
    def __init__(self, program: Path, switches: tuple[Path, ...], ideas: Path, wake: Wake) -> None:
        self._program, self._switches, self._ideas, self._wake = program, switches, ideas, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
        if any(self._matters(path, event.event_type) for path in paths):
            self._wake()

    def _matters(self, path: Path, kind: str) -> bool:
        if path == self._program:
            return kind in WHOLE
        return kind not in UNTOUCHED and (path in self._switches or path.is_relative_to(self._ideas))


@contextmanager
def watching(program: Path, switches: tuple[Path, ...], ideas: Path, wake: Wake) -> Iterator[None]:
    """Wake at once where the program or a control file is saved, or something is pushed below `ideas`.

    `ideas` itself may come and go: git removes an empty folder of branches. Without inotify the tick finds all of it.
    """
    program, switches, ideas = program.resolve(), tuple(path.resolve() for path in switches), ideas.resolve()
    events, observer = _Events(program, switches, ideas, wake), Observer()
    for folder in {program.parent, *(path.parent for path in switches)}:
        observer.schedule(events, str(folder))
    observer.schedule(events, str(ideas.parent), recursive=True)
    try:
        observer.start()
    except OSError as error:
        log.warning("file_watching_off", why=str(error), then="changes are found within a second")
        yield
        return
    try:
        yield
    finally:
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # it complains of being stopped between two looks
        observer.stop()
        observer.join(timeout=2.0)
