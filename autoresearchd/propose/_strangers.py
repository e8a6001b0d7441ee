"""What is not taken from strangers - a model, an agent of the user's own - before it gets a number. Pure.

Paths are the judge's business, who is asked; what is in a file, and names that only some file systems tell apart, are
looked at here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from autoresearchd.proposal import Change, Edit, FileMode
from autoresearchd.propose._protocol import Context

MOST_BYTES = 400_000
"""Of one file."""


def changes(files: Mapping[str, bytes], edits: Iterable[Edit]) -> tuple[Change, ...]:
    """The same edits by their modes only; a file that is there stays as executable as it is."""
    return tuple(
        Change(
            path=edit.path,
            before=FileMode.REGULAR if edit.path in files else None,
            after=None if edit.content is None else edit.mode or FileMode.REGULAR,
        )
        for edit in edits
    )


def refusal(context: Context, edits: Sequence[Edit]) -> str:
    """Why these edits of best are not taken, in words that help who made them; empty where they are."""
    if why := context.refuse(changes(context.files, edits)):
        return why
    unfit = (_unfit(edit, context.files.get(edit.path)) for edit in edits)
    return next(filter(None, unfit), "") or _twins(context.files, edits) or _clash(context.files, edits)


def _unfit(edit: Edit, before: bytes | None) -> str:
    """Why nobody wants such a content."""
    path, after, old = repr(edit.path), edit.content, before or b""
    if after is None:
        return ""
    if len(after) > MOST_BYTES:
        return f"{path} would have {len(after)} bytes, more than {MOST_BYTES}"
    if b"\0" in after or (_is_text(old) and not _is_text(after)):
        return f"{path} would be binary, experiments change text only"
    if b"\r" in after and b"\r" not in old:
        return f"{path} would have carriage returns: its lines end with a line feed alone"
    if old.strip() and not after.strip():
        return f"{path} would be left empty: change what is in it"
    return ""


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _twins(files: Mapping[str, bytes], edits: Iterable[Edit]) -> str:
    """Why a new name is too much like another: a Mac or Windows would have one file of the two."""
    gone = {edit.path for edit in edits if edit.content is None}
    there = {_folded(path): path for path in files if path not in gone}
    for edit in edits:
        if edit.content is None:
            continue
        other = there.setdefault(_folded(edit.path), edit.path)
        if other != edit.path:
            return f"{edit.path!r} and {other!r} are one file where case or the form of letters does not count"
    return ""


def _clash(files: Mapping[str, bytes], edits: Iterable[Edit]) -> str:
    """Why a file cannot be where it is wanted: another one is in the place of its folder, or a folder in its own."""
    gone, new = ({edit.path for edit in edits if (edit.content is None) is removed} for removed in (True, False))
    there = (files.keys() - gone) | new
    for path in sorted(there):
        for folder in map(str, PurePosixPath(path).parents):
            if folder in there and not new.isdisjoint((path, folder)):
                return f"{path!r} and {folder!r} cannot both be: one would be the folder of the other"
    return ""


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
