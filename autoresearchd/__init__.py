"""autoresearchd: a git-native research daemon.

For programs: `Ledger` reads a lab as frozen values, `load` a program.toml, `to_pandas` makes a table of both. They are
imported when they are first asked for, because git and numerics cost a command line time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoresearchd.frame import to_pandas
    from autoresearchd.ledger import Ledger
    from autoresearchd.program import load

__version__ = "0.1.0"
__all__ = ["Ledger", "__version__", "load", "to_pandas"]
_HOMES = {"Ledger": "ledger", "load": "program", "to_pandas": "frame"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
