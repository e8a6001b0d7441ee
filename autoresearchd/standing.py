"""What is known of one kept commit on one rung of the ladder. A noun; does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from autoresearchd.experiment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether it is shown to gain there beside what else holds."""

    scale: str
    holds: bool
    environment: Environment
    """The rung as it was then: of another one, nothing is known."""
    evidence: str
    """One line for a person: `Δ -0.012300 +-0.004100, n=24`."""
