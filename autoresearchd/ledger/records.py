"""What the message of an experiment's commit says, made of the experiment and what becomes of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.experiment import BASELINE_NUMBER, Experiment, Lines, Verdict
from autoresearchd.proposal import Proposal
from autoresearchd.trailers import Record, title

FIRST_BASELINE = Record(
    number=BASELINE_NUMBER,
    title="Measure the baseline",
    rationale="The imported project as it is: what every experiment has to beat.",
    proposer="autoresearchd",
    category="baseline",
    lines=Lines(added=0, removed=0),
)


def proposed(proposal: Proposal, number: int, lines: Lines) -> Record:
    """The record of a proposal that becomes an experiment."""
    return Record(
        number=number,
        title=title(proposal.title),
        rationale=proposal.rationale,
        proposer=proposal.proposer,
        category=proposal.category,
        lines=lines,
        reason=proposal.reason,
        wish=proposal.wish,
        cost_usd=proposal.cost_usd,
    )


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
        wish=experiment.wish,
        cost_usd=experiment.cost_usd,
        alone=experiment.alone,
        fix_attempts=experiment.fix_attempts,
        imported=experiment.imported,
        rebased=experiment.rebased,
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
