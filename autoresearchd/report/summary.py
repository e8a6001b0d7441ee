"""What a session leaves behind in words: the kept line as `git log best` has it, and one sentence. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from autoresearchd.experiment import FAILED, Concluded, Direction, Ending, Outcome
from autoresearchd.judge import tally
from autoresearchd.ledger import Ledger
from autoresearchd.report.words import better, counted, figure, gain_figure, gain_of, number, plain, share, side_by_side
from autoresearchd.status import Status

LONGEST_LINE = 12
"""Kept commits that are listed; `git log best` has the rest."""


def text(ledger: Ledger, status: Status) -> str:
    """The kept line, newest first, and one sentence on what was found."""
    ledger.refresh()
    concluded = list(ledger.concluded())
    kept = kept_line(concluded)
    said = [_line(row, status.metric) for row in reversed(kept[-LONGEST_LINE:])]
    if len(kept) > LONGEST_LINE:
        said.append(f"… and {len(kept) - LONGEST_LINE} more: git --git-dir={plain(str(ledger.path))} log best")
    outcome = sentence(concluded, metric=status.metric, direction=Direction(status.direction))
    return "\n".join([*said, "", outcome, *additivity(concluded), *([] if concluded else _failure(ledger))])


def _failure(ledger: Ledger) -> Iterator[str]:
    """Why a lab has no baseline: its own code fails."""
    runs = ledger.results(ledger.best().tree)
    if runs and all(run.ending is not Ending.FINISHED for run in runs):
        why = plain(runs[-1].why or runs[-1].ending)
        yield f"The project's own code does not train: {why}; `autoresearchd show 0` has the end of its output."


def sentence(concluded: Sequence[Concluded], *, metric: str, direction: Direction) -> str:
    """One sentence: tried, kept, failed, from what metric to what, and the best single change."""
    line = kept_line(concluded)
    if not line:
        return "Nothing was measured yet, not even the baseline."
    start = f"{metric} {figure(line[0].verdict.start)}"
    tried = [row for row in concluded if row.verdict.outcome is not Outcome.BASELINE]
    if not tried:
        return f"The baseline was measured ({start}); no change was tried yet."
    kept = on_best(concluded)
    failed = sum(row.verdict.outcome in FAILED for row in tried)
    tail = f"; {failed} failed." if failed else "."
    count = counted(len(tried), "change")
    if not kept:
        return f"Of {count} tried none was a proven improvement on the baseline ({start}){tail}"
    return (
        f"Of {count} tried {len(kept)} {'was' if len(kept) == 1 else 'were'} kept, which took "
        f"{metric} {_from_to(line[0], line[-1], direction)}{_best_change(kept, direction)}{tail}"
    )


def additivity(concluded: Iterable[Concluded]) -> Iterator[str]:
    """One sentence on whether wins that were found side by side added up, where there were any."""
    found = tally(concluded)
    if not found.fates:
        return
    alone, together = (gain_figure(gain.value, gain.std_error) for gain in (found.alone, found.together))
    lost = f" ({1 - found.together.value / found.alone.value:.0%} lost)" if found.alone.value > 0 else ""
    yield f"{side_by_side(dict(found.fates))}; alone they gained {alone}, on top of the others {together}{lost}."


def lines(concluded: Sequence[Concluded]) -> list[list[Concluded]]:
    """The lines of best, the oldest first: each begins with its baseline, and a rebase ends it.

    In the order of history, which is not always that of the numbers.
    """
    after = {row.experiment.parent: row for row in concluded if row.verdict.outcome is Outcome.KEEP}
    found = [[row] for row in concluded if row.verdict.outcome is Outcome.BASELINE]
    for line in found:
        while (following := after.get(line[-1].experiment.commit)) is not None:
            line.append(following)
    return found


def kept_line(concluded: Sequence[Concluded]) -> list[Concluded]:
    """The steps of best, its baseline first."""
    return next(reversed(lines(concluded)), [])


def on_best(concluded: Sequence[Concluded]) -> list[Concluded]:
    """The kept changes that best has, in the order of history: before its own those that a rebase carried over."""
    line = kept_line(concluded)
    return [*carried(concluded, line), *line[1:]]


def carried(concluded: Iterable[Concluded], line: Sequence[Concluded]) -> list[Concluded]:
    """The kept changes that lie below the baseline of a line; they were measured on the line before."""
    rebased = line[0].experiment.rebased if line else None
    if rebased is None:
        return []
    by_number = {row.experiment.number: row for row in concluded if row.verdict.outcome is Outcome.KEEP}
    return [by_number[number] for number in rebased.carried if number in by_number]


def _from_to(baseline: Concluded, best: Concluded, direction: Direction) -> str:
    old, new = baseline.verdict.start, best.verdict.metric
    text, part = f"from {figure(old)} to {figure(new)}", share(new, old, direction)
    return text if part is None else f"{text} ({better(part)})"


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
