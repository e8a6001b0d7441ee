"""Measurements, filed under the tree that was trained: refs/autoresearch/runs, a fan-out of folders, one commit a run.

`ab/<the rest of the tree's oid>/<run>.json`. A filed run is never changed. One fan-out, not two: every folder on the
way is one more object to sync for each run.
"""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import pygit2
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from pygit2.enums import FileMode as GitMode

from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import CurvePoint, Ending, Environment, Measurement, TreeOid
from autoresearchd.incident import Incident
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import new_commit, reading, signature

log = structlog.get_logger()
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.001, 1.0
REMEMBERED = 128
"""Trees whose runs are held whole, with their curves and logs; those of others are read again when they are asked for.

Twice as many as are asked for at a time, where that is more: every step asks for those that are open.
"""
RESULTS = 512
"""Trees whose runs are held without these: more than the proposers look at in one go."""


class _Point(BaseModel):
    model_config = ConfigDict(extra="ignore")
    step: int
    seconds: float
    train_loss: float


class _Filed(BaseModel):
    """The shape of one run's JSON."""

    model_config = ConfigDict(extra="ignore", cache_strings="keys")  # names of runs and trees do not come again
    run: str
    tree: str
    seed: int
    environment: str
    device: str
    ending: Ending
    metrics: dict[str, float]
    curve: tuple[_Point, ...]
    started: float
    train_seconds: float
    wall_seconds: float
    log_tail: str
    why: str
    train_wall_seconds: float | None = None
    audited: bool = False
    incidents: tuple[Incident, ...] = ()


_Folder = tuple[TreeOid, str]
"""A tree, and the oid of the folder of its runs."""


class Runs:
    """The filed measurements of one repository; every call sees what other processes have filed."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self._repo = repo
        # By the folder's own oid, which is another one with every run that is added.
        self._read: dict[_Folder, tuple[Measurement, ...]] = {}
        """The one that was asked for last at the end."""
        self._most = REMEMBERED
        self._lean = lru_cache(RESULTS)(self._load_lean)
        self._head: str | None = None
        self._folders: dict[TreeOid, str | None] = {}
        """The oids of the folders in `_head`, of the trees that were asked for lately."""
        self._damaged: dict[str, str] = {}
        self._repeated: dict[str, tuple[str, dict[_Folder, tuple[Measurement, ...]]]] = {}
        """By shelf, with its oid: what is in its folders of several runs."""

    def record(self, measurement: Measurement) -> None:
        """File a run; to file the same run again changes nothing.

        Crash-safe: objects first, then one compare-and-swap; the next start sees the run whole or not at all.

        Raises: CorruptRecord where something that this program did not write is in the way: it is not written over.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._record(measurement, refs.read(self._repo, refs.RUNS))
            except (StaleRef, RefLocked):
                # Another process filed a run meanwhile: file this one on top of it.
                if pause > LAST_PAUSE_SECONDS:
                    raise
                time.sleep(pause)
                pause *= 1.5
            else:
                return

    def of(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The runs of exactly this tree, oldest first, without those that are damaged.

        Raises: CorruptRecord where the measurements as a whole cannot be read.
        """
        return self.of_each((tree,))[tree]

    def of_each(self, trees: Iterable[TreeOid]) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        """The same of several trees, at one instant. Raises: CorruptRecord as `of`."""
        self._look()
        found = {tree: self._in_folder(tree, self._whole) for tree in trees}
        self._most = max(self._most, 2 * len(found))
        while len(self._read) > self._most:
            del self._read[next(iter(self._read))]
        return found

    def results(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The same as `of`, without logs and with the end of the curves only: cheap to ask for of many trees."""
        self._look()
        return self._in_folder(tree, self._lean)

    def has_finished(self, tree: TreeOid) -> bool:
        """Whether a tree has the evidence that `best` asks for."""
        return any(run.ending is Ending.FINISHED for run in self.of(tree))

    @property
    def damaged(self) -> Mapping[str, str]:
        """What was met that this program did not write, by place, with why: said, left as it is, counted nowhere."""
        return self._damaged

    def repeated(self) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        """The `results` of every tree that has more than one run: what the run-to-run spread is measured from."""
        self._look()
        found: dict[TreeOid, tuple[Measurement, ...]] = {}
        for shelf in _subtrees(self._root()):
            try:
                found |= {tree: runs for (tree, _), runs in self._repeated_on(shelf).items() if len(runs) > 1}
            except CorruptRecord as error:
                self._set_aside(error)
        return found

    def _repeated_on(self, shelf: pygit2.Tree) -> Mapping[_Folder, tuple[Measurement, ...]]:
        """What one of the 256 shelves holds of trees with several runs; looked at again when the shelf has changed."""
        name, oid = str(shelf.name), str(shelf.id)
        before, known = self._repeated.get(name, ("", {}))
        if before != oid:
            with reading(f"{refs.RUNS}:{name}"):
                folders = [(TreeOid(f"{name}{each.name}"), str(each.id)) for each in _subtrees(shelf) if len(each) > 1]
            known = {folder: known[folder] if folder in known else self._load_lean(*folder) for folder in folders}
            self._repeated[name] = oid, known
        return known

    def _look(self) -> None:
        """Notice what other processes have filed."""
        head = refs.read(self._repo, refs.RUNS)
        if head != self._head or len(self._folders) > RESULTS:
            self._head, self._folders = head, {}

    def _in_folder(
        self, tree: TreeOid, load: Callable[[TreeOid, str], tuple[Measurement, ...]]
    ) -> tuple[Measurement, ...]:
        root, (shelf, name) = None if tree in self._folders else self._root(), _parts(tree)
        try:
            if tree not in self._folders:
                folder = _child(_child(root, shelf), name)
                self._folders[tree] = None if folder is None else str(folder.id)
            oid = self._folders[tree]
            return () if oid is None else load(tree, oid)
        except CorruptRecord as error:
            self._set_aside(error)
            return ()

    def _record(self, measurement: Measurement, head: str | None) -> None:
        root = self._tree_at(head)
        parts, name = _parts(measurement.tree), f"{measurement.run}.json"
        chain: list[pygit2.Tree | None] = [root]
        for part in parts:
            chain.append(_child(chain[-1], part))
        if chain[-1] is not None and _at(chain[-1], name.encode()) is not None:
            return
        child, mode = self._repo.create_blob(_dump(measurement)), GitMode.BLOB
        for tree, part in zip(reversed(chain), (name, *reversed(parts)), strict=True):
            builder = self._repo.TreeBuilder() if tree is None else self._repo.TreeBuilder(tree)
            builder.insert(part, child, mode)
            child, mode = builder.write(), GitMode.TREE
        who = signature(measurement.started + measurement.wall_seconds)
        message = f"Record run {measurement.run}\n"
        made = new_commit(self._repo, message, str(child), [head] if head else [], author=who, committer=who)
        if head is None:
            refs.create(self._repo, refs.RUNS, made, why="first run")
        else:
            refs.move(self._repo, refs.RUNS, made, expected=head, why="run")
        if self._head == head:  # nothing else has changed
            self._head = made
            self._folders.pop(measurement.tree, None)

    def _root(self) -> pygit2.Tree | None:
        return self._tree_at(self._head)

    def _tree_at(self, head: str | None) -> pygit2.Tree | None:
        if head is None:
            return None
        with reading(refs.RUNS):
            return self._repo[head].peel(pygit2.Tree)

    def _whole(self, tree: TreeOid, folder: str) -> tuple[Measurement, ...]:
        runs = self._read.pop((tree, folder), None)
        if runs is None:
            runs = self._load(tree, folder)
        self._read[tree, folder] = runs
        return runs

    def _load(self, tree: TreeOid, folder: str) -> tuple[Measurement, ...]:
        with reading(f"{refs.RUNS}:{tree}"):
            blobs = [entry for entry in self._repo[folder].peel(pygit2.Tree) if isinstance(entry, pygit2.Blob)]
        runs = [run for blob in blobs if (run := self._readable(tree, blob)) is not None]
        return tuple(sorted(runs, key=lambda run: (run.started, run.run)))

    def _load_lean(self, tree: TreeOid, folder: str) -> tuple[Measurement, ...]:
        return tuple(replace(run, log_tail="", curve=run.curve[-1:]) for run in self._load(tree, folder))

    def _readable(self, tree: TreeOid, blob: pygit2.Blob) -> Measurement | None:
        try:
            return load(tree, blob)
        except CorruptRecord as error:
            self._set_aside(error)
            return None

    def _set_aside(self, error: CorruptRecord) -> None:
        if error.where not in self._damaged:
            log.error("run_unreadable", path=error.where, why=error.why, then="it is left there and not counted")
            self._damaged[error.where] = error.why


def _parts(tree: TreeOid) -> tuple[str, str]:
    return tree[:2], tree[2:]


def _child(tree: pygit2.Tree | None, name: str) -> pygit2.Tree | None:
    with reading(f"{refs.RUNS}:{name}"):
        entry = None if tree is None else _at(tree, f"{name}/".encode()) or _at(tree, name.encode())
    if entry is not None and not isinstance(entry, pygit2.Tree):
        raise CorruptRecord(f"{refs.RUNS}:{name}", "it is no folder")
    return entry


def _at(tree: pygit2.Tree, name: bytes) -> pygit2.Object | None:
    """The entry with this name, of a folder with a slash, if there is one.

    By place, in git's order: pygit2 1.21 never frees a name that it is asked for, and the loop asks every second.
    """
    at = bisect_left(range(len(tree)), name, key=lambda place: _name(tree[place]))
    return tree[at] if at < len(tree) and _name(tree[at]) == name else None


def _name(entry: pygit2.Object) -> bytes:
    return (entry.raw_name or b"") + (b"/" if isinstance(entry, pygit2.Tree) else b"")


def _subtrees(tree: object) -> Iterator[pygit2.Tree]:
    if isinstance(tree, pygit2.Tree):
        yield from (entry for entry in tree if isinstance(entry, pygit2.Tree))


def _dump(measurement: Measurement) -> bytes:
    # A half of a surrogate pair, from a log or a metric's name, would never be read back.
    return json.dumps(_plain(measurement), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _plain(measurement: Measurement) -> dict[str, Any]:
    return {
        "run": measurement.run,
        "tree": measurement.tree,
        "seed": measurement.seed,
        "environment": measurement.environment,
        "device": measurement.device,
        "ending": measurement.ending.value,
        "metrics": dict(measurement.metrics),
        "curve": [asdict(point) for point in measurement.curve],
        "started": measurement.started,
        "train_seconds": measurement.train_seconds,
        "wall_seconds": measurement.wall_seconds,
        "log_tail": measurement.log_tail,
        "why": measurement.why,
        "audited": measurement.audited,
        **({} if measurement.train_wall_seconds is None else {"train_wall_seconds": measurement.train_wall_seconds}),
        **({"incidents": [asdict(incident) for incident in measurement.incidents]} if measurement.incidents else {}),
    }


def load(tree: TreeOid, blob: pygit2.Blob) -> Measurement:
    """The run in one file, filed under `tree`. Raises: CorruptRecord when it is not what this program writes."""
    where = f"{refs.RUNS}:{tree[:2]}/{tree[2:]}/{blob.name}"
    with reading(where):
        data = blob.data
    try:
        filed = _Filed.model_validate_json(data)
    except ValidationError as error:
        raise CorruptRecord(where, error.errors(include_url=False)[0]["msg"]) from error
    if filed.tree != tree:
        raise CorruptRecord(where, "it is filed under another tree")
    return Measurement(
        run=filed.run,
        tree=tree,
        seed=filed.seed,
        # A lab has few of these, and their names are long.
        environment=Environment(sys.intern(filed.environment)),
        device=sys.intern(filed.device),
        ending=filed.ending,
        metrics=filed.metrics,
        curve=tuple(CurvePoint(step=p.step, seconds=p.seconds, train_loss=p.train_loss) for p in filed.curve),
        started=filed.started,
        train_seconds=filed.train_seconds,
        wall_seconds=filed.wall_seconds,
        train_wall_seconds=filed.train_wall_seconds,
        log_tail=filed.log_tail,
        why=filed.why,
        audited=filed.audited,
        incidents=filed.incidents,
    )
