"""The kept line on another commit of the user's project: replayed change by change, and what keeps the line before.

Decides nothing and moves no `best`. A line is all from its baseline up; what a rebase carried over lies below that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pygit2

from autoresearchd.errors import CorruptRecord, StaleRef
from autoresearchd.experiment import BASELINE_NUMBER, CommitOid, Experiment, Lines, Rebased, TreeOid
from autoresearchd.ledger import refs, trees
from autoresearchd.ledger.repository import new_commit, reading, signature
from autoresearchd.proposal import Change
from autoresearchd.trailers import Record, parse, render, slug

Refuse = Callable[[tuple[Change, ...]], str]
"""Why a change may not be there; empty where it may."""


class Fate(StrEnum):
    """What became of one kept change on the new commit."""

    CARRIED = "carried over"
    THERE = "already there"
    CONFLICT = "conflicts"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One kept change."""

    number: int
    title: str
    fate: Fate
    why: str = ""
    """Where it was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a new line of best is to begin with; nothing refers to its commits yet."""

    rebased: Rebased
    tip: CommitOid
    """What the baseline's commit will lie on: the last change that was carried over, else the user's commit."""
    tree: TreeOid
    onto_tree: TreeOid
    """Of the user's commit alone."""
    changes: tuple[Replayed, ...]

    @property
    def alone(self) -> Course:
        """The same with nothing carried over."""
        rebased = Rebased(old=self.rebased.old, onto=self.rebased.onto)
        return Course(
            rebased=rebased, tip=rebased.onto, tree=self.onto_tree, onto_tree=self.onto_tree, changes=self.changes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    record: Record
    source: CommitOid
    """Its experiment's commit, which has the evidence."""
    before: TreeOid
    after: TreeOid
    made: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of best, from its tip down to the user's commit that it grows on."""

    baseline: int
    onto: CommitOid
    kept: tuple[_Kept, ...]
    """The oldest first, what was carried over among them."""


def line_name(baseline: int) -> str:
    """The branch that keeps the line with this baseline, as people call it."""
    return refs.line_ref(baseline).removeprefix("refs/heads/")


def line_to(repo: pygit2.Repository, tip: CommitOid) -> Line:
    """The line of best that ends at `tip`. Raises: CorruptRecord where it is none."""
    kept, baseline, onto, at = list[_Kept](), -1, None, tip
    while at != onto:
        with reading(at[:10]):
            commit = repo[at].peel(pygit2.Commit)
            parent = commit.parents[0] if commit.parents else None
            before = TreeOid(str(parent.tree_id)) if parent else None
        record = parse(commit.message, where=at[:10])
        if parent is None or before is None:
            raise CorruptRecord(at[:10], "no baseline lies below it")
        if onto is None and (record.rebased is not None or record.number == BASELINE_NUMBER):
            baseline = record.number
            onto = record.rebased.onto if record.rebased else CommitOid(str(parent.id))
        elif before != (after := TreeOid(str(commit.tree_id))):
            source = record.carried_from or at
            made = float(commit.author.time)
            kept.insert(0, _Kept(record=record, source=source, before=before, after=after, made=made))
        at = CommitOid(str(parent.id))
    assert onto is not None
    return Line(baseline=baseline, onto=onto, kept=tuple(kept))


def replay(repo: pygit2.Repository, best: CommitOid, onto: CommitOid, *, refuse: Refuse, now: float) -> Course:
    """Replay the line that ends at `best` on the commit `onto`, change by change, by three-way merge.

    Each keeps its words, and its author's time; its numbers were measured elsewhere and stay with the experiment.
    """
    onto_tree = TreeOid(str(repo[onto].peel(pygit2.Commit).tree_id))
    tip, tree, changes = onto, onto_tree, list[Replayed]()
    for kept in line_to(repo, best).kept:
        merged = trees.merged_tree(repo, kept.before, tree, kept.after)
        fate, why = _fate(repo, tree, merged, refuse)
        record = kept.record
        changes.append(Replayed(number=record.number, title=record.title, fate=fate, why=why))
        if fate is Fate.CARRIED and merged is not None:
            message = render(_carried(kept, trees.lines(repo, tree, merged)))
            tip = _commit(repo, message, merged, tip, kept.made, now)
            tree = merged
    carried = tuple(change.number for change in changes if change.fate is Fate.CARRIED)
    rebased = Rebased(old=best, onto=onto, carried=carried)
    return Course(rebased=rebased, tip=tip, tree=tree, onto_tree=onto_tree, changes=tuple(changes))


def keep_line(repo: pygit2.Repository, tip: CommitOid) -> None:
    """Have a branch of its own hold the line that ends at `tip`; one that was cut off before `best` moved goes along.

    Raises: StaleRef where the branch holds what is not below `tip`.
    """
    ref = refs.line_ref(line_to(repo, tip).baseline)
    held = refs.read(repo, ref)
    if held is None:
        refs.create(repo, ref, tip, why="rebase")
    elif held != tip:
        if not repo.descendant_of(tip, held):
            raise StaleRef(ref, tip, held)
        refs.move(repo, ref, tip, expected=held, why="rebase")


def queue_again(repo: pygit2.Repository, baseline: Experiment, on: CommitOid) -> None:
    """Queue each change of the line before that the new line lacks, and that fits there, as an idea on the commit `on`.

    The names are fixed: whoever was interrupted does it again.
    """
    assert baseline.rebased is not None
    line = line_to(repo, baseline.rebased.old)
    for kept in line.kept:
        record = kept.record
        tree = trees.merged_tree(repo, kept.before, baseline.tree, kept.after)
        if record.number in baseline.rebased.carried or tree is None or tree == baseline.tree:
            continue
        ref = f"{refs.IDEAS}again-{record.number:04d}-{slug(record.title)}"
        if refs.read(repo, ref) is None:
            words = f"It was kept as experiment {record.number:04d} on {line_name(line.baseline)}."
            message = "\n\n".join(part for part in (record.title, record.rationale, words) if part) + "\n"
            refs.create(repo, ref, _commit(repo, message, tree, on, baseline.opened, baseline.opened), why="rebase")


def _fate(repo: pygit2.Repository, tree: TreeOid, merged: TreeOid | None, refuse: Refuse) -> tuple[Fate, str]:
    if merged is None:
        return Fate.CONFLICT, ""
    if merged == tree:
        return Fate.THERE, ""
    why = refuse(trees.changes(repo, tree, merged))
    return (Fate.REFUSED, why) if why else (Fate.CARRIED, "")


def _carried(kept: _Kept, lines: Lines) -> Record:
    record = kept.record
    return Record(
        number=record.number,
        title=record.title,
        rationale=record.rationale,
        proposer=record.proposer,
        category=record.category,
        lines=lines,
        carried_from=kept.source,
    )


def _commit(
    repo: pygit2.Repository, message: str, tree: TreeOid, parent: CommitOid, made: float, now: float
) -> CommitOid:
    return new_commit(repo, message, tree, [parent], author=signature(made), committer=signature(now))


def record(course: Course, number: int, why: str) -> Record:
    """Of the baseline that begins the new line; `why` goes before what became of each change."""
    onto, carried = course.rebased.onto[:10], len(course.rebased.carried)
    several = f"{carried} kept change{'s' if carried > 1 else ''}"
    fates = [(fate, [change for change in course.changes if change.fate is fate]) for fate in Fate]
    said = [f"{fate.value.capitalize()}: {_listed(found)}." for fate, found in fates if found]
    return Record(
        number=number,
        title=f"Rebase {several} onto {onto}" if carried else f"Measure the baseline on {onto}",
        rationale="\n".join([why, *said]).strip(),
        proposer="autoresearchd",
        category="baseline",
        lines=Lines(added=0, removed=0),
        rebased=course.rebased,
    )


def _listed(changes: Sequence[Replayed]) -> str:
    return ", ".join(f"{change.number:04d}" for change in changes)
