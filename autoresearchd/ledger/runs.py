"""Measurements, filed under the tree that was trained: refs/autoresearch/runs, a fan-out of folders, one commit a run.

`ab/<the rest of the tree's oid>/<run>.json`. A filed run is never changed. One fan-out, not two: every folder on the
way is one more object to sync for each run.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import pygit2
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from pygit2.enums import FileMode as GitMode

from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import CurvePoint, Ending, Environment, Measurement, TreeOid
from autoresearchd.incident import Incident
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import reading, signature

log = structlog.get_logger()
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.001, 1.0
MOST_FOLDERS = 10_000
REMEMBERED = 512
"""Trees whose runs are held whole, with their curves and logs; those of others are read again when they are asked for.

More than the proposers look at in one go.
"""


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
    audited: bool = False
    incidents: tuple[Incident, ...] = ()


class Runs:
    """The filed measurements of one repository; every call sees what other processes have filed."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self._repo = repo
        self._read: dict[TreeOid, tuple[str, tuple[Measurement, ...]]] = {}
        """By tree, the one that was asked for last at the end."""
        self._lean: dict[TreeOid, tuple[str, tuple[Measurement, ...]]] = {}
        self._head: str | None = None
        self._folders: dict[TreeOid, pygit2.Tree | None] = {}
        """As they are in `_head`."""
        self._damaged: dict[str, str] = {}
        self._repeats: dict[str, tuple[str, dict[TreeOid, str]]] = {}

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
        folders = self._folders_at(refs.read(self._repo, refs.RUNS))
        return {tree: self._in_folder(tree, folders) for tree in trees}

    def _in_folder(self, tree: TreeOid, folders: dict[TreeOid, pygit2.Tree | None]) -> tuple[Measurement, ...]:
        root, (shelf, name) = None if tree in folders else self._tree_at(self._head), _parts(tree)
        try:
            folder = folders[tree] = folders[tree] if tree in folders else _child(_child(root, shelf), name)
            return () if folder is None else self._measurements(tree, folder)
        except CorruptRecord as error:
            self._set_aside(error)
            return ()

    def has_finished(self, tree: TreeOid) -> bool:
        """Whether a tree has the evidence that `best` asks for."""
        return any(run.ending is Ending.FINISHED for run in self.of(tree))

    @property
    def damaged(self) -> Mapping[str, str]:
        """What was met that this program did not write, by place, with why: said, left as it is, counted nowhere."""
        return self._damaged

    def repeated(self) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        """The runs of every tree that has more than one: what the run-to-run spread is measured from.

        Without their logs, and with the end of their curves only.
        """
        found: dict[TreeOid, tuple[Measurement, ...]] = {}
        for shelf in _subtrees(self._root()):
            try:
                with reading(f"{refs.RUNS}:{shelf.name}"):
                    folders = {tree: self._repo[oid] for tree, oid in self._repeated_on(shelf).items()}
                found |= {tree: self._lean_runs(tree, folder) for tree, folder in folders.items()}
            except CorruptRecord as error:
                self._set_aside(error)
        return {tree: runs for tree, runs in found.items() if len(runs) > 1}

    def _folders_at(self, head: str | None) -> dict[TreeOid, pygit2.Tree | None]:
        """Where the runs of trees are filed, as far as that was asked: every step asks for all open experiments."""
        if head != self._head or len(self._folders) > MOST_FOLDERS:
            self._head, self._folders = head, {}
        return self._folders

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
        commit = str(self._repo.create_commit(None, who, who, message, child, [head] if head else []))
        if head is None:
            refs.create(self._repo, refs.RUNS, commit, why="first run")
        else:
            refs.move(self._repo, refs.RUNS, commit, expected=head, why="run")
        if self._head == head:  # nothing else has changed
            self._head = commit
            self._folders.pop(measurement.tree, None)

    def _root(self) -> pygit2.Tree | None:
        return self._tree_at(refs.read(self._repo, refs.RUNS))

    def _tree_at(self, head: str | None) -> pygit2.Tree | None:
        if head is None:
            return None
        with reading(refs.RUNS):
            return self._repo[head].peel(pygit2.Tree)

    def _measurements(self, tree: TreeOid, folder: pygit2.Object) -> tuple[Measurement, ...]:
        """Cached with the folder's own oid: it changes whenever a run is added."""
        oid = str(folder.id)
        known = self._read.pop(tree, None)
        if known is None or known[0] != oid:
            known = oid, self._load(tree, folder)
        self._read[tree] = known
        if len(self._read) > REMEMBERED:
            del self._read[next(iter(self._read))]
        return known[1]

    def _lean_runs(self, tree: TreeOid, folder: pygit2.Object) -> tuple[Measurement, ...]:
        """Cached the same way; small, so that all of them can be kept."""
        oid = str(folder.id)
        known = self._lean.get(tree)
        if known is None or known[0] != oid:
            runs = self._load(tree, folder)
            known = oid, tuple(replace(run, log_tail="", curve=run.curve[-1:]) for run in runs)
            self._lean[tree] = known
        return known[1]

    def _load(self, tree: TreeOid, folder: pygit2.Object) -> tuple[Measurement, ...]:
        with reading(f"{refs.RUNS}:{tree}"):
            blobs = [entry for entry in folder.peel(pygit2.Tree) if isinstance(entry, pygit2.Blob)]
        runs = [run for blob in blobs if (run := self._readable(tree, blob)) is not None]
        return tuple(sorted(runs, key=lambda run: (run.started, run.run)))

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

    def _repeated_on(self, shelf: pygit2.Tree) -> dict[TreeOid, str]:
        """The folders of one of the 256 shelves that hold several runs; looked at again when the shelf has changed."""
        name, oid = str(shelf.name), str(shelf.id)
        known = self._repeats.get(name)
        if known is None or known[0] != oid:
            folders = {TreeOid(f"{name}{folder.name}"): folder for folder in _subtrees(shelf)}
            known = oid, {tree: str(folder.id) for tree, folder in folders.items() if len(folder) > 1}
            self._repeats[name] = known
        return known[1]


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
        environment=Environment(filed.environment),
        device=filed.device,
        ending=filed.ending,
        metrics=filed.metrics,
        curve=tuple(CurvePoint(step=p.step, seconds=p.seconds, train_loss=p.train_loss) for p in filed.curve),
        started=filed.started,
        train_seconds=filed.train_seconds,
        wall_seconds=filed.wall_seconds,
        log_tail=filed.log_tail,
        why=filed.why,
        audited=filed.audited,
        incidents=filed.incidents,
    )
