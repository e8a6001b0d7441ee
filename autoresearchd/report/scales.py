"""What was kept, rung by rung: what holds there, what does not, and what `promoted` has. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoresearchd.experiment import CommitOid, Concluded
from autoresearchd.ledger import Ledger
from autoresearchd.report.summary import kept_line
from autoresearchd.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """One kept experiment on the rungs above the first."""

    number: int
    title: str
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """What is known last, by rung."""
    promoted: CommitOid | None = None
    """Its commit on `promoted`, if that has it."""
    trailers: Mapping[str, str] = field(default_factory=dict)
    """By rung, what that commit says was measured."""


def scales(ledger: Ledger, concluded: Sequence[Concluded]) -> tuple[Scaled, ...]:
    """The line of best in the order of history, its baseline left out; empty where nothing was ever promoted or tried.

    Titles and evidence are untrusted words.
    """
    promotion = ledger.promotion
    if promotion.place().promoted is None and not promotion.standings():
        return ()
    line = kept_line(concluded)
    if not line:
        return ()
    commits = promotion.line(line[0].experiment.commit) or ()
    promoted = {promotion.record(commit).number: commit for commit in commits}
    known = promotion.standings()
    return tuple(
        Scaled(
            number=row.experiment.number,
            title=row.experiment.title,
            standings={each.scale: each for each in known.get(row.experiment.commit, ())},
            promoted=(commit := promoted.get(row.experiment.number)),
            trailers=promotion.scales(commit) if commit is not None else {},
        )
        for row in line[1:]
    )
