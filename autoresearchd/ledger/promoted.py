"""What promotion writes: the branch `promoted`, what is known of each kept commit as notes, and how far it looks.

Decides nothing. Each of its three refs moves by compare-and-swap, and only here; `promoted` fast-forward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pygit2
import structlog
from pygit2.enums import FileMode as GitMode

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import CommitOid, Environment, TreeOid
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import new_commit, reading, signature, written
from autoresearchd.ledger.trees import merged_tree
from autoresearchd.standing import Standing
from autoresearchd.trailers import Record, line, parse

log = structlog.get_logger()
KEY = "Scale-"
"""How the trailers begin that say what was measured on a rung."""
MOST_STACKS = 4096
"""So many trees of stacks are remembered: a look asks for some hundreds, and a daemon looks for weeks."""
_WORDS = {True: "holds", False: "does not hold"}
_NOTE = re.compile(rf"{KEY}([A-Za-z0-9-]+): (holds|does not hold): (.*) \[(\S+)\]")
_TRAILER = re.compile(rf"^{KEY}([A-Za-z0-9-]+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where promotion is."""

    promoted: CommitOid | None
    """None before the first look."""
    tip: CommitOid | None
    """The newest commit of best that is looked at."""


class Promoted:
    """The promotion of one repository; every call sees what other processes have written."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self._repo = repo
        self._read: tuple[str, Mapping[CommitOid, tuple[Standing, ...]]] | None = None
        self._base: TreeOid | None = None
        self._stacks: dict[tuple[TreeOid, tuple[CommitOid, ...]], TreeOid | None] = {}
        self._records: dict[CommitOid, Record] = {}
        self._line: tuple[CommitOid, CommitOid, tuple[CommitOid, ...] | None] | None = None

    def place(self) -> Place:
        """Where promotion is now."""
        return Place(promoted=refs.read(self._repo, refs.PROMOTED), tip=refs.read(self._repo, refs.CLIMBING))

    @written
    def look(self, tip: CommitOid, *, baseline: CommitOid) -> None:
        """Look at what was kept as far as `tip`; `promoted` begins at the baseline.

        One that does not grow out of it, from before a rebase or somebody else's, stays as `line/promoted-…`.

        Crash-safe order: `promoted`, then how far it looks; death in between leaves a `promoted` that holds nothing.
        """
        place = self.place()
        if place.promoted is None:
            refs.create(self._repo, refs.PROMOTED, baseline, why="baseline")
        elif self.line(baseline) is None:
            aside = f"{refs.LINES}promoted-{place.promoted[:10]}"
            if refs.read(self._repo, aside) is None:
                refs.create(self._repo, aside, place.promoted, why="rebase")
            log.warning("promoted_set_aside", ref=aside, why="it does not grow out of the baseline")
            refs.move(self._repo, refs.PROMOTED, baseline, expected=place.promoted, why="rebase")
        if place.tip is None:
            refs.create(self._repo, refs.CLIMBING, tip, why="climb")
        else:
            refs.move(self._repo, refs.CLIMBING, tip, expected=place.tip, why="climb")

    @written
    def note(self, standings: Mapping[CommitOid, Standing], *, now: float) -> None:
        """Add what is known of some commits; what was known before stays above it."""
        head = refs.read(self._repo, refs.NOTES)
        builder = self._repo.TreeBuilder() if head is None else self._repo.TreeBuilder(self._tree_at(head))
        known = self.standings()
        for commit, standing in standings.items():
            text = "".join(f"{_line(each)}\n" for each in (*known.get(commit, ()), standing))
            builder.insert(commit, self._repo.create_blob(text.encode()), GitMode.BLOB)
        who, tree = signature(now), builder.write()
        words = f"Note what holds on {', '.join(sorted({standing.scale for standing in standings.values()}))}\n"
        made = new_commit(self._repo, words, str(tree), [head] if head else [], author=who, committer=who)
        if head is None:
            refs.create(self._repo, refs.NOTES, made, why="note")
        else:
            refs.move(self._repo, refs.NOTES, made, expected=head, why="note")

    def standings(self) -> Mapping[CommitOid, tuple[Standing, ...]]:
        """What is known of each commit, newest last; what somebody else wrote there is left out."""
        head = refs.read(self._repo, refs.NOTES)
        if head is None:
            return {}
        if self._read is None or self._read[0] != head:
            with reading(refs.NOTES):
                blobs = [entry for entry in self._tree_at(head) if isinstance(entry, pygit2.Blob)]
            found = {CommitOid(blob.name or ""): tuple(_standings(blob.data)) for blob in blobs}
            self._read = head, {commit: standings for commit, standings in found.items() if standings}
        return self._read[1]

    @written
    def promote(
        self,
        commits: Sequence[CommitOid],
        trailers: Mapping[CommitOid, Mapping[str, str]],
        *,
        onto: CommitOid,
        now: float,
    ) -> CommitOid:
        """Replay commits on `onto`, each with more trailers, and let `promoted` move on from there; the new tip.

        Crash-safe: the commits, then one compare-and-swap. Raises: StaleRef where `promoted` is no more at `onto`,
        CorruptRecord where one of them conflicts with it: then it is not what was judged.
        """
        tip = self._commit(onto)
        for oid in commits:
            picked, who = self._commit(oid), signature(now)
            tree = merged_tree(self._repo, _tree(picked.parents[0]), _tree(tip), _tree(picked))
            if tree is None:
                raise CorruptRecord(oid[:10], "it conflicts with what is promoted")
            added = "".join(f"{key}: {line(value)}\n" for key, value in trailers[oid].items())
            message = f"{picked.message.rstrip()}\n{added}"
            made = new_commit(self._repo, message, tree, [str(tip.id)], author=picked.author, committer=who)
            tip = self._commit(made)
        refs.move(self._repo, refs.PROMOTED, str(tip.id), expected=onto, why=f"promote {len(commits)}")
        return CommitOid(str(tip.id))

    def line(self, baseline: CommitOid) -> tuple[CommitOid, ...] | None:
        """The commits of `promoted` above the baseline, oldest first; None where it is no line of ours from there."""
        tip = refs.read(self._repo, refs.PROMOTED)
        if tip is None:
            return None
        if self._line is None or self._line[:2] != (tip, baseline):
            self._line = tip, baseline, self._walk(tip, baseline)
        return self._line[2]

    def _walk(self, tip: CommitOid, baseline: CommitOid) -> tuple[CommitOid, ...] | None:
        found, at = list[CommitOid](), tip
        while at != baseline:
            try:
                self.record(at)
                parent = self._commit(at).parent_ids[0]
            except (CorruptRecord, IndexError):
                return None
            found.append(at)
            at = CommitOid(str(parent))
        return tuple(reversed(found))

    def record(self, commit: CommitOid) -> Record:
        """What the message of a promoted commit says. Raises: CorruptRecord."""
        if commit not in self._records:
            self._records[commit] = parse(self._commit(commit).message, where=commit[:10])
        return self._records[commit]

    def scales(self, commit: CommitOid) -> Mapping[str, str]:
        """What the trailers of a promoted commit say was measured, by rung."""
        return measured(self._commit(commit).message)

    def tree(self, commit: CommitOid) -> TreeOid:
        """The tree of a promoted commit."""
        return _tree(self._commit(commit))

    @written
    def stack(self, base: TreeOid, commits: tuple[CommitOid, ...]) -> TreeOid | None:
        """A tree with the changes of these commits replayed on it, in this order; None where one conflicts."""
        if not commits:
            return base
        # What was merged onto another base is not asked for again; of one base there are ever more.
        if base != self._base or len(self._stacks) >= MOST_STACKS:
            self._stacks.clear()
            self._base = base
        if (base, commits) not in self._stacks:
            below, commit = self.stack(base, commits[:-1]), self._commit(commits[-1])
            self._stacks[base, commits] = (
                None if below is None else merged_tree(self._repo, _tree(commit.parents[0]), below, _tree(commit))
            )
        return self._stacks[base, commits]

    @written
    def remake(self, base: TreeOid, commits: tuple[CommitOid, ...]) -> None:
        """Write the trees of a stack again: no ref holds them, so `git gc` may have taken them since."""
        for count in range(1, len(commits) + 1):
            self._stacks.pop((base, commits[:count]), None)
        self.stack(base, commits)

    def _commit(self, oid: CommitOid) -> pygit2.Commit:
        with reading(oid[:10]):
            return self._repo[oid].peel(pygit2.Commit)

    def _tree_at(self, head: str) -> pygit2.Tree:
        return self._repo[head].peel(pygit2.Tree)


def measured(message: str) -> Mapping[str, str]:
    """What the trailers of a promoted commit say, by rung."""
    block = message.rstrip("\n").rpartition("\n\n")[2]
    return dict(_TRAILER.findall(block))


def _line(standing: Standing) -> str:
    evidence = line(standing.evidence)
    return f"{KEY}{standing.scale}: {_WORDS[standing.holds]}: {evidence} [{standing.environment}]"


def _standings(data: bytes) -> list[Standing]:
    found = (_NOTE.fullmatch(text) for text in data.decode("utf-8", "replace").split("\n"))
    return [
        Standing(scale=m[1], holds=m[2] == _WORDS[True], evidence=m[3], environment=Environment(m[4]))
        for m in found
        if m is not None
    ]


def _tree(commit: pygit2.Commit) -> TreeOid:
    return TreeOid(str(commit.tree_id))
