"""Near-misses and the line of best, read from history: what measured better, and what was kept since.

Reads only. An experiment belongs to the line by its tree, so that a replay on a newer best is found as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from autoresearchd.experiment import (
    ABLATE,
    NULL,
    ON_BEST,
    Concluded,
    Direction,
    Environment,
    Experiment,
    Outcome,
    TreeOid,
)
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.standing import Standing

UNPROVEN = frozenset({Outcome.DISCARD, Outcome.INCONCLUSIVE})


def gain(line: Concluded, direction: Direction) -> float | None:
    """By how much it was measured better than its parent, in the metric's unit; None without two numbers."""
    new, old = line.verdict.metric, line.verdict.baseline
    return None if new is None or old is None else direction.gain(new, old)


def is_near_miss(verdict: str, gain: float | None, *, category: str, proposer: str) -> bool:
    """Whether a change measured better and was not kept: it may well be chance, and only more runs would tell.

    Not of changes of nothing, nor of what was tried to learn what something is worth.
    """
    return verdict in UNPROVEN and gain is not None and gain > 0 and category != NULL and proposer != ABLATE


def near_misses(context: Context) -> list[tuple[Concluded, float]]:
    """What measured better and is not on best, with its gain, oldest first."""
    direction, found = context.program.metric.direction, []
    for line in context.history.concluded():
        by, own = gain(line, direction), line.experiment
        near = is_near_miss(line.verdict.outcome, by, category=own.category, proposer=own.proposer)
        if near and by is not None:
            found.append((line, by))
    return found


def line_of_best(context: Context) -> tuple[Concluded, ...]:
    """The steps that lead to best, newest first, the baseline last."""
    # From the newest: so nothing is held for it where nobody else goes through all.
    steps = dict[TreeOid, Concluded]()
    for line in reversed(context.history.concluded()):
        if line.verdict.outcome in ON_BEST:
            steps.setdefault(line.experiment.tree, line)
    path: list[Concluded] = []
    tree: TreeOid = context.best_tree
    while (step := steps.pop(tree, None)) is not None:
        path.append(step)
        tree = step.experiment.parent_tree
    return tuple(path)


def leading(context: Context) -> Environment | None:
    """The environment that best is led in: runs at larger rungs and on other machines differ by other amounts."""
    newest = (line.verdict for line in reversed(context.history.concluded()) if line.verdict.outcome in ON_BEST)
    return next((verdict.environment for verdict in newest), None)


def fallen(context: Context) -> Mapping[int, tuple[Standing, ...]]:
    """Kept experiments that do not hold on some larger rung, by number, with what was measured there."""
    found = {}
    for line in context.history.concluded():
        newest = {each.scale: each for each in context.history.standings().get(line.experiment.commit, ())}
        if lost := tuple(each for each in newest.values() if not each.holds):
            found[line.experiment.number] = lost
    return found


def since_last(context: Context, is_one: Callable[[Proposal | Experiment], bool]) -> int:
    """Experiments that are newer than the last such one, or than the baseline; those that wait included."""
    count = 0
    for pending in context.pending:
        if is_one(pending):
            return 0
        count += 1
    for concluded in reversed(context.history.concluded()):
        if is_one(concluded.experiment) or concluded.experiment.is_baseline:
            return count
        count += 1
    return count


def with_code(context: Context) -> tuple[Concluded, ...]:
    """What another program tried and whose files are known: not to be tried by ourselves."""
    return tuple(line for line in context.history.imported() if not line.experiment.is_lost)


def keeps_since(line: Sequence[Concluded], tree: TreeOid) -> tuple[Concluded, ...]:
    """The steps of the line of best that came after this tree, newest first; all of them if it is not on the line."""
    for index, step in enumerate(line):
        if step.experiment.tree == tree:
            return tuple(line[:index])
    return tuple(line)


def with_edits(files: Mapping[str, bytes], edits: Sequence[Edit]) -> dict[str, bytes]:
    """The editable files as they are after the edits."""
    after = dict(files)
    for edit in edits:
        if edit.content is None:
            after.pop(edit.path, None)
        else:
            after[edit.path] = edit.content
    return after


def short(text: str, limit: int = 60) -> str:
    """The first line of a title, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def tried(context: Context, proposer: str) -> list[Experiment | Proposal]:
    """Everything that a proposer ever had tried or has waiting."""
    past = [line.experiment for line in context.history.concluded() if line.experiment.proposer == proposer]
    return [*past, *(waiting for waiting in context.pending if waiting.proposer == proposer)]
