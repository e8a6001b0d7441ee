"""`stop`: asks the daemon of a lab to end, and waits until it has.

The daemon is whoever holds the lab's lock, and is spoken to through a descriptor of that very process: a pid that has
gone to somebody else is never signalled.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoresearchd import controls, lock
from autoresearchd.errors import UserError

PATIENCE_SECONDS = 60.0
"""For what takes the daemon ten; a machine may be busy."""
GOES_ON = "stopped; `autoresearchd run` goes on from there"
Say = Callable[[str], None]


def stop(lab: Path, say: Say, *, after_run: bool) -> None:
    """End the daemon now, its trainings with it and their experiments left open; or after they are judged.

    Raises: UserError where no daemon runs, it is not this user's, or it does not end.
    """
    try:
        with _daemon(lab) as (pid, descriptor):
            (_after_run if after_run else _now)(lab, pid, descriptor, say)
    except PermissionError as error:
        raise UserError(
            f"the daemon of {lab} is another user's; `sudo` this, or `systemctl stop` it where it is a service"
        ) from error


def _now(lab: Path, pid: int, descriptor: int, say: Say) -> None:
    say(f"SIGTERM to the daemon (pid {pid}): its trainings are ended and their experiments left open")
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    if not _ended(descriptor, PATIENCE_SECONDS):
        raise UserError(
            f"the daemon (pid {pid}) runs on after {PATIENCE_SECONDS:.0f} s; `kill -KILL {pid}` loses nothing of {lab}"
        )
    say(GOES_ON)


def _after_run(lab: Path, pid: int, descriptor: int, say: Say) -> None:
    switch = controls.stop_switch(lab)
    switch.touch()
    say(
        f"the daemon (pid {pid}) begins nothing new and ends once what trains now is judged; Ctrl-C ends this waiting, "
        "`autoresearchd resume` takes the request back"
    )
    _ended(descriptor, None)
    if switch.exists():
        say("it was killed before that; started again, it ends at once")
    else:
        say(GOES_ON)


def _ended(descriptor: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


@contextmanager
def _daemon(lab: Path) -> Iterator[tuple[int, int]]:
    """The pid of the lab's daemon and a descriptor of its process."""
    pid = lock.holder(lab)
    if pid is None:
        raise UserError(f"no daemon runs for {lab}; `autoresearchd status` says what the last one did")
    if pid == 0:
        raise UserError(f"the daemon of {lab} is just starting; try again in a moment")
    elsewhere = f"the daemon of {lab} (pid {pid}) runs on another machine or in another container; stop it there"
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise UserError(elsewhere) from error
    try:
        if not _holds(pid, lab):
            raise UserError(elsewhere)
        yield pid, descriptor
    finally:
        os.close(descriptor)


def _holds(pid: int, lab: Path) -> bool:
    """Whether that process has this lab's lock file open: a pid says nothing across containers."""
    wanted = lock.file_of(lab).stat()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.path.samestat(descriptor.stat(), wanted):
                return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False
