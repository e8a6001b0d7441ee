"""What must be true of every experiments.git: facts in, findings out. Pure; `facts` reads them, `fsck` says them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from itertools import chain, takewhile

from autoresearchd.experiment import BASELINE_NUMBER, ON_BEST, Ending, Outcome
from autoresearchd.ledger import refs
from autoresearchd.ledger.backing import (
    RUNS_BACK,
    back_to_evidence,
    backup,
    branch_back,
    filed_again,
    of_step,
    outcome,
    replaced,
    taken_out,
    way_out_of,
)
from autoresearchd.ledger.claims import of_branches, of_numbers, on_lines
from autoresearchd.ledger.evidence import disagreements
from autoresearchd.ledger.observed import Facts, Finding, Lost

WRITTEN_ANEW = "the next `autoresearchd run` writes it anew"
PROMOTED_BACK = (
    f"`git update-ref -d {refs.PROMOTED}` in experiments.git lets go of it, and where a backup has one, "
    + replaced(refs.PROMOTED)
)
OURS = frozenset(
    {
        refs.BEST,
        refs.PROMOTED,
        refs.CLIMBING,
        refs.NOTES,
        refs.RUNS,
        refs.REFUSED,
        refs.FORMAT,
        refs.NEWEST,
        refs.MEASURED,
    }
)


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Everything that is wrong; of damaged storage that alone, as most else would only follow from it."""
    return tuple(facts.storage) or tuple(
        chain(
            _of_git(facts),
            _of_names(facts),
            _of_best(facts),
            _of_lines_before(facts),
            _of_carried(facts),
            _of_promoted(facts),
            of_branches(facts),
            of_numbers(facts),
            _of_evidence(facts),
            _of_runs(facts),
        )
    )


def way_back(facts: Facts) -> str:
    """What is wrong with a best that nobody may go on from, and how it is moved back, in one sentence."""
    found = sorted(_of_best(facts), key=lambda finding: f" {refs.BEST}" not in finding.mend)
    why = found[0] if found else Finding(what="best holds no line of kept steps", mend="see `autoresearchd fsck`")
    return f"{why.what}; {why.mend}"


def _of_git(facts: Facts) -> Iterator[Finding]:
    for name in facts.damaged:
        by_hand = f"`rm {_for_a_shell(name)}` in experiments.git, and look again: git can do nothing with it"
        mend = WRITTEN_ANEW if name == refs.NEWEST else by_hand
        yield Finding(what=f"the file of {refs.shown(name)} is damaged", mend=mend)
    for oid, lost in facts.lost.items():
        yield _of_lost(oid, lost, facts)
    for line in facts.git:
        yield Finding(what=f"git itself complains: {line}", mend=backup("'refs/*:refs/backup/*'"))
    for lock in facts.stale_locks:
        yield Finding(
            what=f"{lock} was left by a process that died, and blocks every later write there",
            mend=f"the next `autoresearchd run` removes it, or `rm {shlex.quote(lock)}` in experiments.git",
        )


def _of_lost(oid: str, lost: Lost, facts: Facts) -> Finding:
    """All that git says of one object is one finding."""
    whose = [f"{branch.number:04d}" for branch in facts.branches if branch.commit.oid == oid]
    names = f"{' and '.join(whose)} cannot be read: " if whose else ""
    # Also what a commit that is here should have brought along; no ref is moved by it.
    fetch = backup(oid, "--refetch ")
    if not lost.file:
        return Finding(what=f"{names}object {oid} is missing", mend=fetch)
    first = f"`rm -f {shlex.quote(lost.file)}` in experiments.git, as git takes no other in its place; then "
    return Finding(what=f"{names}object {oid} is damaged", mend=first + fetch)


def _of_names(facts: Facts) -> Iterator[Finding]:
    for name in facts.names:
        if what := _of_name(name):
            mend = f"`git update-ref -d {_for_a_shell(name)}` in experiments.git"
            yield Finding(what=f"{refs.shown(name)} {what}", mend=mend)
    if facts.newest_why and refs.NEWEST not in facts.damaged:
        yield Finding(what=f"the newest number cannot be read: {facts.newest_why}", mend=WRITTEN_ANEW)


def _of_name(name: str) -> str:
    if not refs.is_readable(name):
        return "has a name that is not UTF-8: it is left alone"
    if name in OURS or name.startswith((refs.IDEAS, refs.LINES)) or refs.number_of(name) is not None:
        return ""
    return "is no name of an experiment" if name.startswith(refs.EXPERIMENTS) else "does not belong in a lab"


def _for_a_shell(name: str) -> str:
    """A ref's name, which has no backslash of its own."""
    escaped = refs.shown(name).replace("'", r"\'")
    return shlex.quote(name) if refs.is_readable(name) else f"$'{escaped}'"


def _of_best(facts: Facts) -> Iterator[Finding]:
    by_number = {branch.number: branch for branch in facts.branches}
    if facts.best is None:
        yield Finding(what=f"{refs.BEST} is missing", mend=back_to_evidence(facts))
        return
    if BASELINE_NUMBER not in by_number and facts.branches:
        what = f"{BASELINE_NUMBER:04d} is missing: nobody knows where the line of best begins"
        yield Finding(what=what, mend=branch_back(BASELINE_NUMBER))
        return
    steps = facts.best.commits
    if not facts.best.is_rooted and not (steps and steps[-1].is_unreadable):
        what = f"best does not grow out of the imported project's {(facts.imported or '')[:10]}"
        yield Finding(what=what, mend=back_to_evidence(facts))
        steps = tuple(takewhile(lambda step: step.record is not None, steps))
    for step in steps:
        for what in of_step(step, by_number, facts):
            yield Finding(what=what, mend=way_out_of(step, by_number, facts))


def _of_lines_before(facts: Facts) -> Iterator[Finding]:
    """What was best once has its evidence for ever; and no rebase has let go of the line that it ended."""
    by_number = {branch.number: branch for branch in facts.branches}
    for ref, line in facts.before.items():
        if not line.is_rooted:
            yield Finding(what=f"{ref} begins with no baseline", mend=replaced(ref))
            continue
        for step in line.commits:
            for what in of_step(step, by_number, facts):
                yield Finding(what=what.replace(" on best", f" on {ref}"), mend=replaced(ref))
    held, before = on_lines(facts), BASELINE_NUMBER
    for branch in facts.branches:
        if outcome(branch.commit) is not Outcome.BASELINE:
            continue
        rebased = branch.commit.record.rebased if branch.commit.record else None
        if rebased is not None and rebased.old not in held:
            way = f"`git update-ref {refs.line_ref(before)} {rebased.old}` in experiments.git"
            yield Finding(what=f"the line before {branch.number:04d} has no branch", mend=way)
        before = branch.number


def _of_carried(facts: Facts) -> Iterator[Finding]:
    """Below the baseline of a rebase lie the changes that it says, and nothing else, down to the user's commit."""
    for branch in facts.branches:
        line, record = facts.carried.get(branch.number), branch.commit.record
        if line is None or record is None or record.rebased is None:
            continue
        found = tuple(step.record.number if step.record else -1 for step in reversed(line.commits))
        if not line.is_rooted or found != record.rebased.carried:
            what = f"below {branch.number:04d} lie other commits than those that it carried over"
            yield Finding(what=what, mend=replaced(branch.ref))


def _of_promoted(facts: Facts) -> Iterator[Finding]:
    """The same findings at larger scales: a line of its own from the imported commit, of what was kept."""
    line = facts.promoted
    if line is None:
        return
    if not line.is_rooted:
        what = f"promoted does not grow out of the imported project's {(facts.imported or '')[:10]}"
        yield Finding(what=what, mend=PROMOTED_BACK)
        return
    kept = {branch.number for branch in facts.branches if outcome(branch.commit) in ON_BEST}
    for step in line.commits:
        if len(step.parents) > 1:
            yield Finding(what=f"{step.oid[:10]} on promoted is a merge", mend=PROMOTED_BACK)
        if step.record is None or step.record.number not in kept:
            what = f"{step.oid[:10]} on promoted is no experiment that was kept"
            yield Finding(what=what, mend=PROMOTED_BACK)
        elif outcome(step) is Outcome.KEEP and not step.scales:
            what = f"{step.record.number:04d} is on promoted, and no trailer says what was measured on a larger scale"
            yield Finding(what=what, mend=PROMOTED_BACK)
    tip = line.commits[0] if line.commits else None
    runs = () if tip is None or tip.tree is None else facts.runs.get(tip.tree, ())
    if tip is not None and not any(run.ending is Ending.FINISHED for run in runs):
        what = f"{tip.oid[:10]}, the newest on promoted, has no finished run of its tree"
        yield Finding(what=what, mend=f"{RUNS_BACK}; where none has it, {replaced(refs.PROMOTED)}")


def _of_evidence(facts: Facts) -> Iterator[Finding]:
    """Whether the trailers of each conclusion agree with the runs of its tree; of those on best it is said there."""
    if facts.has_lost_runs:
        return
    said = {step.oid for step in facts.best.commits} if facts.best is not None else set()
    for branch in facts.branches:
        commit = branch.commit
        if commit.oid in said or commit.record is None:
            continue
        for what in disagreements(commit, facts):
            mend = f"{RUNS_BACK}; where it is the commit that was altered, {replaced(branch.ref)}"
            yield Finding(what=f"{commit.record.number:04d} {what}", mend=mend)


def _of_runs(facts: Facts) -> Iterator[Finding]:
    for path, blob in facts.altered.items():
        place = f"{refs.RUNS}:{path}"
        now = f" is no run: {facts.unreadable[place]}; it" if place in facts.unreadable else ""
        mend = f"{filed_again(path, blob)} in experiments.git files it again as it was"
        yield Finding(what=f"{place}{now} was altered or taken away after it was filed", mend=mend)
    for place, why in facts.unreadable.items():
        path = place.partition(":")[2]
        if facts.is_lost(why) or path in facts.altered:
            continue
        mend = f"it is counted nowhere; {taken_out(path)} in experiments.git takes it out"
        yield Finding(what=f"{place} is no run: {why}", mend=mend)
    filed = [run for runs in facts.runs.values() for run in runs]
    for run in filed:
        if not run.path.endswith(f"/{run.run}.json"):
            mend = "it is counted as what it says; `git log -p refs/autoresearch/runs` has who put it there"
            yield Finding(what=f"{refs.RUNS}:{run.path} holds the run {run.run}", mend=mend)
    for name, times in Counter(run.run for run in filed).items():
        if times > 1:
            mend = "look at `git log -p refs/autoresearch/runs` for the one that was copied"
            yield Finding(what=f"the run {name} is filed {times} times", mend=mend)
