"""What was turned away out of the inbox, with its words and why: `refs/autoresearch/refused`, an empty commit each.

So that it can be read the next day, and in every clone: `git log refs/autoresearch/refused`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import pygit2
import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import new_commit, reading, signature
from autoresearchd.status import RefusedIdea
from autoresearchd.trailers import line, paragraphs
from autoresearchd.trailers import title as subject_of

log = structlog.get_logger()
NEWEST = 20
"""So many are read."""
_BLOCK = re.compile(r"Idea: (.+)\nRefused: (.*)")


def file(repo: pygit2.Repository, refused: RefusedIdea, words: str) -> bool:
    """Write it down on top of the others, with all that it said; False where the newest says just this already.

    Raises: StaleRef, RefLocked, CorruptRecord.
    """
    subject = subject_of(refused.title or refused.ref.removeprefix(refs.HEADS))
    body = paragraphs(words).removeprefix(subject).strip("\n")
    block = f"Idea: {line(refused.ref)}\nRefused: {line(refused.why)}"
    message = "\n\n".join(part for part in (subject, body, block) if part) + "\n"
    head, who = refs.read(repo, refs.REFUSED), signature(refused.at)
    with reading(refs.REFUSED):
        if head is not None and repo[head].peel(pygit2.Commit).message == message:
            return False
        empty = str(repo.TreeBuilder().write())
        made = new_commit(repo, message, empty, [head] if head else [], author=who, committer=who)
    if head is None:
        refs.create(repo, refs.REFUSED, str(made), why="refuse")
    else:
        refs.move(repo, refs.REFUSED, str(made), expected=head, why="refuse")
    return True


def newest(repo: pygit2.Repository) -> tuple[RefusedIdea, ...]:
    """The last ones, the newest at the end; what somebody else wrote there is left out.

    Empty where git cannot read them, which is logged: nothing is decided by them.
    """
    try:
        head = refs.read(repo, refs.REFUSED)
        if head is None:
            return ()
        with reading(refs.REFUSED):
            return tuple(islice(_said(repo, head), NEWEST))[::-1]
    except CorruptRecord as error:
        log.warning("refused_ideas_unreadable", why=str(error))
        return ()


def _said(repo: pygit2.Repository, head: str) -> Iterator[RefusedIdea]:
    for commit in repo.walk(head):
        said, _, block = commit.message.rstrip("\n").rpartition("\n\n")
        if (found := _BLOCK.fullmatch(block)) is not None:
            title = said.partition("\n")[0]
            yield RefusedIdea(ref=found[1], title=title, why=found[2], at=float(commit.commit_time))
