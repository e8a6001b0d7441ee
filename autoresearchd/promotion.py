"""The values of promotion: what is known of the ladder at one instant, and what it can want. Pure; `ladder` decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import CommitOid, Environment, Measurement, TreeOid
from autoresearchd.judge import Rules, Spread
from autoresearchd.standing import Standing

Commits = tuple[CommitOid, ...]
"""Some of what waits, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One rung: what its runs count for, and what they are judged by."""

    name: str
    environment: Environment
    rules: Rules
    spread: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What is known about promotion at one instant."""

    levels: tuple[Level, ...]
    """Above the first, in order."""
    now: float
    """Unix time."""
    tip: CommitOid | None
    """The newest commit of `promoted`, or the baseline; None where it is gone or not ours: a look begins it."""
    base: TreeOid
    """The tree of `promoted`."""
    baseline: TreeOid
    line: Commits
    """Kept and not promoted."""
    climbing: CommitOid | None
    """The newest of those that are looked at now; what is kept later waits until they are through."""
    standings: Mapping[CommitOid, Sequence[Standing]]
    """Newest last."""
    numbers: Mapping[CommitOid, int]
    """Of the kept experiments, promoted or not."""
    promoted: tuple[int, ...] = ()
    stack: Callable[[Commits], TreeOid | None]
    """The base with these commits replayed on it; None where one of them conflicts. The same for ever."""
    runs: Callable[[TreeOid, Environment], Sequence[Measurement]]
    """The comparable runs of a tree, oldest first."""
    trouble: str = ""
    """Why nothing of it could be written a moment ago; promotion rests, and the lab goes on."""
    share: float = 0.0
    """Of the devices' training time of this session that went to these rungs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run on a rung that promotion waits for."""

    tree: TreeOid
    seed: int
    scale: str
    commits: Commits
    """What the tree is the stack of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """None of these waits for another."""

    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """Look at what was kept, as far as this commit."""

    tip: CommitOid


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Write down what is known now."""

    standings: Mapping[CommitOid, Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """All of these hold on every rung: let `promoted` have them."""

    commits: Commits
    onto: CommitOid
    """The newest commit of `promoted` as it was judged."""
    evidence: Mapping[CommitOid, Mapping[str, str]]
    """Of each, by rung: `val_bpb=0.981000 (Δ -0.012000 +-0.001000, n=24; in one stack with 0003)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """What was promoted does not train on a rung: nothing can be compared there."""

    scale: str
    why: str


Move = Runs | Climb | Note | Promotion | Blocked
Writing = Climb | Note | Promotion
"""Those that the ledger carries out."""
