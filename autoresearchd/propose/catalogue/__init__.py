"""The catalogue of code transforms: one module a subject, one plain tuple of all of them.

A new subject is a new module with its own `PATTERNS`, listed here. Importing this imports libcst: import it late.
"""

from __future__ import annotations

from autoresearchd.propose.catalogue import (
    activations,
    attention,
    averaging,
    embeddings,
    initialisation,
    logits,
    norms,
    optimiser,
    regularisation,
    residuals,
    schedules,
)
from autoresearchd.propose.catalogue._pattern import Pattern, Transform

PATTERNS: tuple[Pattern, ...] = (
    *activations.PATTERNS,
    *attention.PATTERNS,
    *averaging.PATTERNS,
    *embeddings.PATTERNS,
    *initialisation.PATTERNS,
    *logits.PATTERNS,
    *norms.PATTERNS,
    *optimiser.PATTERNS,
    *regularisation.PATTERNS,
    *residuals.PATTERNS,
    *schedules.PATTERNS,
)

__all__ = ["PATTERNS", "Pattern", "Transform"]
