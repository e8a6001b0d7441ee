"""Log lines as entries of systemd's journal with fields to search by: `journalctl EXPERIMENT=0042`.

Its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry. What the journal does not take
goes to the stream that systemd gave us instead, with its priority and without fields.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

SOCKET = Path("/run/systemd/journal/socket")
SEND_SECONDS = 1.0
"""Longest wait for a journal that is full."""
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "debug": 7}
"""Of syslog(3), by the level of a line; anything else is 6, informational."""


class Journal:
    """Takes rendered lines; a logger that structlog can call by any level's name."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is written to where the journal's socket does not take an entry."""
        self._stream = stream

    def msg(self, line: str, **fields: str) -> None:
        """One line as one entry; `fields` have the journal's names and hold a PRIORITY."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.settimeout(SEND_SECONDS)
                speaker.sendto(entry({"MESSAGE": line, **fields}), str(SOCKET))
        except OSError:  # not swallowed: the same line goes the other way
            self._stream.write(f"<{fields['PRIORITY']}>{line}\n")
            self._stream.flush()

    log = debug = info = warning = error = critical = msg


def is_journal(stream: TextIO) -> bool:
    """Whether it is the very stream that systemd says is the journal's: a redirected one is not."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # a stream in memory, or a closed one, is no journal
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def entry(fields: Mapping[str, str]) -> bytes:
    """One entry on the wire: every value by its length, so that no line end in it can begin a field."""
    return b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
