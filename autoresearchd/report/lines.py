"""Log lines: one event a fact, JSON for machines and readable for people. Nothing secret and nothing raw gets out.

The only place that configures structlog; tracebacks carry no local variables, for those may hold keys.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

import structlog

from autoresearchd.report.words import block
from autoresearchd.scrub import scrub

Event = structlog.typing.EventDict
PRIORITIES = {"critical": 2, "error": 3, "exception": 3, "warning": 4, "debug": 7}
"""Of syslog(3), by the name of the logging method; anything else is 6, informational."""


def logging_to(stream: TextIO, *, readable: bool) -> None:
    """Send every log line of this process to `stream`: for a person where `readable`, else one JSON object a line.

    Where the stream is systemd's journal, each line begins with its priority (sd-daemon(3)); the journal takes it off.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not readable),
            _without_none,
            *(_for_people(stream) if readable else _for_machines()),
            _without_keys,
            *((_with_priority,) if _is_journal(stream) else ()),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


def default_logging() -> None:
    """Log lines to the standard error: readable on a terminal, JSON elsewhere."""
    logging_to(sys.stderr, readable=sys.stderr.isatty())


def _for_people(stream: TextIO) -> list[structlog.typing.Processor]:
    return [
        _harmless,
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]


def _for_machines() -> list[structlog.typing.Processor]:
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    # JSON's own ASCII escapes keep control characters away from whoever prints the file.
    return [structlog.processors.ExceptionRenderer(transform), structlog.processors.JSONRenderer()]


def _without_keys(_logger: object, _method: str, line: Event) -> str:
    """The last of all, so that tracebacks have no keys either: what it gets is the rendered line."""
    return scrub(str(line))


def _with_priority(_logger: object, method: str, line: Event) -> str:
    return f"<{PRIORITIES.get(method, 6)}>{line}"


def _is_journal(stream: TextIO) -> bool:
    """Whether it is the very stream that systemd says is the journal's: a redirected one must not get prefixes."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # a stream in memory, or a closed one, is no journal
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _without_none(_logger: object, _method: str, event: Event) -> Event:
    return {key: value for key, value in event.items() if value is not None}


def _harmless(_logger: object, _method: str, event: Event) -> Event:
    """Words of experiments and models must not steer the terminal."""
    return {key: block(value) if isinstance(value, str) else value for key, value in event.items()}
