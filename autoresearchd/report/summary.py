"""What a session leaves behind in words: the kept line as `git log best` has it, and one sentence. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from autoresearchd.experiment import FAILED, ON_BEST, Concluded, Direction, Outcome
from autoresearchd.judge import tally
from autoresearchd.ledger import Ledger
from autoresearchd.report.words import counted, figure, gain_figure, gain_of, number, plain, side_by_side
from autoresearchd.status import Status

LONGEST_LINE = 12
"""Kept commits that are listed; `git log best` has the rest."""


def text(ledger: Ledger, status: Status) -> str:
    """The kept line, newest first, and one sentence on what was found."""
    ledger.refresh()
    concluded = list(ledger.concluded())
    kept = kept_line(concluded)
    lines = [_line(row, status.metric) for row in reversed(kept[-LONGEST_LINE:])]
    if len(kept) > LONGEST_LINE:
        lines.append(f"… and {len(kept) - LONGEST_LINE} more: git --git-dir={plain(str(ledger.path))} log best")
    said = sentence(concluded, metric=status.metric, direction=Direction(status.direction))
    return "\n".join([*lines, "", said, *additivity(concluded)])


def sentence(concluded: Sequence[Concluded], *, metric: str, direction: Direction) -> str:
    """One sentence: tried, kept, failed, from what metric to what, and the best single change."""
    baseline = next((row for row in concluded if row.verdict.outcome is Outcome.BASELINE), None)
    if baseline is None:
        return "Nothing was measured yet, not even the baseline."
    start = f"{metric} {figure(baseline.verdict.metric)}"
    tried = [row for row in concluded if row is not baseline]
    if not tried:
        return f"The baseline was measured ({start}); no change was tried yet."
    kept = kept_line(concluded)[1:]
    failed = sum(row.verdict.outcome in FAILED for row in tried)
    tail = f"; {failed} failed." if failed else "."
    count = counted(len(tried), "change")
    if not kept:
        return f"Of {count} tried none was a proven improvement on the baseline ({start}){tail}"
    return (
        f"Of {count} tried {len(kept)} {'was' if len(kept) == 1 else 'were'} kept, which took "
        f"{metric} {_from_to(baseline, kept[-1], direction)}{_best_change(kept, direction)}{tail}"
    )


def additivity(concluded: Iterable[Concluded]) -> Iterator[str]:
    """One sentence on whether wins that were found side by side added up, where there were any."""
    found = tally(concluded)
    if not found.fates:
        return
    alone, together = (gain_figure(gain.value, gain.std_error) for gain in (found.alone, found.together))
    lost = f" ({1 - found.together.value / found.alone.value:.0%} lost)" if found.alone.value > 0 else ""
    yield f"{side_by_side(dict(found.fates))}; alone they gained {alone}, on top of the others {together}{lost}."


def kept_line(concluded: Sequence[Concluded]) -> list[Concluded]:
    """The steps of best, the baseline first: in the order of history, which is not always that of the numbers."""
    after = {row.experiment.parent: row for row in concluded if row.verdict.outcome in ON_BEST}
    line = [row for row in concluded[:1] if row.verdict.outcome is Outcome.BASELINE]
    while line and (following := after.get(line[-1].experiment.commit)) is not None:
        line.append(following)
    return line


def _from_to(baseline: Concluded, best: Concluded, direction: Direction) -> str:
    old, new = baseline.verdict.metric, best.verdict.metric
    text = f"from {figure(old)} to {figure(new)}"
    if old is None or new is None or old == 0:
        return text
    share = direction.gain(new, old) / abs(old)
    return f"{text} ({abs(share):.2%} {'better' if share >= 0 else 'worse'})"


def _best_change(kept: Sequence[Concluded], direction: Direction) -> str:
    measured = [(gain, row) for row in kept if (gain := gain_of(row.verdict, direction)) is not None]
    if not measured:
        return ""
    gain, row = max(measured, key=lambda pair: pair[0])
    amount = gain_figure(gain, row.verdict.std_error)
    which = "the change was" if len(kept) == 1 else "the best single change was"
    return f"; {which} {number(row.experiment)}, “{plain(row.experiment.title)}” ({amount})"


def _line(row: Concluded, metric: str) -> str:
    experiment, verdict = row.experiment, row.verdict
    return (
        f"{experiment.commit[:9]}  {number(experiment)}  {verdict.outcome.value:<8}  "
        f"{metric}={figure(verdict.metric)}  {plain(experiment.title)}"
    )
