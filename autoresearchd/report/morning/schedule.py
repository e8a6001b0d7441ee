"""A report each morning while the daemon runs: a view that looks at the clock, and has another process write it.

In a process of its own, so that neither its seconds nor its failures are the loop's.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import IO

import structlog

from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.experiment import Concluded
from autoresearchd.program import load
from autoresearchd.report.live import View
from autoresearchd.report.morning import filing
from autoresearchd.report.words import plain
from autoresearchd.status import Status

log = structlog.get_logger()
LOOK_SECONDS = 20.0
"""Between two looks at the clock and at program.toml."""
LEFT_SECONDS = 120.0
"""A report that is being written when the daemon ends may take so long."""
HURRY_SECONDS, LEAST_SECONDS = 7.0, 1.0
"""Where it is told to end, in ten seconds in all: the end of the trainings and the hook together; the hook at least."""
SAID_BYTES = 1000


@dataclass(frozen=True, slots=True)
class _Writing:
    """A report that another process writes."""

    child: subprocess.Popen[bytes]
    said: IO[bytes]
    verdicts: Mapping[str, int]
    """Those that it knows of at least."""


class Mornings:
    """Passes everything on to another view, and files a report when its hour has come."""

    def __init__(self, inner: View, program: Path) -> None:
        self._inner, self._program = inner, program
        self._hour: time | None = None
        self._looked: float | None = None
        self._writing: _Writing | None = None
        self._filed: tuple[Mapping[str, int], str] | None = None
        self._until = math.inf
        self._cut = False

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        """Show, and look at the clock now and then."""
        self._inner.update(status, recent)
        if status.state == "stopped" and status.why.endswith("SIGTERM"):
            self._until = min(self._until, monotonic() + HURRY_SECONDS)
        since, now = self._looked, status.now
        if since is not None and now - since < LOOK_SECONDS:
            return
        self._looked = now
        self._end_of_writing(wait=False)
        with suppress(UserError):  # the daemon says it and keeps the old program in force, and so does this
            self._hour = load(self._program).report.hour
        if since is not None and self._hour is not None and due(since, now, self._hour) and self._writing is None:
            self._write(status.verdicts)

    def filed(self, status: Status) -> str:
        """Where this morning's report is, if nothing was decided since; else empty."""
        verdicts, place = self._filed or ({}, "")
        return place if verdicts == status.verdicts else ""

    @property
    def hook_seconds(self) -> float:
        """What is left for the hook of the session; none where that of the hour was cut off, which has been told."""
        return 0.0 if self._cut else max(LEAST_SECONDS, self._until - monotonic())

    def close(self) -> None:
        """Wait for a report that is being written, with its hook, as long as there is time."""
        self._end_of_writing(wait=True)

    def _write(self, verdicts: Mapping[str, int]) -> None:
        # -P: no module of the folder that it is started in, which is often the user's project
        command = (sys.executable, "-P", "-m", "autoresearchd", "report", "--file", "--program", str(self._program))
        try:
            with ExitStack() as opened:
                said = opened.enter_context(tempfile.TemporaryFile())
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
                opened.pop_all()  # lives as long as the child
        except OSError as error:
            log.warning("report_failed", program=str(self._program), why=str(error))
        else:
            self._writing = _Writing(child, said, verdicts)

    def _end_of_writing(self, *, wait: bool) -> None:
        if (writing := self._writing) is None:
            return
        child = writing.child
        try:
            child.wait(max(0.0, min(LEFT_SECONDS, self._until - monotonic())) if wait else 0)
        except subprocess.TimeoutExpired:
            if not wait:
                return
            self._cut = True
            _cut_off(child)
        with writing.said as said:
            said.seek(0)
            words = plain(said.read(SAID_BYTES).decode("utf-8", "replace"))
        self._writing = None
        if self._cut:
            why = "the daemon ends, and the report of its hour, or its hook, was not done"
            log.warning("report_cut_off", why=why, said=words)
        elif child.returncode == 0:
            self._filed = writing.verdicts, words
            log.info("report_written", path=words)
        else:
            log.warning("report_failed", code=child.returncode, why=words)


def _cut_off(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)  # it takes its hook with it
    try:
        child.wait(LEAST_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def at_end(program: Path, status: Status, morning: Mornings) -> str:
    """File the report of a session that is over, if it is wanted and anything was tried; says where it is.

    A night that ends at the hour of the report has one already. A report that cannot be written takes nothing from the
    session: that is logged.
    """
    try:
        if not (status.session_opened and load(program).report.at_end):
            return ""
        return f"report: {morning.filed(status) or filing.file(program, hook_seconds=morning.hook_seconds)}"
    except (UserError, CorruptRecord, OSError) as error:
        log.warning("report_failed", why=str(error))
        return ""


@contextmanager
def mornings(inner: View, program: Path) -> Iterator[Mornings]:
    """The view, with its reports finished at the end."""
    view = Mornings(inner, program)
    try:
        yield view
    finally:
        view.close()


def due(since: float, now: float, hour: time) -> bool:
    """Whether that hour of the day, by the machine's clock, came after `since` and not after `now` (Unix times)."""
    here = datetime.fromtimestamp(now).astimezone()
    last = datetime.combine(here.date(), hour).astimezone()
    if last > here:
        last = datetime.combine(here.date() - timedelta(days=1), hour).astimezone()
    return since < last.timestamp()
