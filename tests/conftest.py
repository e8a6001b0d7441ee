"""What holds for every test: no example of Hypothesis fails for a slow machine, and no test logs to another's file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A command that ran in this process has its log in a captured stream, which is closed when its test ends."""
    yield
    structlog.reset_defaults()
