"""Log lines: one event a fact, JSON for machines and readable for people. Nothing secret and nothing raw gets out.

The only place that configures structlog; tracebacks carry no local variables, for those may hold keys.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, TextIO

import structlog

from autoresearchd.journal import PRIORITIES, Journal, is_journal
from autoresearchd.report.words import block, number
from autoresearchd.scrub import scrub

Event = structlog.typing.EventDict
Processor = structlog.typing.Processor
FIELDS = ("event", "experiment", "tree", "device", "seed", "run", "verdict")
"""What the journal is searched by: the same names in every line, in capitals there."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What a disk answers that takes no more, or is no more."""


class _Lines:
    """Takes rendered lines; a logger that structlog can call by any level's name.

    A disk that is full for them is no reason to end: it is said with the next line that it has room for.
    """

    def __init__(self, stream: TextIO) -> None:
        self._logger, self._lost = structlog.WriteLogger(stream), 0

    def msg(self, line: str) -> None:
        """One line, at once."""
        try:
            self._logger.msg(line)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._lost += 1
            return
        lost, self._lost = self._lost, 0
        if lost:  # the stream itself may have kept the first of them
            structlog.get_logger().warning("log_lines_lost", at_most=lost)

    log = debug = info = warning = error = critical = msg


def logging_to(stream: TextIO, *, readable: bool) -> None:
    """Send every log line of this process to `stream`: for a person where `readable`, else one JSON object a line.

    Where the stream is systemd's journal, the lines become entries of it, with priorities and fields.
    """
    journal = not readable and is_journal(stream)
    taker = Journal(stream) if journal else _Lines(stream)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not readable),
            _without_none,
            *([_as_entry] if journal else [*(_for_people(stream) if readable else _for_machines()), _without_keys]),
        ],
        logger_factory=lambda *_: taker,
        cache_logger_on_first_use=False,
    )


def default_logging() -> None:
    """Log lines to the standard error: readable on a terminal, JSON elsewhere."""
    logging_to(sys.stderr, readable=sys.stderr.isatty())


def _for_people(stream: TextIO) -> list[Processor]:
    return [
        _harmless,
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]


def _for_machines() -> list[Processor]:
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    # JSON's own ASCII escapes keep control characters away from whoever prints the file.
    return [structlog.processors.ExceptionRenderer(transform), structlog.processors.JSONRenderer()]


def _without_keys(_logger: object, _method: str, line: Event) -> str:
    """The last of all, so that tracebacks have no keys either: what it gets is the rendered line."""
    return scrub(str(line))


def _as_entry(logger: object, method: str, event: Event) -> tuple[tuple[str], dict[str, str]]:
    """The same line for machines, with its priority and the journal's fields beside it."""
    fields = {name.upper(): scrub(_field(name, event[name])) for name in FIELDS if name in event}
    priority = str(PRIORITIES.get(event["level"], 6))
    line: Any = event
    for render in (*_for_machines(), _without_keys):
        line = render(logger, method, line)
    return (line,), {"PRIORITY": priority, "SYSLOG_IDENTIFIER": "autoresearchd", **fields}


def _field(name: str, value: object) -> str:
    """An experiment is searched by its number as branches spell it."""
    return number(value) if name == "experiment" and isinstance(value, int) else str(value)


def _without_none(_logger: object, _method: str, event: Event) -> Event:
    return {key: value for key, value in event.items() if value is not None}


def _harmless(_logger: object, _method: str, event: Event) -> Event:
    """Words of experiments and models must not steer the terminal."""
    return {key: block(value) if isinstance(value, str) else value for key, value in event.items()}
