"""The circuit breaker: after a failure the API is left alone for a while, each time longer, whatever is restarted.

A dead or refusing endpoint sees at most ten calls an hour: one burst of SDK retries, then single probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from autoresearchd.propose.llm.shelf import keep

log = structlog.get_logger()
FIRST_SECONDS, LONGEST_SECONDS = 120.0, 3600.0
FATAL_SECONDS = 3600.0
"""Between two tries where a person has to act: a wrong key, an unknown model, no credit."""
BURST_RETRIES = 2
"""Of the SDK, while nothing is wrong and few conversations run; a probe is one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call failed, for a person."""

    why: str
    fatal: bool = False
    """Waiting does not mend it."""
    retry_after: float | None = None
    """Seconds that the server asked for."""


class _Kept(BaseModel):
    """What a restart may not forget."""

    model_config = ConfigDict(allow_inf_nan=False)

    whom: str
    failure: Failure
    until: float
    failures: int


class Breaker:
    """Closed: calls may be made. Open: none until `until`. Then one probe at a time, until one succeeds.

    A probe is a whole conversation: an API that answers a first call and fails at the second is not in order.
    """

    def __init__(self, path: Path | None = None, *, whom: str = "") -> None:
        """`path` is where a failure is remembered, of `whom` only: another key or server has not failed yet."""
        self.failure: Failure | None = None
        self.until = 0.0
        """Unix time from which on a probe may be made."""
        self._failures = 0
        self._probing = False
        self._path, self._whom = path, whom
        self._remember()

    @property
    def is_closed(self) -> bool:
        return self.failure is None

    def admit(self, now: float) -> bool:
        """Whether a conversation may begin now; the one that probes must tell `succeeded`, `failed` or `dropped`."""
        if self.is_closed:
            return True
        if self._probing or now < self.until:
            return False
        self._probing = True
        return True

    def retries(self, in_flight: int) -> int:
        """How often the SDK may retry a call."""
        return BURST_RETRIES if self.is_closed and in_flight <= 2 else 0

    def succeeded(self) -> None:
        """A conversation was answered and ended without a failure."""
        was_open = not self.is_closed
        self.failure, self.until, self._failures, self._probing = None, 0.0, 0, False
        if was_open and self._path is not None:
            self._path.unlink(missing_ok=True)

    def failed(self, failure: Failure, now: float) -> None:
        """A call did not go through; failures of the same burst count once."""
        burst = self.failure is not None and not self._probing
        self._failures += 0 if burst else 1
        self._probing = False
        wait = min(FIRST_SECONDS * 2.0 ** (self._failures - 1), LONGEST_SECONDS)
        if failure.fatal:
            wait = FATAL_SECONDS
        if failure.retry_after is not None:
            wait = max(wait, min(failure.retry_after, LONGEST_SECONDS))
        self.failure, self.until = failure, max(self.until, now + wait)
        if self._path is not None:
            kept = _Kept(whom=self._whom, failure=failure, until=self.until, failures=self._failures)
            keep(self._path, kept.model_dump_json())

    def dropped(self) -> None:
        """A conversation ended without telling anything."""
        self._probing = False

    def _remember(self) -> None:
        if self._path is None or not self._path.exists():
            return
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("api_failure_unreadable", path=str(self._path), why=str(error))
            return
        if kept.whom == self._whom:
            self.failure, self.until, self._failures = kept.failure, kept.until, kept.failures
