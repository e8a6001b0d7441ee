"""Every experiment, typed and read incrementally: a light index of all, the full records only of those looked at.

Read-only. The index of 100 000 experiments is built from one stream of git's own; later only changed refs are read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import pygit2
import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import ON_BEST, CommitOid, Concluded, Experiment, RefName, TreeOid
from autoresearchd.ledger import index, marks, refs
from autoresearchd.ledger.index import Entry, Index
from autoresearchd.ledger.repository import GitFailed, raw_commits, reading
from autoresearchd.trailers import parse, slug

log = structlog.get_logger()
BULK = 64
"""From this many commits on one `git cat-file` is faster than asking libgit2 one at a time."""
REMEMBERED = 64
"""So many of the newest records are held, and those of all that is open, which every step asks for; others are read
again when they are asked for, 40 µs each. Proposers read all of them once a proposal.
"""


class History:
    """The experiments of one repository as of the last `refresh`."""

    def __init__(self, repo: pygit2.Repository, path: Path) -> None:
        self._repo, self._path = repo, path
        self._listing = refs.Listing(path, refs.EXPERIMENTS)
        self._index = Index()
        self._claimed = -1
        self._records: dict[int, Experiment | Concluded] = {}
        self._trees: dict[CommitOid, TreeOid] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at what other processes have changed since the last call."""
        self._claimed = max(self._claimed, self._marked())
        try:
            self._take_in(self._listing.changes(self._index.refs))
        except BaseException:
            self._listing.note()  # the next look is at all of them: some of these were not taken in
            raise

    def _take_in(self, changes: Mapping[RefName, CommitOid | None]) -> None:
        wanted: list[tuple[int, RefName, CommitOid]] = []
        for ref, commit in changes.items():
            number, _ = refs.number_of(ref), self._index.aside.pop(ref, None)
            if commit is None:
                self._forget(number, ref)
            elif number is None:
                log.warning("ref_not_ours", ref=refs.shown(ref))
                self._index.aside[ref] = commit
            elif (known := self._index.get(number)) is None or known.ref == ref:
                wanted.append((number, ref, commit))
            else:
                log.warning("number_claimed_twice", experiment=number, ref=ref, first=known.ref)
                self._index.aside[ref] = commit
        wanted.sort()
        for (number, ref, commit), raw in zip(wanted, self._raw([commit for _, _, commit in wanted]), strict=True):
            self._claimed = max(self._claimed, number)
            try:
                self._file(index.entry(number, ref, commit, raw))
            except CorruptRecord as error:
                self._index.aside[ref] = commit
                self._set_aside(number, error)

    def note(self, number: int, ref: RefName, commit: CommitOid) -> Experiment | Concluded:
        """Take in a ref that this process has just written, and give its record."""
        self._claimed = max(self._claimed, number)
        self._listing.note()
        entry = index.entry(number, ref, commit, self._repo[commit].read_raw())
        self._file(entry)
        return self._parse(entry)

    @property
    def next_number(self) -> int:
        return self._claimed + 1

    @property
    def baseline(self) -> int:
        """The newest baseline with a verdict: best's line begins with it."""
        return self._index.baseline

    def entries(self) -> Sequence[Entry]:
        """The index, by number."""
        return self._index.entries()

    def find(self, number: int) -> Experiment | Concluded | None:
        """The experiment with this number.

        Raises: CorruptRecord when its commit is not what this program writes.
        """
        entry = self._index.get(number)
        return None if entry is None else self._record(entry)

    def opened(self) -> tuple[Experiment, ...]:
        """The experiments without a verdict, by number."""
        found = [self._readable(number) for number in self._index.opened]
        return tuple(record for record in found if isinstance(record, Experiment))

    def concluded(self) -> Sequence[Concluded]:
        """The experiments with a verdict, by number; each is read when it is first looked at."""
        return _Lazy(self, tuple(self._index.concluded))

    def imported(self) -> Sequence[Concluded]:
        """The same of other programs' experiments, which are never among ours."""
        return _Lazy(self, tuple(self._index.imported))

    def read(self, number: int) -> Concluded:
        """A concluded experiment. Raises: CorruptRecord when it cannot be read, or its branch was deleted."""
        entry = self._index.get(number)
        if entry is None:
            raise CorruptRecord(f"experiment {number}", "its branch is gone")
        record = self._record(entry)
        if not isinstance(record, Concluded):
            raise CorruptRecord(entry.ref, "it has no verdict any more")
        return record

    def tree_of(self, commit: CommitOid) -> TreeOid:
        """The tree of any commit, the parents of experiments above all."""
        if commit not in self._trees:
            self._trees[commit] = TreeOid(str(self._repo[commit].peel(pygit2.Commit).tree_id))
        return self._trees[commit]

    def number_at(self, commit: CommitOid) -> int | None:
        """The experiment that a commit is, or concludes: same number, tree and parent as its branch holds.

        None for a commit of the imported project; its message may well be a finding's, cherry-picked from another lab.
        """
        made = self._commit(commit)
        try:
            number = parse(made.message).number
            known = self.find(number)
        except CorruptRecord:
            return None  # not written by this program, or not ours to trust
        if known is None:
            return None
        experiment = known.experiment if isinstance(known, Concluded) else known
        same = [str(parent) for parent in made.parent_ids] == [experiment.parent]
        return number if same and str(made.tree_id) == experiment.tree else None

    def step_at(self, commit: CommitOid) -> Concluded | None:
        """What a commit of best's line says of itself, its branch there or not; None where it is the user's.

        Raises: CorruptRecord where there is no such commit.
        """
        made = self._commit(commit)
        try:
            record = parse(made.message)
            known = self._index.get(record.number)
            if known is not None and known.commit == commit:
                found = self._record(known)
            elif record.number > self._claimed or (known is not None and self.number_at(commit) is None):
                return None  # a finding of another lab
            else:
                ref = refs.experiment_ref(record.number, slug(record.title))
                found = self._parse(index.entry(record.number, known.ref if known else ref, commit, made.read_raw()))
        except CorruptRecord:
            return None  # not written by this program, or not ours to trust
        return found if isinstance(found, Concluded) and found.verdict.outcome in ON_BEST else None

    def _commit(self, oid: CommitOid) -> pygit2.Commit:
        with reading(oid[:10]):
            return self._repo[oid].peel(pygit2.Commit)

    def _raw(self, commits: Sequence[CommitOid]) -> Iterator[bytes]:
        """The bytes of each; none where it cannot be read."""
        read = 0
        if len(commits) >= BULK:
            try:
                for raw in raw_commits(self._path, commits):
                    read += 1
                    yield raw
            except GitFailed as error:
                log.warning("bulk_reading_failed", why=str(error), then="one at a time")
        for commit in commits[read:]:
            try:
                yield self._repo[commit].peel(pygit2.Commit).read_raw()
            except (KeyError, ValueError, pygit2.GitError) as error:
                log.error("commit_unreadable", commit=commit, why=repr(error))  # noqa: TRY400 - said, not raised
                yield b""

    def _marked(self) -> int:
        """The newest number, should its branch be gone by now."""
        try:
            return marks.newest(self._repo)
        except CorruptRecord as error:
            log.error("newest_number_unreadable", why=str(error))  # noqa: TRY400 - said, not raised
            return -1

    def _file(self, entry: Entry) -> None:
        self._records.pop(entry.number, None)
        self._index.file(entry)
        past = self._index.get(entry.number - REMEMBERED)
        if past is not None and past.outcome is not None:
            self._records.pop(past.number, None)

    def _forget(self, number: int | None, ref: RefName) -> None:
        entry = None if number is None else self._index.get(number)
        if entry is None or entry.ref != ref:
            return
        log.warning("experiment_deleted", experiment=entry.number, ref=ref)
        self._index.forget(entry.number)
        self._records.pop(entry.number, None)

    def _readable(self, number: int) -> Experiment | Concluded | None:
        try:
            return self._record(self._index[number])
        except CorruptRecord as error:
            self._set_aside(number, error)
            return None

    def _set_aside(self, number: int, error: CorruptRecord) -> None:
        """Open or not, nothing is done with it, and the others go on."""
        log.error("record_unreadable", experiment=number, why=str(error))
        self._index.set_aside(number)

    def _record(self, entry: Entry) -> Experiment | Concluded:
        record = self._records.get(entry.number)
        if record is None:
            record = self._parse(entry)
            if entry.outcome is None or entry.number > self._claimed - REMEMBERED:
                self._records[entry.number] = record
        return record

    def _parse(self, entry: Entry) -> Experiment | Concluded:
        with reading(entry.ref):
            commit = self._repo[entry.commit].peel(pygit2.Commit)
            # Interned: a best has many children.
            parents = [CommitOid(sys.intern(str(parent))) for parent in commit.parent_ids]
            parent_trees = [self.tree_of(parent) for parent in parents]
        record = parse(commit.message, where=entry.ref)
        if len(parents) != 1 or record.number != entry.number:
            raise CorruptRecord(entry.ref, "it is not one commit of this experiment on top of a best")
        experiment = Experiment(
            number=entry.number,
            slug=entry.ref.partition("-")[2] or slug(record.title),
            ref=entry.ref,
            commit=entry.commit,
            tree=entry.tree,
            parent=parents[0],
            parent_tree=parent_trees[0],
            title=record.title,
            rationale=record.rationale,
            category=record.category,
            proposer=record.proposer,
            lines=record.lines,
            opened=float(commit.author.time),
            reason=record.reason,
            wish=record.wish,
            cost_usd=record.cost_usd,
            alone=record.alone,
            fix_attempts=record.fix_attempts,
            imported=record.imported,
            rebased=record.rebased,
        )
        return experiment if record.verdict is None else Concluded(experiment=experiment, verdict=record.verdict)


class _Lazy(Sequence[Concluded]):
    """A fixed list of experiments. A damaged one raises CorruptRecord when it is asked for by place.

    Whoever goes through the list gets the others: one damaged record must not hide a night's work.
    """

    __slots__ = ("_history", "_numbers")

    def __init__(self, history: History, numbers: tuple[int, ...]) -> None:
        self._history, self._numbers = history, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Concluded: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Concluded]: ...
    def __getitem__(self, at: int | slice) -> Concluded | Sequence[Concluded]:
        if isinstance(at, slice):
            return _Lazy(self._history, self._numbers[at])
        return self._history.read(self._numbers[at])

    def __iter__(self) -> Iterator[Concluded]:
        return self._readable(self._numbers)

    def __reversed__(self) -> Iterator[Concluded]:
        return self._readable(reversed(self._numbers))

    def _readable(self, numbers: Iterable[int]) -> Iterator[Concluded]:
        for number in numbers:
            try:
                yield self._history.read(number)
            except CorruptRecord as error:
                log.error("record_unreadable", experiment=number, why=str(error))  # noqa: TRY400 - said, not raised
