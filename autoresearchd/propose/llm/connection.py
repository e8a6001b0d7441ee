"""Whom we ask: the API that the settings in force name, with our key, and what is known of its failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from autoresearchd.propose.llm.api import Api
from autoresearchd.propose.llm.breaker import Breaker, Failure
from autoresearchd.propose.llm.key import Key
from autoresearchd.thinkers import Llm

log = structlog.get_logger()


class Connection:
    """Of one event loop. Another server or model begins anew: what the old one refused says nothing."""

    def __init__(self, settings: Llm, key: Key, failures: Path | None, clock: Callable[[], float]) -> None:
        """`failures` is where it is remembered how long a failing API is to be left alone."""
        self._key, self._failures, self._clock = key, failures, clock
        self._former: list[Api] = []
        """Those of earlier settings; a conversation may still be held with them."""
        self._begin(settings)

    def follow(self, settings: Llm) -> None:
        """Settings that may have been saved since."""
        if self._named(settings) != self._whom:
            self._former.append(self.api)
            self._begin(settings)

    def may_ask(self) -> bool:
        """Whether a conversation may begin now; how it went is then to be told."""
        return self.breaker.admit(self._clock())

    def tell(self, breaker: Breaker, failure: Failure | None, *, answered: bool) -> None:
        """How a conversation went that began with this breaker."""
        if breaker is not self.breaker:
            return  # who is asked has changed meanwhile
        if failure is not None:
            breaker.failed(failure, self._clock())
            log.warning("llm_failed", why=failure.why, until=breaker.until)
        elif answered:
            breaker.succeeded()
        else:
            breaker.dropped()

    async def close(self) -> None:
        for api in (*self._former, self.api):
            await api.close()
        self._former = []

    def _begin(self, settings: Llm) -> None:
        self._whom = self._named(settings)
        self.api, self.breaker = Api(settings, self._key), Breaker(self._failures, whom=self._whom)

    def _named(self, settings: Llm) -> str:
        """Who is asked, with which key."""
        return f"{settings.base_url or ''} {settings.model} {self._key.fingerprint}"
