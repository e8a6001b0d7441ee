"""The circuit breaker: after a failure the API is left alone for a while, each time longer. Pure but for its own state.

A dead or refusing endpoint sees at most ten calls an hour: one burst of SDK retries, then single probes.
"""

from __future__ import annotations

from dataclasses import dataclass

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


class Breaker:
    """Closed: calls may be made. Open: none until `until`. Then one probe at a time, until one succeeds."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.until = 0.0
        """Unix time from which on a probe may be made."""
        self._failures = 0
        self._probing = False

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
        """A call went through."""
        self.failure, self.until, self._failures, self._probing = None, 0.0, 0, False

    def failed(self, failure: Failure, now: float) -> None:
        """A call did not; failures of the same burst count once."""
        burst = self.failure is not None and not self._probing
        self._failures += 0 if burst else 1
        self._probing = False
        wait = min(FIRST_SECONDS * 2.0 ** (self._failures - 1), LONGEST_SECONDS)
        if failure.fatal:
            wait = FATAL_SECONDS
        if failure.retry_after is not None:
            wait = max(wait, min(failure.retry_after, LONGEST_SECONDS))
        self.failure, self.until = failure, max(self.until, now + wait)

    def dropped(self) -> None:
        """The probe ended without telling anything."""
        self._probing = False
