"""The lab's history as a page for a model: bounded in size whatever the history's, rebuilt from git each time.

Pure: the same history gives the same words. Full diffs of the newest failures say more than descriptions of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import FAILED, ON_BEST, Concluded, Experiment, Outcome, TreeOid
from autoresearchd.proposal import Proposal
from autoresearchd.propose._measured import noise
from autoresearchd.propose._misses import fallen, gain, line_of_best, near_misses
from autoresearchd.propose._protocol import Context, History
from autoresearchd.propose.llm.fence import fence, line

SUCCESSES, FAILURES, MISSES, CATEGORIES, TITLES, PENDING = 40, 5, 10, 16, 40, 16
KEPT_ELSEWHERE, LOST_ELSEWHERE = 30, 50
DIFF_CHARACTERS, LOG_CHARACTERS = 3_000, 2_000
MOST_CHARACTERS = 60_000
"""What all the bounds above come to, at the most."""
UNINTERESTING = frozenset({Outcome.BASELINE, Outcome.KEEP, Outcome.DUPLICATE, Outcome.STALE, Outcome.SKIPPED})


def digest(context: Context) -> str:
    """Everything that the lab knows, on at most MOST_CHARACTERS characters."""
    sections = (
        ("What is on best, oldest first", _successes(context)),
        ("Noise", _noise(context)),
        ("What each category has yielded", _categories(context)),
        ("Near-misses: measured better than best and not kept, which may well be chance", _misses(context)),
        ("The newest failures and losses, with their diffs", _failures(context)),
        ("The newest experiments, newest first", _titles(context)),
        ("Tried in other labs, oldest first: their numbers compare with none of ours", _elsewhere(context)),
        ("Being trained or waiting right now: propose something else", _pending(context)),
    )
    with context.history.at_hand():
        return "\n\n".join(f"## {title}\n" + ("\n".join(lines) or "nothing yet") for title, lines in sections)


def one_line(context: Context, concluded: Concluded) -> str:
    """Number, verdict, gain and title of an experiment."""
    own, verdict = concluded.experiment, concluded.verdict
    by = gain(concluded, context.program.metric.direction)
    figure = "" if by is None else f" gain {by:+.6f}" + (f" ± {verdict.std_error:.6f}" if verdict.std_error else "")
    return (
        f"{own.number:04d} {verdict.outcome.value}{figure} [{line(own.category, most=24)}, {own.proposer}] "
        f"{line(own.title, most=100)}"
    )


def diff(history: History, before: TreeOid, after: TreeOid) -> str:
    """The change of the editable files as a patch; words in its place where the disk has lost some of them."""
    try:
        return diff_of(history.files(before), history.files(after))
    except CorruptRecord:
        return "(the disk has lost its files)"


def diff_of(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    """Two sets of files compared."""
    lines: list[str] = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        sides = [_text(each.get(path)).splitlines(keepends=True) for each in (old, new)]
        lines.extend(difflib.unified_diff(sides[0], sides[1], f"a/{path}", f"b/{path}", n=2))
    return "".join(each if each.endswith("\n") else each + "\n" for each in lines)


def last_run(history: History, tree: TreeOid) -> tuple[str, str]:
    """Why the newest run of a tree ended as it did, and the end of its log."""
    runs = history.measurements(tree)
    return (runs[-1].why, runs[-1].log_tail) if runs else ("", "")


def _successes(context: Context) -> Iterator[str]:
    steps = line_of_best(context)
    if len(steps) > SUCCESSES:
        yield f"({len(steps) - SUCCESSES} earlier steps are left out)"
    lost = fallen(context)
    for step in reversed(steps[:SUCCESSES]):
        value = "" if step.verdict.metric is None else f" {context.program.metric.compared}={step.verdict.metric:.6f}"
        yield one_line(context, step) + value
        for scale in lost.get(step.experiment.number, ()):
            yield f"    does not hold on the larger scale {scale.scale}: {line(scale.evidence)}"


def _noise(context: Context) -> Iterator[str]:
    found = noise(context)
    if found is None:
        yield "The run-to-run noise is not measured yet."
        return
    deviation, degrees = found
    yield (
        f"The same code trained again differs by {deviation:.6f} (standard deviation, {degrees} degrees of freedom): "
        f"differences under {2 * deviation:.6f} mean nothing here."
    )


def _categories(context: Context) -> Iterator[str]:
    direction = context.program.metric.direction
    totals: dict[str, list[float]] = {}
    for each in context.history.concluded():
        if each.verdict.outcome in (Outcome.BASELINE, Outcome.STALE, Outcome.SKIPPED, Outcome.DUPLICATE):
            continue
        own = totals.setdefault(line(each.experiment.category, most=24), [0, 0, 0, 0.0])
        own[0] += 1
        own[2] += each.verdict.outcome in FAILED
        if each.verdict.outcome is Outcome.KEEP:
            own[1] += 1
            own[3] += gain(each, direction) or 0.0
    most = sorted(totals.items(), key=lambda item: (-item[1][3], -item[1][0], item[0]))[:CATEGORIES]
    for name, (tried, kept, failed, gained) in most:
        yield f"{name}: {tried:.0f} tried, {kept:.0f} kept, {failed:.0f} failed, {gained:+.6f} gained"


def _misses(context: Context) -> Iterator[str]:
    for miss, _ in near_misses(context)[-MISSES:]:
        yield one_line(context, miss)


def _failures(context: Context) -> Iterator[str]:
    found = 0
    for each in reversed(context.history.concluded()):
        if each.verdict.outcome in UNINTERESTING:
            continue
        yield one_line(context, each)
        yield fence(each.verdict.why, "reason", most=300)
        change = diff(context.history, each.experiment.parent_tree, each.experiment.tree)
        yield fence(change, f"diff {each.experiment.number:04d}", most=DIFF_CHARACTERS)
        if each.verdict.outcome in FAILED:
            _, log = last_run(context.history, each.experiment.tree)
            yield fence(log[-LOG_CHARACTERS:], f"log {each.experiment.number:04d}", most=LOG_CHARACTERS)
        found += 1
        if found == FAILURES:
            return


def _titles(context: Context) -> Iterator[str]:
    for each in reversed(context.history.concluded()[-TITLES:]):
        if each.verdict.outcome not in ON_BEST:
            yield one_line(context, each)


def _elsewhere(context: Context) -> Iterator[str]:
    """What other programs kept, and the newest of what they did not."""
    imported = context.history.imported()
    kept = [each for each in imported if each.verdict.outcome is Outcome.KEPT_ELSEWHERE][-KEPT_ELSEWHERE:]
    lost = [each for each in imported if each.verdict.outcome is not Outcome.KEPT_ELSEWHERE][-LOST_ELSEWHERE:]
    for each in sorted((*kept, *lost), key=lambda one: one.experiment.number):
        yield one_line(context, each)


def _pending(context: Context) -> Iterator[str]:
    for each in context.pending[-PENDING:]:
        yield describe(each)


def describe(each: Proposal | Experiment) -> str:
    """What is proposed or being trained, in a line."""
    number = f"{each.number:04d} " if isinstance(each, Experiment) else ""
    return f"{number}[{line(each.category, most=24)}, {each.proposer}] {line(each.title, most=100)}"


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")
