"""What a code transform is: a value with a pure function from a syntax tree to the changed one.

There is no base class and no registry: a module of the catalogue makes Patterns, the package lists them in one tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst

Transform = Callable[[cst.Module], cst.Module | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One idea about a training program, and how to write it into code that has the construct it is about."""

    name: str
    """Unique; what `propose.patterns.skip` names."""
    title: str
    """Imperative, short enough that the file's name fits behind it."""
    rationale: str
    """The hypothesis, in a sentence or two."""
    category: str
    apply: Transform
    """The changed module; None where the precondition is not met. Strings and comments are never read or written."""
