"""A report each morning while the daemon runs: a view that looks at the clock, and has another process write it.

In a process of its own, so that neither its seconds nor its failures are the loop's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, time, timedelta
from pathlib import Path
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
SAID_BYTES = 1000


class Mornings:
    """Passes everything on to another view, and files a report when its hour has come."""

    def __init__(self, inner: View, program: Path) -> None:
        self._inner, self._program = inner, program
        self._hour: time | None = None
        self._looked: float | None = None
        self._writing: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        """Show, and look at the clock now and then."""
        self._inner.update(status, recent)
        since, now = self._looked, status.now
        if since is not None and now - since < LOOK_SECONDS:
            return
        self._looked = now
        self._end_of_writing(wait=False)
        with suppress(UserError):  # the daemon says it and keeps the old program in force, and so does this
            self._hour = load(self._program).report.hour
        if since is not None and self._hour is not None and due(since, now, self._hour) and self._writing is None:
            self._write()

    def close(self) -> None:
        """Wait for a report that is being written."""
        self._end_of_writing(wait=True)

    def _write(self) -> None:
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
            self._writing = child, said

    def _end_of_writing(self, *, wait: bool) -> None:
        if self._writing is None:
            return
        child, said = self._writing
        try:
            child.wait(LEFT_SECONDS if wait else 0)
        except subprocess.TimeoutExpired:
            if not wait:
                return
            child.kill()
            child.wait()
        said.seek(0)
        words = plain(said.read(SAID_BYTES).decode("utf-8", "replace"))
        said.close()
        self._writing = None
        if child.returncode == 0:
            log.info("report_written", path=words)
        else:
            log.warning("report_failed", code=child.returncode, why=words)


def at_end(program: Path, status: Status) -> str:
    """File the report of a session that is over, if it is wanted and anything was tried; says where it is.

    A report that cannot be written takes nothing from the session: that is logged.
    """
    if not status.session_opened:
        return ""
    try:
        return f"report: {filing.file(program)}" if load(program).report.at_end else ""
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
