"""The scale table: what each kept change gains on the rungs above the first, and whether it is promoted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.report.rows import Row
from autoresearchd.report.scales import Scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One kept change, rung by rung."""

    number: int
    title: str
    """Untrusted, as the words by rung are."""
    gain: float | None
    """On the first rung; positive is better."""
    std_error: float | None
    rungs: Mapping[str, str]
    """By the rung's name: whether it holds there, and by how much the metric changes: `holds: Δ -0.012 +-0.004, n=24`.

    A rung that says nothing was not reached.
    """
    promoted: bool


def climbs(scaled: Sequence[Scaled], line: Sequence[Row]) -> tuple[Climb, ...]:
    """The kept changes in the order of history; empty where nothing was ever tried on a rung."""
    rows = {row.number: row for row in line}
    return tuple(
        Climb(
            number=each.number,
            title=each.title,
            gain=rows[each.number].gain if each.number in rows else None,
            std_error=rows[each.number].std_error if each.number in rows else None,
            rungs=dict(_said(each)),
            promoted=each.promoted is not None,
        )
        for each in scaled
    )


def outcome(holds: bool, measured: str) -> str:
    """Whether a change holds on a rung, and on what evidence."""
    return f"{'holds' if holds else 'does not hold'}: {measured}"


def _said(each: Scaled) -> Iterator[tuple[str, str]]:
    """What its commit on `promoted` says; else what is known last."""
    for rung, standing in each.standings.items():
        yield rung, outcome(standing.holds, standing.evidence)
    for rung, measured in each.trailers.items():
        yield rung, outcome(True, measured)
