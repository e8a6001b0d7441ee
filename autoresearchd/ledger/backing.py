"""What the line of best must have, step by step, and the way back to where it has it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from autoresearchd.experiment import ON_BEST, CommitOid, Outcome
from autoresearchd.ledger import refs
from autoresearchd.ledger.evidence import disagreements, is_measured
from autoresearchd.ledger.observed import Branch, Commit, Facts
from autoresearchd.trailers import slug

ANY_BACKUP = "bring it back from a backup: `git fetch {how}BACKUP {refs}` in experiments.git"
RUNS_BACK = "`autoresearchd backup --runs-back BACKUP` files again what a backup has of the runs"
"""No fetch does: the line of runs here has grown on, and what was filed since would be lost by one that is forced."""


def of_step(step: Commit, by_number: Mapping[int, Branch], facts: Facts) -> Iterator[str]:
    """What is wrong with one commit on best."""
    if step.record is None:
        if step.oid not in facts.lost:
            yield f"{step.oid[:10]} is on best and cannot be read: {step.why}"
        return
    name, branch = f"{step.record.number:04d}", by_number.get(step.record.number)
    yield from (f"{name} is {what}" for what in _of_verdict(step))
    if not facts.has_lost_runs:
        yield from (f"{name} {what}" for what in _of_runs(step, facts))
    if branch is None:
        yield f"{name} is on best and has no branch"
    elif branch.commit.oid != step.oid and branch.commit.oid not in facts.lost:
        waits = _is_landed(branch.commit, step)
        yield f"{name} is on best and its branch " + ("is not settled yet" if waits else "holds something else")


def _of_verdict(step: Commit) -> Iterator[str]:
    if outcome(step) not in ON_BEST:
        yield "on best without a verdict that moves it"
    if len(step.parents) > 1:
        yield "a merge: best is not linear"


def _of_runs(step: Commit, facts: Facts) -> Iterator[str]:
    if not is_measured(step, facts):
        yield "is on best without a finished run of its tree"
    else:
        yield from disagreements(step, facts)


def is_sound(step: Commit, facts: Facts) -> bool:
    """Whether best may rest on what a commit says and the runs that are filed."""
    return step.record is not None and not any(_of_verdict(step)) and not any(_of_runs(step, facts))


def way_out_of(step: Commit, by_number: Mapping[int, Branch], facts: Facts) -> str:
    """Of what is wrong with one commit on best."""
    if step.is_unreadable:
        return "`git fsck` names its file where that is damaged, which goes first; then " + backup(
            step.oid, "--refetch "
        )
    branch = None if step.record is None else by_number.get(step.record.number)
    if branch is not None and branch.commit.oid != step.oid:
        if _is_landed(branch.commit, step):
            return "the next `autoresearchd run` settles it"
        if is_sound(step, facts) and not is_sound(branch.commit, facts):
            return f"`git update-ref {branch.ref} {step.oid}` in experiments.git: it is what has the evidence"
    if step.record is not None and branch is None and outcome(step) in ON_BEST:
        ref = refs.experiment_ref(step.record.number, slug(step.record.title))
        return f"`git update-ref {ref} {step.oid}` in experiments.git"
    if branch is not None and branch.commit.oid != step.oid and _is_built_upon(step, facts):
        return replaced(branch.ref)
    if branch is not None and branch.commit.oid == step.oid and not any(_of_verdict(step)):
        return f"{RUNS_BACK}; where none has it, {back_to_evidence(facts)}"
    return back_to_evidence(facts)


def _is_built_upon(step: Commit, facts: Facts) -> bool:
    """Whether what was kept later was made on it: then it is what best held, and its branch was altered."""
    return any(step.oid in branch.commit.parents for branch in facts.branches if outcome(branch.commit) in ON_BEST)


def back_to_evidence(facts: Facts) -> str:
    """Best moved back below its first step that is not backed, or to the tip of what was kept where it has no line."""
    tip = _tip(facts)
    if tip is None:
        return replaced(refs.BEST)
    return f"`git update-ref {refs.BEST} {tip.oid}` in experiments.git goes back to what is backed"


def _tip(facts: Facts) -> Commit | None:
    """Where the line of best ends by the evidence: from its baseline up as far as each step is backed.

    Best itself says where the line goes; where it ends early, the branches that were kept on it go on.
    """
    by_number, tip = {branch.number: branch for branch in facts.branches}, None
    for step in reversed(facts.best.commits) if facts.best is not None and facts.best.is_rooted else ():
        if not _is_backed(step, by_number, facts):
            break
        tip = step
    kept = [branch.commit for branch in facts.branches if _is_backed(branch.commit, by_number, facts)]
    if tip is None:
        tip = next((commit for commit in reversed(kept) if outcome(commit) is Outcome.BASELINE), None)
    above = {commit.parents[0]: commit for commit in kept if outcome(commit) is Outcome.KEEP and commit.parents}
    while tip is not None and tip.oid in above:
        tip = above.pop(tip.oid)
    return tip


def ahead_of_best(facts: Facts) -> frozenset[CommitOid]:
    """What lies above a best that is backed: best was there, and was moved back."""
    steps, by_number = facts.best.commits if facts.best else (), {branch.number: branch for branch in facts.branches}
    if not all(_is_backed(step, by_number, facts) for step in steps):
        return frozenset()
    held, by_oid = {step.oid for step in steps}, {branch.commit.oid: branch.commit for branch in facts.branches}
    found, at = set[CommitOid](), _tip(facts)
    while at is not None and at.oid not in held | found:
        found.add(at.oid)
        at = by_oid.get(at.parents[0]) if at.parents else None
    return frozenset(found)


def _is_backed(step: Commit, by_number: Mapping[int, Branch], facts: Facts) -> bool:
    """Whether best may be moved to a commit; a branch that is gone or not settled yet takes nothing from it."""
    if step.record is None or not is_sound(step, facts):
        return False
    branch = by_number.get(step.record.number)
    return branch is None or branch.commit.oid == step.oid or _is_landed(branch.commit, step)


def _is_landed(branch: Commit, step: Commit) -> bool:
    """Whether a branch only waits to be moved to the conclusion that best holds."""
    return branch.record is not None and branch.record.verdict is None and branch[1:3] == step[1:3]


def outcome(commit: Commit) -> Outcome | None:
    """What its verdict says, if it has one."""
    verdict = None if commit.record is None else commit.record.verdict
    return None if verdict is None else verdict.outcome


def replaced(ref: str) -> str:
    """The way out where a ref is there and holds what is wrong."""
    return backup(f"+{ref}:{ref}")


def branch_back(number: int) -> str:
    """The way out where the branch of one experiment is gone."""
    return backup(f"'{refs.EXPERIMENTS}{number:04d}-*:{refs.EXPERIMENTS}{number:04d}-*'")


def filed_again(path: str, blob: str) -> str:
    """The way out where a run was altered or taken away, and the history of the runs has what it was."""
    return _refiled(f"printf '100644 {blob}\\t%s\\0' {shlex.quote(path)} | git update-index -z --index-info")


def taken_out(path: str) -> str:
    """The way out where something lies among the runs that never was one."""
    return _refiled(f"git --work-tree=. --literal-pathspecs rm -rq --cached -- {shlex.quote(path)}")


def _refiled(change: str) -> str:
    """A commit on top of the runs, with one change of their files."""
    who = "-c user.name=me -c user.email=me@localhost"
    made = f"$(git {who} commit-tree -m Mend -p $was $(git write-tree))"
    steps = f"git read-tree $was && {change} && git update-ref {refs.RUNS} {made} $was"
    return f"`(was=$(git rev-parse {refs.RUNS}); export GIT_INDEX_FILE=mend.index; {steps}; rm -f mend.index)`"


def backup(what: str, how: str = "") -> str:
    """The way out where only a copy has what is missing."""
    return ANY_BACKUP.format(refs=what, how=how)
