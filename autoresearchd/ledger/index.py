"""The index of a lab's experiments, held as bytes: a daemon lives for weeks, and of each it keeps this for ever."""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import BASELINE_NUMBER, CommitOid, Outcome, RefName, TreeOid
from autoresearchd.ledger import refs

log = structlog.get_logger()
_ROW = struct.Struct("20s20sb?")
"""Commit, tree, place of the outcome, whether it was imported; the branch's name without its prefix follows."""
_OPEN = -1
_ORDER = tuple(Outcome)
_OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}
_TREE = re.compile(rb"tree ([0-9a-f]{40})\n")


class Entry(NamedTuple):
    """One experiment; `outcome` is None while it is open. A tuple: 100 000 are made at every start."""

    number: int
    ref: RefName
    commit: CommitOid
    tree: TreeOid
    outcome: Outcome | None
    is_imported: bool = False


class Index:
    """Every experiment by its number, and which of them are open, concluded here, or another program's."""

    def __init__(self) -> None:
        self._rows: dict[int, bytes] = {}
        self._concluded: list[int] = []
        self._imported: list[int] = []
        self._open: set[int] = set()
        self.aside: dict[str, CommitOid] = {}
        """By name, refs that are no experiment here: not ours, a number's second, or nothing that can be read."""
        self.baseline = BASELINE_NUMBER
        """The newest one that has its verdict: best's line begins with it."""

    def __getitem__(self, number: int) -> Entry:
        return _unpacked(number, self._rows[number])

    def get(self, number: int) -> Entry | None:
        """The entry with this number, if there is one."""
        return self[number] if number in self._rows else None

    def entries(self) -> Sequence[Entry]:
        """All of them, by number."""
        return [self[number] for number in sorted(self._rows)]

    @property
    def refs(self) -> Mapping[str, CommitOid]:
        """What each branch holds, by its name; those that were left aside too."""
        return _Refs(self._rows, self.aside)

    @property
    def opened(self) -> Sequence[int]:
        """The numbers without a verdict, lowest first."""
        return sorted(self._open)

    @property
    def concluded(self) -> Sequence[int]:
        """The numbers with a verdict of ours, lowest first."""
        return self._concluded

    @property
    def imported(self) -> Sequence[int]:
        """Those of other programs, lowest first."""
        return self._imported

    def file(self, entry: Entry) -> None:
        """Add an entry, or what has become of one."""
        if entry.number in self._rows:
            self.forget(entry.number)
        self._rows[entry.number] = _packed(entry)
        if entry.outcome is Outcome.BASELINE:
            self.baseline = max(self.baseline, entry.number)
        if entry.outcome is None:
            self._open.add(entry.number)
        else:
            insort(self._imported if entry.is_imported else self._concluded, entry.number)

    def set_aside(self, number: int) -> None:
        """Leave an open one that cannot be read out of those that are open."""
        self._open.discard(number)

    def forget(self, number: int) -> None:
        """Remove one: its branch is gone, or holds something else."""
        del self._rows[number]
        self._open.discard(number)
        for numbers in (self._concluded, self._imported):
            at = bisect_left(numbers, number)
            if at < len(numbers) and numbers[at] == number:
                del numbers[at]


class _Refs(Mapping[str, CommitOid]):
    """The rows of an index by the names of their branches, which are not held twice."""

    def __init__(self, rows: Mapping[int, bytes], aside: Mapping[str, CommitOid]) -> None:
        self._rows, self._aside = rows, aside

    def __getitem__(self, ref: str) -> CommitOid:
        if ref in self._aside:
            return self._aside[ref]
        number = refs.number_of(ref)
        row = None if number is None else self._rows.get(number)
        if row is None or row[_ROW.size :] != _tail(ref):
            raise KeyError(ref)
        return CommitOid(row[:20].hex())

    def __iter__(self) -> Iterator[str]:
        yield from self._aside
        yield from (name for row in self._rows.values() if (name := _name(row)) not in self._aside)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def entry(number: int, ref: RefName, commit: CommitOid, raw: bytes) -> Entry:
    """What a commit's bytes say: only its tree and the verdict's word are read, as this runs for all at every start.

    Raises: CorruptRecord where they are no commit's.
    """
    tree = _TREE.match(raw)
    if tree is None:
        raise CorruptRecord(ref, "its commit names no tree")
    at, block = raw.rfind(b"\nVerdict: "), raw.rstrip(b"\n").rfind(b"\n\n")
    outcome = None
    if at > block:
        word = raw[at + 10 : raw.find(b"\n", at + 1)]
        outcome = _OUTCOMES.get(word)
        if outcome is None:
            log.error("verdict_unknown", ref=ref, word=word.decode("ascii", "replace"))
    is_imported = raw.rfind(b"\nImported: ") > block
    return Entry(number, ref, commit, TreeOid(tree[1].decode("ascii")), outcome, is_imported)


def _packed(made: Entry) -> bytes:
    outcome = _OPEN if made.outcome is None else _ORDER.index(made.outcome)
    oids = bytes.fromhex(made.commit), bytes.fromhex(made.tree)
    return _ROW.pack(*oids, outcome, made.is_imported) + _tail(made.ref)


def _unpacked(number: int, row: bytes) -> Entry:
    commit, tree, outcome, is_imported = _ROW.unpack_from(row)
    return Entry(
        number,
        _name(row),
        CommitOid(commit.hex()),
        TreeOid(tree.hex()),
        None if outcome == _OPEN else _ORDER[outcome],
        is_imported,
    )


def _tail(ref: str) -> bytes:
    return ref.removeprefix(refs.EXPERIMENTS).encode("ascii")


def _name(row: bytes) -> RefName:
    return RefName(refs.EXPERIMENTS + row[_ROW.size :].decode("ascii"))
