"""What the message of an experiment's commit says, made of the experiment and what becomes of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.experiment import Experiment, Lines, Proposal, Verdict
from autoresearchd.trailers import Record


def of(
    experiment: Experiment, *, lines: Lines | None = None, verdict: Verdict | None = None, metric: str = ""
) -> Record:
    """Its record with another size, or with a verdict on the number called `metric`."""
    return Record(
        number=experiment.number,
        title=experiment.title,
        rationale=experiment.rationale,
        proposer=experiment.proposer,
        category=experiment.category,
        lines=lines or experiment.lines,
        reason=experiment.reason,
        cost_usd=experiment.cost_usd,
        alone=experiment.alone,
        fix_attempts=experiment.fix_attempts,
        verdict=verdict,
        metric=metric,
    )


def corrected(experiment: Experiment, correction: Proposal, lines: Lines) -> Record:
    """Its record with the correction's words and price added, and one attempt more.

    What it gained alone was other code's gain.
    """
    return replace(
        of(experiment, lines=lines),
        rationale=f"{experiment.rationale}\n\n{correction.rationale}",
        cost_usd=(experiment.cost_usd or 0.0) + (correction.cost_usd or 0.0),
        fix_attempts=experiment.fix_attempts + 1,
        alone=None,
    )
