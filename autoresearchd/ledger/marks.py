"""What a lab says of itself, in refs of its own so that every clone has it: its format, the newest number given, and
what its numbers were measured by.

Reads and writes these three refs and nothing else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pygit2
import structlog

from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef, UserError
from autoresearchd.experiment import CommitOid
from autoresearchd.ledger import refs, storage
from autoresearchd.ledger.repository import reading, sync
from autoresearchd.trailers import parse

log = structlog.get_logger()
FORMAT = 1
"""Of everything in experiments.git; raised when a release writes what the one before cannot read."""
LONGEST_FORMAT = 16


def format_of(repo: pygit2.Repository) -> int:
    """The format that a lab says it has; 0 where it says none, as those from before there was a number.

    Raises: CorruptRecord where it says something else than a number.
    """
    oid = refs.read(repo, refs.FORMAT)
    if oid is None:
        return 0
    with reading(refs.FORMAT):
        said = repo[oid]
    text = said.data.strip() if isinstance(said, pygit2.Blob) else b""
    if not text.isdigit() or len(text) > LONGEST_FORMAT:
        raise CorruptRecord(refs.FORMAT, f"{text[:LONGEST_FORMAT]!r} is no number of a format")
    return int(text)


def check(repo: pygit2.Repository) -> None:
    """Raises: UserError where a newer program wrote the lab than this one knows how to read, or nobody can know."""
    storage.refuse_torn_refs(Path(repo.path))
    try:
        found = format_of(repo)
    except CorruptRecord as error:
        storage.refuse_packs(Path(repo.path))
        way = f"`git update-ref -d {refs.FORMAT}` in it if this autoresearchd wrote the lab"
        raise UserError(f"{repo.path} does not say its format ({error}): {way}") from error
    if found > FORMAT:
        way = "install the newer autoresearchd that wrote it"
        raise UserError(f"{repo.path} has format {found} and this autoresearchd reads up to {FORMAT}: {way}")


def stamp(repo: pygit2.Repository) -> None:
    """Have the lab say the format of the program that writes it from now on."""
    if format_of(repo) == FORMAT:
        return
    _hold(repo, refs.FORMAT, str(repo.create_blob(f"{FORMAT}\n".encode())), why="format")


def measured(repo: pygit2.Repository) -> Mapping[str, Any]:
    """The settings of program.toml that were noted last as those that all is measured by; empty where none were.

    Raises: CorruptRecord where the ref holds something else.
    """
    oid = refs.read(repo, refs.MEASURED)
    if oid is None:
        return {}
    with reading(refs.MEASURED):
        said = repo[oid]
    try:
        found = json.loads(said.data) if isinstance(said, pygit2.Blob) else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorruptRecord(refs.MEASURED, "these are no settings")
    return found


def note_measured(repo: pygit2.Repository, settings: Mapping[str, Any]) -> None:
    """Have the lab say what all is measured by."""
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    _hold(repo, refs.MEASURED, str(repo.create_blob(text.encode())), why="measured")


def newest(repo: pygit2.Repository) -> int:
    """The highest number that was ever given, as far as it was noted; -1 where none was.

    Raises: CorruptRecord where the ref holds no experiment.
    """
    oid = refs.read(repo, refs.NEWEST)
    return -1 if oid is None else _number(repo, oid)


def note_newest(repo: pygit2.Repository, commit: CommitOid) -> None:
    """Remember a number apart from its branch, so that it is not given again when somebody deletes the branch.

    Written after the branch: death in between leaves no gap, and the next experiment brings it up to date. So does
    the next one where it cannot be written now, or is damaged, which is said and no error.
    """
    try:
        _hold(repo, refs.NEWEST, commit, why="open")
    except (StaleRef, RefLocked, CorruptRecord, OSError) as error:
        log.warning("number_not_noted", commit=commit, why=str(error))


def mend_newest(repo: pygit2.Repository, highest: Sequence[CommitOid]) -> None:
    """Write the newest number anew where the ref holds none: that of `highest`, or of what was packed of it once.

    Nothing is lowered by it: such a ref says no number, and one that was packed before is what deleting its file would
    bring back. A commit that git does not find is left alone: a backup may have it.
    """
    try:
        newest(repo)
    except CorruptRecord as error:
        try:
            _write_anew(repo, highest, str(error))
        except (StaleRef, RefLocked, OSError) as trouble:
            log.warning("number_not_noted", why=str(trouble))


def _write_anew(repo: pygit2.Repository, highest: Sequence[CommitOid], why: str) -> None:
    known = dict[int, CommitOid]()
    for each in (*highest, *_packed(repo)):
        with suppress(CorruptRecord):
            known[_number(repo, each)] = each
    if not known:
        return
    commit = known[max(known)]
    try:
        held = refs.read(repo, refs.NEWEST)
    except CorruptRecord:
        _replace(Path(repo.path, refs.NEWEST), commit)
    else:
        if held is None or held not in repo:
            return
        refs.move(repo, refs.NEWEST, commit, expected=held, why="written anew")
    log.warning("newest_number_written_anew", experiment=max(known), why=why)


def _packed(repo: pygit2.Repository) -> list[CommitOid]:
    """What packed-refs has of the newest number, which a file of its own goes before."""
    try:
        text = Path(repo.path, "packed-refs").read_bytes()
    except FileNotFoundError:
        return []
    line = rb"^([0-9a-f]{40}) " + re.escape(refs.NEWEST.encode()) + rb"$"
    return [CommitOid(oid.decode("ascii")) for oid in re.findall(line, text, re.MULTILINE)]


def _number(repo: pygit2.Repository, commit: CommitOid) -> int:
    """Of an experiment. Raises: CorruptRecord where it is none."""
    with reading(refs.NEWEST):
        return parse(repo[commit].peel(pygit2.Commit).message, where=refs.NEWEST).number


def _replace(file: Path, oid: str) -> None:
    """As git writes a ref, by one rename under its lock; git itself does nothing with a file that holds no oid."""
    lock = Path(f"{file}.lock")
    with lock.open("x") as written:
        try:
            written.write(f"{oid}\n")
            written.flush()
            os.fsync(written.fileno())
            lock.replace(file)
        except BaseException:
            lock.unlink()
            raise
    sync(file.parent)


def _hold(repo: pygit2.Repository, name: str, oid: str, *, why: str) -> None:
    held = refs.read(repo, name)
    if held is None:
        refs.create(repo, name, oid, why=why)
    elif held != oid:
        refs.move(repo, name, oid, expected=held, why=why)
