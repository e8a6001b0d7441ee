"""Files the report that `[report]` asks for, and tells whoever is to be told. Everything here is outside the sandbox:
the hook is the user's own command, from the user's own file.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger
from autoresearchd.morning import Report
from autoresearchd.program import load
from autoresearchd.report.facts import facts
from autoresearchd.report.gather import gather
from autoresearchd.report.morning import pages
from autoresearchd.report.morning.document import Document, document
from autoresearchd.report.words import plain
from autoresearchd.yardstick import split

LATEST = "latest.html"
SAID_BYTES = 500
"""So much of a failed hook's output is repeated."""


def read(program: Path) -> Document:
    """The report of the lab of a program file, as it is now."""
    settings = load(program)
    ledger = Ledger(program.resolve().parent / settings.program.experiments)
    return document(ledger, facts(gather(ledger, settings, now=time.time())))


def file(program: Path, *, hook_seconds: float = math.inf) -> Path:
    """Write the report into the folder of `[report]`, point `latest.html` at it, and run the hook.

    `hook_seconds` is all that the hook has where somebody waits for the end; with none it is not started.
    Raises: UserError where it cannot be written; or when the hook fails, after that.
    """
    settings, home = load(program), program.resolve().parent
    folder = home / (settings.report.folder or f"{settings.program.experiments}/autoresearchd/reports")
    made = read(program)
    place = folder / f"{datetime.fromtimestamp(made.facts.now).astimezone():%Y-%m-%d-%H%M}.html"
    with writing(place):
        folder.mkdir(parents=True, exist_ok=True)
        replace(place, pages.html(made))
        _point(folder / LATEST, place.name)
    if settings.report.hook and hook_seconds > 0:
        _tell(settings.report, hook_seconds, f"{made.facts.sentence} {made.facts.lately.sentence}", place, home)
    return place


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises: UserError where the file that is written in it cannot be."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; name another place") from error


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader never sees half of it."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _point(link: Path, name: str) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(link)


def _tell(settings: Report, left: float, sentence: str, report: Path, folder: Path) -> None:
    """Run the hook, its whole process group bounded by the time it may take."""
    assert settings.hook
    named = f"{report} is written; report.hook = {settings.hook!r}"
    with tempfile.TemporaryFile() as said:
        try:
            hook = _started(settings.hook, report, folder, said)
        except OSError as error:
            raise UserError(f"{named} cannot be started: {error}") from error
        try:
            hook.communicate(f"{sentence}\n".encode(), timeout=min(settings.hook_seconds, left))
            ending = f"ended with exit code {hook.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"was killed after report.hook_seconds = {settings.hook_seconds:g}"
            if left < settings.hook_seconds:
                ending = f"was killed after {left:.1f} s, for the daemon was told to end"
        finally:
            _end(hook)
        if hook.returncode != 0:
            said.seek(max(0, said.seek(0, os.SEEK_END) - SAID_BYTES))
            words = plain(said.read().decode("utf-8", "replace"))
            raise UserError(f"{named} {ending}: {words or 'it said nothing'}")


def _started(hook: str, report: Path, folder: Path, said: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        split(hook),
        stdin=subprocess.PIPE,
        stdout=said,
        stderr=said,
        cwd=folder,
        env={**os.environ, "AUTORESEARCH_REPORT": str(report)},
        start_new_session=True,
    )


def _end(hook: subprocess.Popen[bytes]) -> None:
    if hook.poll() is None:
        os.killpg(hook.pid, signal.SIGKILL)
        hook.wait()
