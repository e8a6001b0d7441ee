"""Fixtures of the ledger's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoresearchd.ledger import Ledger, refs
from tests.ledger.lab import new_ledger, with_baseline

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of the test's own, in memory where there is such: each write is synced, and a busy disk takes 5 ms."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def _restarts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In life the locks of killed processes are minutes old when the next daemon starts."""
    monkeypatch.setattr(refs, "LOCK_GRACE_SECONDS", 0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A lab with its baseline on best."""
    made = new_ledger(tmp_path)
    with_baseline(made)
    return made
