"""Trains trees and measures them: starts the target, holds it to its contract, gives Measurements.

Knows nothing of git refs, nor of what is good.
"""

from __future__ import annotations

from autoresearchd.run._protocol import Checkout, Executor
from autoresearchd.run.device import discover, environment
from autoresearchd.run.leftovers import reap_leftovers
from autoresearchd.run.local import LocalExecutor
from autoresearchd.run.site import Bench
from autoresearchd.run.warm import modules_ahead

__all__ = [
    "Bench",
    "Checkout",
    "Executor",
    "LocalExecutor",
    "discover",
    "environment",
    "modules_ahead",
    "reap_leftovers",
]
