"""One experiments.git as plain values: what `facts` reads, `invariants` looks at, and `fsck` says. Does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autoresearchd.experiment import CommitOid, Ending, TreeOid
from autoresearchd.trailers import Record


class Commit(NamedTuple):
    """A commit as it was found: its record, or why it has none."""

    oid: CommitOid
    tree: TreeOid | None = None
    parents: tuple[CommitOid, ...] = ()
    record: Record | None = None
    why: str = ""
    scales: tuple[str, ...] = ()
    """The rungs of which its trailers say what was measured."""
    on: TreeOid | None = None
    """The tree that a kept one was compared with."""

    @property
    def trees(self) -> tuple[TreeOid, ...]:
        """Whose runs it rests on: its own, and those that it was compared with."""
        return tuple(tree for tree in (self.tree, self.on) if tree is not None)

    @property
    def is_unreadable(self) -> bool:
        """Git has no such commit: nobody knows what it says, or what lies below it."""
        return self.tree is None


class Branch(NamedTuple):
    """An experiment's branch."""

    ref: str
    number: int
    commit: Commit


class Filed(NamedTuple):
    """One measurement in the line of runs, without what takes room."""

    path: str
    run: str
    seed: int
    environment: str
    ending: Ending
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The commits from a branch down to the baseline that its line begins with, newest first."""

    commits: tuple[Commit, ...]
    is_rooted: bool
    """Whether it does come from one, or from the imported commit."""


class Lost(NamedTuple):
    """An object that git cannot read."""

    file: str = ""
    """Where its damaged file is; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be, in a sentence, and the way out."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One experiments.git at one instant."""

    storage: Sequence[Finding] = ()
    """Files that git reads all else through and that are damaged: nothing else is known then."""
    names: Sequence[str] = ()
    """Every ref that git can read."""
    damaged: Sequence[str] = ()
    """Those whose own files hold no object's name."""
    best: Line | None = None
    """None where the ref is missing."""
    imported: CommitOid | None = None
    """The commit that the first baseline was made on; None where there is no baseline."""
    before: Mapping[str, Line] = field(default_factory=dict)
    """The lines that a rebase ended, by the refs that keep them."""
    carried: Mapping[int, Line] = field(default_factory=dict)
    """By the number of the baseline of a rebase: the commits below it, down to the user's own."""
    promoted: Line | None = None
    branches: Sequence[Branch] = ()
    runs: Mapping[TreeOid, Sequence[Filed]] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    """The settings that all is measured by, as far as the lab noted them."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Places in the line of runs that hold something else than a run, with why."""
    altered: Mapping[str, str] = field(default_factory=dict)
    """By its path, the blob of each run that was filed once and is there no more as it was."""
    newest: int = -1
    """The highest number that was ever given, as the lab noted it."""
    newest_why: str = ""
    """Why that cannot be read."""
    stale_locks: Sequence[str] = ()
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """By their names, those that `git fsck --strict` cannot read."""
    git: Sequence[str] = ()
    """What else it complains of."""

    def is_lost(self, why: str) -> bool:
        """Whether something cannot be read for an object of these, by the words that git has for it."""
        return any(oid in why for oid in self.lost)

    @property
    def has_lost_runs(self) -> bool:
        """Whether runs cannot be read for such an object: whose, nobody can tell."""
        return any(map(self.is_lost, self.unreadable.values()))
