"""What a loop works with. A value; whoever made its parts closes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.ledger import Ledger
from autoresearchd.pipeline import Pipeline
from autoresearchd.run import Executor
from autoresearchd.run.fleet import Fleet
from autoresearchd.world import Session


def free_bytes(path: Path) -> int:
    """How much room its disk has."""
    return shutil.disk_usage(path).free


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One ledger, what trains for it, and who thinks for it, in one session."""

    ledger: Ledger
    executor: Executor
    pipeline: Pipeline
    fleet: Fleet
    session: Session
    free: Callable[[Path], int] = free_bytes
    """How much room there is where the ledger lies."""
