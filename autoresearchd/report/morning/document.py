"""The report as values: the facts of a lab, its top changes with their diffs, and the commands that bring them home."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from autoresearchd.experiment import Concluded
from autoresearchd.ledger import Ledger
from autoresearchd.report.facts import Facts
from autoresearchd.report.rows import Row
from autoresearchd.report.words import block

TOP = 10
LONGEST_DIFF = 200
"""Lines of one diff; git has the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One kept change, ready to be taken."""

    row: Row
    rationale: str
    """Harmless to show, several lines."""
    diff: tuple[str, ...]
    """Harmless lines, at most `LONGEST_DIFF`."""
    left_out: int
    """Lines of the diff beyond that."""
    command: str
    """Picks it into the project, after `Document.fetch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything that a report says."""

    facts: Facts
    fetch: str
    """Brings the lab's commits into the project's repository."""
    pick_all: str
    """Takes the whole line of best; empty while it is only the baseline."""
    changes: tuple[Change, ...]
    """The kept changes that gained most, most first."""


def document(ledger: Ledger, facts: Facts) -> Document:
    """The report of a lab whose facts are these."""
    kept = [*facts.carried, *facts.line[1:]]
    top = sorted(kept, key=lambda row: row.gain or 0.0, reverse=True)[:TOP]
    return Document(
        facts=facts,
        fetch=f"git fetch {shlex.quote(str(ledger.path.resolve()))} '+refs/heads/*:refs/remotes/lab/*'",
        pick_all=" && ".join(_picks(ledger, facts)),
        changes=tuple(_change(ledger, row) for row in top),
    )


def _picks(ledger: Ledger, facts: Facts) -> Iterator[str]:
    """What a rebase carried over lies below the baseline, which is empty and in the way of a pick."""
    first = ledger.find(facts.baseline.number) if facts.baseline else None
    if isinstance(first, Concluded) and first.experiment.rebased is not None and facts.carried:
        yield f"git cherry-pick {first.experiment.rebased.onto[:12]}..{first.experiment.parent[:12]}"
    if isinstance(first, Concluded) and len(facts.line) > 1:
        yield f"git cherry-pick {first.experiment.commit[:12]}..lab/best"


def _change(ledger: Ledger, row: Row) -> Change:
    found = ledger.find(row.number)
    assert isinstance(found, Concluded), f"experiment {row.number} is on best without a verdict"
    lines = block(ledger.diff(found.experiment)).split("\n")
    return Change(
        row=row,
        rationale=block(found.experiment.rationale),
        diff=tuple(lines[:LONGEST_DIFF]),
        left_out=max(0, len(lines) - LONGEST_DIFF),
        command=f"git cherry-pick {row.commit[:12]}",
    )
