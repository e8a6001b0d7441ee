"""The inbox: branches `idea/*`, pushed by people or made from their patches, as proposals. All of it is untrusted."""

from __future__ import annotations

import email.parser
import email.policy
import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pygit2
import structlog

from autoresearchd.errors import UnfilablePath, UserError
from autoresearchd.experiment import PERSON, CommitOid, RefName, TreeOid
from autoresearchd.ledger import refs, trees
from autoresearchd.ledger.rebase import Refuse
from autoresearchd.ledger.repository import GitFailed, git, new_commit, signature
from autoresearchd.proposal import Proposal, Wish
from autoresearchd.trailers import LONGEST_RATIONALE, paragraphs, slug

log = structlog.get_logger()
NOTHING = "it changes nothing in best"
_NOT_WRITTEN = re.compile(r"unable to (write|create)|insufficient permission")
_TAG = re.compile(r"^\[PATCH[^\]]*\]\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """One branch of the inbox: a proposal, a wish, or why it is neither."""

    ref: RefName
    oid: CommitOid
    proposal: Proposal | None = None
    wish: Wish | None = None
    why: str = ""

    @property
    def title(self) -> str:
        """Untrusted; empty where it can be neither."""
        return self.proposal.title if self.proposal else self.wish.title if self.wish else ""

    @property
    def words(self) -> str:
        """All that it says: a wish, or the hypothesis of a change. Untrusted."""
        return self.proposal.rationale if self.proposal else self.wish.words if self.wish else ""


class Inbox:
    """The ideas of one repository; each branch is read once, when it first appears or moves."""

    def __init__(self, repo: pygit2.Repository, path: Path) -> None:
        self._repo, self._path = repo, path
        self._listing = refs.Listing(path, refs.IDEAS)
        self._lines = refs.Listing(path, refs.LINES)
        self._tips: dict[str, CommitOid] = {}
        self._held: dict[str, CommitOid] = {}
        self._ideas: dict[RefName, Idea] = {}

    def ideas(self, best: CommitOid) -> tuple[Idea, ...]:
        """What waits now, by name; a new idea becomes a proposal on top of `best`."""
        for ref, oid in self._listing.changes(self._held).items():
            if oid is None:
                self._forget(ref)
                continue
            self._held[ref] = oid
            if not refs.is_readable(ref):
                log.warning("idea_unreadable", ref=refs.shown(ref), why="its name is not UTF-8")
            else:
                self._ideas[ref] = self._read(ref, oid, best)
        return tuple(self._ideas[ref] for ref in sorted(self._ideas))

    def drop(self, idea: Idea) -> None:
        """Delete the branch unless it has moved meanwhile. Raises: StaleRef, RefLocked."""
        refs.remove(self._repo, idea.ref, expected=idea.oid)
        self._forget(idea.ref)

    def _forget(self, ref: RefName) -> None:
        self._held.pop(ref, None)
        self._ideas.pop(ref, None)

    def submit_patch(self, patch: bytes, *, title: str, best: CommitOid, refuse: Refuse, now: float) -> RefName:
        """Queue a patch against best; a mail's subject is its title.

        Raises: UserError when it does not apply, or `refuse` says why it would never be trained.
        """
        subject = _subject(patch) or title
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            git(self._path, "read-tree", best, environment=index)
            try:
                git(self._path, "apply", "--cached", "--3way", "-", given=patch, environment=index)
            except GitFailed as error:
                if _NOT_WRITTEN.search(error.why):  # that is not the patch's
                    raise
                raise UserError(f"the patch does not apply to best ({error.why}); make it against `best`") from error
            tree = git(self._path, "write-tree", environment=index).decode().strip()
        who = signature(now)
        made = new_commit(self._repo, f"{subject}\n", tree, [best], author=who, committer=who)
        return self.submit(made, name=subject, best=best, refuse=refuse, why="patch")

    def submit(self, commit: CommitOid, *, name: str, best: CommitOid, refuse: Refuse, why: str) -> RefName:
        """Queue a commit that is here. Raises: UserError where `refuse` says why it would never be trained."""
        ref = new_idea(name)
        idea = self._read(ref, commit, best)
        if idea.proposal is not None and (wrong := self._wrong(idea.proposal, refuse)):
            raise UserError(f"it would be rejected before any training: {wrong}; leave that out")
        refs.create(self._repo, ref, commit, why=why)
        return ref

    def _wrong(self, proposal: Proposal, refuse: Refuse) -> str:
        before = TreeOid(str(self._repo[proposal.parent].peel(pygit2.Tree).id))
        try:
            return refuse(trees.changes(self._repo, before, trees.file_edits(self._repo, before, proposal.edits)))
        except UnfilablePath as error:
            return str(error)

    def submit_wish(self, words: str, *, best: CommitOid, now: float) -> RefName:
        """Queue what a person wants tried, in words: an empty commit on best whose message they are.

        Raises: UserError when there are none, or too many.
        """
        if len(words) > LONGEST_RATIONALE:
            raise UserError(f"a wish of {len(words)} characters is too long: at most {LONGEST_RATIONALE}")
        if not (message := paragraphs(words)):
            raise UserError("a wish needs words: say what should be tried")
        who = signature(now)
        tree = str(self._repo[best].peel(pygit2.Commit).tree_id)
        made = new_commit(self._repo, f"{message}\n", tree, [best], author=who, committer=who)
        ref = new_idea(message.partition("\n")[0])
        refs.create(self._repo, ref, made, why="wish")
        return ref

    def _read(self, ref: RefName, oid: CommitOid, best: CommitOid) -> Idea:
        try:
            return self._proposal(ref, oid, best)
        except (KeyError, ValueError, pygit2.GitError) as error:
            return Idea(ref=ref, oid=oid, why=f"git cannot read it: {error}")

    def _proposal(self, ref: RefName, oid: CommitOid, best: CommitOid) -> Idea:
        tip = self._repo[oid].peel(pygit2.Commit)
        base = self._base(oid, best)
        if base is None:
            return Idea(ref=ref, oid=oid, why="it shares no history with best")
        trunk = TreeOid(str(self._repo[base].peel(pygit2.Tree).id))
        ours = TreeOid(str(self._repo[best].peel(pygit2.Tree).id))
        edits = trees.merge(self._repo, trunk, ours, TreeOid(str(tip.tree_id)))
        if edits is None:
            return Idea(ref=ref, oid=oid, why="it conflicts with best")
        if not edits:
            return _wished(ref, oid, tip) if str(base) != oid else Idea(ref=ref, oid=oid, why=NOTHING)
        subject, _, body = tip.message.strip().partition("\n")
        proposal = Proposal(
            parent=best,
            edits=edits,
            title=subject or ref.removeprefix(refs.IDEAS),
            rationale=body.strip(),
            category="idea",
            proposer=PERSON,
            reason=f"queued as {ref.removeprefix(refs.HEADS)}",
        )
        return Idea(ref=ref, oid=oid, proposal=proposal)

    def _base(self, oid: CommitOid, best: CommitOid) -> pygit2.Oid | None:
        """What an idea was made from: where it left best, or a line that was best before a rebase."""
        self._tips.update({ref: tip for ref, tip in self._lines.changes(self._tips).items() if tip is not None})
        found = None
        for tip in (best, *self._tips.values()):
            base = self._repo.merge_base(oid, tip)
            if base is not None and (found is None or self._repo.descendant_of(base, found)):
                found = base
        return found


def _wished(ref: RefName, oid: CommitOid, tip: pygit2.Commit) -> Idea:
    """The words of an empty commit; what has a change that best holds already is no wish."""
    words = tip.message.strip()
    if [parent.tree_id for parent in tip.parents] != [tip.tree_id] or not paragraphs(words):
        return Idea(ref=ref, oid=oid, why=NOTHING)
    if len(words) > LONGEST_RATIONALE:
        return Idea(ref=ref, oid=oid, why=f"its words are {len(words)} characters, more than {LONGEST_RATIONALE}")
    return Idea(ref=ref, oid=oid, wish=Wish(oid=oid, name=ref.removeprefix(refs.HEADS), words=paragraphs(words)))


def _subject(patch: bytes) -> str:
    """The subject of a mail as `git format-patch` writes it, folded and encoded as it may be; empty for a bare diff."""
    headers = email.parser.BytesHeaderParser(policy=email.policy.default).parsebytes(patch)
    return _TAG.sub("", str(headers.get("Subject", ""))).strip()


def new_idea(title: str) -> RefName:
    """A free name in the inbox."""
    return RefName(f"{refs.IDEAS}{slug(title)}-{secrets.token_hex(3)}")
