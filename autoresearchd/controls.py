"""Control files of a lab: what other processes ask of its daemon, by files that are there or not.

They lie in `experiments.git/autoresearchd/`, where the daemon looks at each of its steps. The pause switch is the
ledger's own.
"""

from __future__ import annotations

from pathlib import Path

import structlog

log = structlog.get_logger()


def stop_switch(lab: Path) -> Path:
    """The file whose presence asks the daemon to end once what trains now is judged.

    It is what a person wants, not a message: a daemon that is killed and started again in between still ends, and
    whichever ends takes it away.
    """
    return lab / "autoresearchd" / "stop"


def stopped(lab: Path) -> None:
    """The daemon ends, as somebody may have asked: forget the request. Where that cannot be, it is said."""
    switch = stop_switch(lab)
    try:
        if switch.exists():  # a disk that can only be read refuses to delete what is not there, too
            switch.unlink(missing_ok=True)
    except OSError as error:
        log.warning("stop_stays", why=str(error), then="delete it, or the next start ends at once")


def skip(lab: Path, number: int) -> None:
    """Ask for the end of an open experiment: the daemon stops its training and concludes it as skipped."""
    folder = _folder(lab)
    folder.mkdir(exist_ok=True)
    (folder / f"{number:04d}").touch()


def skips(lab: Path) -> frozenset[int]:
    """The experiments that somebody asked to skip; whatever else lies there is no number."""
    try:
        return frozenset(int(file.name) for file in _folder(lab).iterdir() if file.name.isdecimal())
    except FileNotFoundError:
        return frozenset()


def skipped(lab: Path, number: int) -> None:
    """It is done, or has become pointless: forget the request."""
    (_folder(lab) / f"{number:04d}").unlink(missing_ok=True)


def _folder(lab: Path) -> Path:
    return lab / "autoresearchd" / "skip"
