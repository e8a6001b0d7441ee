"""What must be true of the experiments' branches: one commit each, of its own number, on what best has held. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from itertools import groupby

from autoresearchd.experiment import BASELINE_NUMBER, ON_BEST, CommitOid, Outcome
from autoresearchd.ledger import refs
from autoresearchd.ledger.backing import ahead_of_best, back_to_evidence, backup, branch_back, outcome, replaced
from autoresearchd.ledger.observed import Branch, Commit, Facts, Finding


def of_branches(facts: Facts) -> Iterator[Finding]:
    """Each experiment: one commit of its own number on a commit that best has held; what was kept is on best."""
    is_known = facts.best is not None and facts.best.is_rooted and facts.imported is not None
    line, ahead = (on_lines(facts), ahead_of_best(facts)) if is_known else (None, frozenset[CommitOid]())
    adopted = {branch.commit.oid for branch in facts.branches if _is_imported(branch.commit)}
    found = [(branch, tuple(_of_branch(branch, facts, line, adopted, ahead))) for branch in facts.branches]
    sound = {branch.number for branch, wrong in found if not wrong}
    for branch, wrong in found:
        for what in wrong:
            is_double = branch.number in sound and not _may_be_kept(branch)
            yield Finding(what=what, mend=_way_out_of(branch, facts, ahead, is_double=is_double))


def _way_out_of(branch: Branch, facts: Facts, ahead: Set[CommitOid], *, is_double: bool) -> str:
    """Of what is wrong with one branch; `is_double`: another one claims its number, and nothing is wrong with that."""
    if branch.commit.oid in ahead:
        return f"{back_to_evidence(facts)}, where best was moved back; else {replaced(branch.ref)}"
    if is_double:
        return f"`git update-ref -d {branch.ref}` in experiments.git: another branch has its number"
    return replaced(branch.ref)


def _may_be_kept(branch: Branch) -> bool:
    """Whether it says so of the number that it has: whatever lies beside it, it is not to be deleted."""
    record = branch.commit.record
    return record is not None and record.number == branch.number and outcome(branch.commit) in ON_BEST


def _of_branch(
    branch: Branch, facts: Facts, line: set[CommitOid] | None, adopted: Set[CommitOid], ahead: Set[CommitOid]
) -> Iterator[str]:
    name, commit = f"{branch.number:04d}", branch.commit
    if commit.oid in facts.lost:
        return
    if commit.record is None:
        yield f"{name} cannot be read: {commit.why}"
        return
    if commit.record.number != branch.number:
        yield f"{name} holds the record of experiment {commit.record.number:04d}"
    if len(commit.parents) != 1:
        yield f"{name} has {len(commit.parents)} parents, not one"
        return
    is_baseline = branch.number == BASELINE_NUMBER or commit.record.rebased is not None
    if outcome(commit) is Outcome.BASELINE and not is_baseline:
        yield f"{name} says that it is the baseline, which is {BASELINE_NUMBER:04d}"
    if _is_imported(commit) and (outcome(commit) is None or outcome(commit) in ON_BEST):
        yield f"{name} is another program's, and says that best is moved by it"
    if line is None or (_is_imported(commit) and commit.parents[0] in adopted):
        return
    # On what best is to go back up to it is as it must be; that best is not there yet is said of that.
    if not is_baseline and commit.parents[0] not in line | ahead and commit.parents[0] != facts.imported:
        yield f"{name} was made on {commit.parents[0][:10]}, which is not on the line of best"
    if outcome(commit) in ON_BEST and commit.oid not in line:
        yield f"{name} was kept and best does not hold it"


def of_numbers(facts: Facts) -> Iterator[Finding]:
    """No number twice, none left out: a gap is an experiment that somebody deleted."""
    count = Counter(branch.number for branch in facts.branches)
    for number in sorted(number for number, times in count.items() if times > 1):
        named = [branch.ref for branch in facts.branches if branch.number == number]
        way = f"find out which is the forged one, and `git update-ref -d` it; this program reads {named[0]}"
        yield Finding(what=f"{number:04d} is claimed by {' and '.join(named)}", mend=way)
    given = max([*count, facts.newest], default=-1) + 1
    said = {step.record.number for step in (facts.best.commits if facts.best else ()) if step.record is not None}
    for first, last in _ranges([number for number in range(given) if number not in count and number not in said]):
        several = f"{first:04d} to {last:04d} have no branches: they were" if last > first else ""
        what = several or f"{first:04d} has no branch: it was"
        # Not by force: what is here under its name stays as it is.
        way = backup(f"'{refs.EXPERIMENTS}*:{refs.EXPERIMENTS}*'") if last > first else branch_back(first)
        yield Finding(what=f"{what} deleted", mend=f"{way}; no number is given again")


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in group]
        yield found[0], found[-1]


def on_lines(facts: Facts) -> set[CommitOid]:
    """Every commit that best has held."""
    lines = [*facts.before.values(), *([facts.best] if facts.best is not None else [])]
    return {step.oid for line in lines if line.is_rooted for step in line.commits}


def _is_imported(commit: Commit) -> bool:
    return commit.record is not None and bool(commit.record.imported)
