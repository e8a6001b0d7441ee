"""What wakes the loop from its sleep: signals, a saved program.toml, a pushed idea, a control file.

Only wakes: the loop looks for itself, at the latest at its next tick, so nothing depends on an event that got lost.
"""

from __future__ import annotations

import logging
import os
import signal
import time
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
REST_SECONDS = 5.0
"""Nobody takes so long between two pieces of a file that is saved."""
_Stamp = tuple[int, int, int]
_NEVER: _Stamp = (0, 0, 0)


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

    One that is being saved may be there by half, and half a program may well be one: it is new once whoever wrote it
    was seen to close it or, as an event may get lost, when it has stayed as it is for some seconds. An empty one never.
    (Somebody else who closes it meanwhile is taken for the one.)
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._seen = self._latest = self._stamp()
        self._whole: _Stamp | None = _NEVER
        self._since = 0.0

    def is_new(self) -> bool:
        """Whether it has changed since the last call that said so."""
        now = self._stamp()
        if now != self._latest:
            self._latest, self._since = now, self._clock()
        if now == self._seen or (now is not None and now[1] == 0):
            return False
        if now != self._whole and self._clock() < self._since + REST_SECONDS:
            return False
        self._seen = now
        return True

    def closed(self) -> None:
        """As it is now it is whole. May be called by another thread."""
        self._whole = self._stamp()

    def forget(self) -> None:
        """Have the next call say yes."""
        self._seen = _NEVER
        self.closed()

    def _stamp(self) -> _Stamp | None:
        try:
            found = self.path.stat()
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
    def __init__(self, saved: SavedFile, switches: tuple[Path, ...], ideas: Path, wake: Wake) -> None:
        self._program, self._saved = saved.path.resolve(), saved
        self._switches, self._ideas, self._wake = switches, ideas, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
        if self._program in paths and event.event_type in WHOLE:
            self._saved.closed()
            self._wake()
        elif any(self._matters(path, event.event_type) for path in paths):
            self._wake()

    def _matters(self, path: Path, kind: str) -> bool:
        return kind not in UNTOUCHED and (path in self._switches or path.is_relative_to(self._ideas))


@contextmanager
def watching(saved: SavedFile, switches: tuple[Path, ...], ideas: Path, wake: Wake) -> Iterator[None]:
    """Wake at once where the program or a control file is saved, or something is pushed below `ideas`.

    `ideas` itself may come and go: git removes an empty folder of branches. Without inotify the tick finds all of it.
    """
    switches, ideas = tuple(path.resolve() for path in switches), ideas.resolve()
    events, observer = _Events(saved, switches, ideas, wake), Observer()
    for folder in {saved.path.resolve().parent, *(path.parent for path in switches)}:
        observer.schedule(events, str(folder))
    observer.schedule(events, str(ideas.parent), recursive=True)
    try:
        observer.start()
    except OSError as error:
        log.warning("file_watching_off", why=str(error), then="looked for each second")
        yield
        return
    try:
        yield
    finally:
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # it complains of being stopped between two looks
        observer.stop()
        observer.join(timeout=2.0)
