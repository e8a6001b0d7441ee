"""Sound facts have no finding, whatever the night was like; one thing out of place has one, with a way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import CommitOid, Ending, Lines, Outcome, TreeOid, Verdict
from autoresearchd.ledger import refs
from autoresearchd.ledger.invariants import findings
from autoresearchd.ledger.observed import Branch, Commit, Facts, Filed, Line
from autoresearchd.trailers import Record

IMPORTED = CommitOid("imported")
Night = list[tuple[Outcome | None, list[float]]]
"""For each experiment after the baseline: how it ended, and what its runs gave."""
ENDED = [None, Outcome.KEEP, Outcome.DISCARD, Outcome.CRASH, Outcome.INCONCLUSIVE]
NIGHTS = st.lists(st.tuples(st.sampled_from(ENDED), st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4)), max_size=8)


def night(steps: Night) -> Facts:
    """The facts of a lab in which all went as it must."""
    line: list[Commit] = []
    branches, runs = [], {}
    for number, (outcome, numbers) in enumerate([(Outcome.BASELINE, [1.0]), *steps]):
        tree = TreeOid(f"tree-{number}")
        found = [
            Filed(f"tr/ee-{number}/{tree}-{seed}.json", f"{tree}-{seed}", seed, "cpu", Ending.FINISHED, {"loss": value})
            for seed, value in enumerate(numbers)
        ]
        metric = sum(numbers) / len(numbers)
        verdict = None
        if outcome is not None:
            seeds = tuple(range(len(numbers)))
            verdict = Verdict(outcome=outcome, metric=metric, runs=len(numbers), seeds=seeds)
        record = Record(
            number=number,
            title="x",
            rationale="",
            proposer="p",
            category="c",
            lines=Lines(added=1, removed=1),
            verdict=verdict,
            metric="loss",
        )
        commit = Commit(CommitOid(f"commit-{number}"), tree, (line[0].oid if line else IMPORTED,), record)
        branches.append(Branch(f"refs/heads/exp/{number:04d}-x", number, commit))
        runs[tree] = tuple(found)
        if outcome in (Outcome.KEEP, Outcome.BASELINE):
            line.insert(0, commit)
    return Facts(
        names=(refs.BEST, refs.RUNS, refs.FORMAT, refs.NEWEST, "refs/heads/idea/x", *(b.ref for b in branches)),
        best=Line(commits=tuple(line), is_rooted=True),
        imported=IMPORTED,
        branches=branches,
        runs=runs,
        newest=len(steps),
    )


@settings(deadline=None)
@given(NIGHTS)
def test_a_night_in_which_all_went_well_has_no_finding(steps: Night) -> None:
    assert findings(night(steps)) == ()


def test_a_lab_in_which_nothing_has_happened_has_no_finding() -> None:
    assert findings(Facts(names=(refs.BEST, refs.FORMAT), best=Line(commits=(), is_rooted=True))) == ()


def _branch(facts: Facts, at: int, **fields: object) -> Facts:
    """One branch's commit with something else in it."""
    branches = list(facts.branches)
    branches[at] = branches[at]._replace(commit=branches[at].commit._replace(**fields))  # type: ignore[arg-type]
    return replace(facts, branches=branches)


def _everywhere(facts: Facts, at: int, record: Record) -> Facts:
    """The same of its commit, on best as well."""
    changed, line = _branch(facts, at, record=record), facts.best
    assert line is not None
    commit = changed.branches[at].commit
    steps = tuple(commit if step.oid == commit.oid else step for step in line.commits)
    return replace(changed, best=replace(line, commits=steps))


def _without_runs(facts: Facts, at: int) -> Facts:
    tree = facts.branches[at].commit.tree
    return replace(facts, runs={other: runs for other, runs in facts.runs.items() if other != tree})


DAMAGES: dict[str, Callable[[Facts, int], Facts]] = {
    "no best": lambda facts, _: replace(facts, best=None),
    "best from elsewhere": lambda facts, _: replace(facts, best=Line(commits=facts.best.commits, is_rooted=False)),  # type: ignore[union-attr]
    "best one back": lambda facts, _: replace(facts, best=Line(commits=facts.best.commits[1:], is_rooted=True)),  # type: ignore[union-attr]
    "best twice": lambda facts, _: replace(facts, best=Line(commits=2 * facts.best.commits[:1], is_rooted=False)),  # type: ignore[union-attr]
    "a branch less": lambda facts, at: replace(facts, branches=[b for b in facts.branches if b.number != at]),
    "a branch twice": lambda facts, at: replace(facts, branches=[*facts.branches, facts.branches[at]]),
    "another commit": lambda facts, at: _branch(facts, at, oid="forged", parents=("forged",)),
    "two parents": lambda facts, at: _branch(facts, at, parents=("one", "two")),
    "no parent": lambda facts, at: _branch(facts, at, parents=()),
    "no record": lambda facts, at: _branch(facts, at, record=None, why="forged"),
    "a ref of somebody's": lambda facts, _: replace(facts, names=[*facts.names, "refs/heads/main"]),
    "a newer number": lambda facts, _: replace(facts, newest=facts.newest + 3),
    "a complaint of git's": lambda facts, _: replace(facts, git=["missing blob"]),
    "a lock": lambda facts, _: replace(facts, stale_locks=["refs/heads/best.lock"]),
    "something among the runs": lambda facts, _: replace(facts, unreadable={"refs/autoresearch/runs:x": "forged"}),
    "promoted from elsewhere": lambda facts, _: replace(facts, promoted=Line(commits=(), is_rooted=False)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@settings(max_examples=25, deadline=None)
@given(steps=NIGHTS, at=st.integers(0, 8))
def test_one_thing_out_of_place_is_found_wherever_it_is(damage: str, steps: Night, at: int) -> None:
    facts = night(steps)
    found = findings(DAMAGES[damage](facts, min(at, len(steps))))
    assert found
    assert all(finding.what and finding.mend for finding in found)


@settings(deadline=None)
@given(NIGHTS, st.integers(0, 8))
def test_a_verdict_without_its_runs_is_found(steps: Night, at: int) -> None:
    at = min(at, len(steps))
    found = findings(_without_runs(night(steps), at))
    concluded = at == 0 or steps[at - 1][0] is not None
    assert bool(found) == concluded, "an open experiment may have no run yet"


@settings(deadline=None)
@given(NIGHTS, st.integers(0, 8), st.floats(0.01, 10.0), st.booleans())
def test_a_metric_that_no_centre_of_the_runs_can_be_is_found(steps: Night, at: int, off: float, above: bool) -> None:
    facts, at = night(steps), min(at, len(steps))
    commit = facts.branches[at].commit
    if commit.record is None or commit.record.verdict is None:
        return
    numbers = [run.metrics["loss"] for run in facts.runs[commit.tree]]  # type: ignore[index]
    forged = max(numbers) + off if above else min(numbers) - off
    record = replace(commit.record, verdict=replace(commit.record.verdict, metric=forged))
    assert any("its runs gave" in finding.what for finding in findings(_everywhere(facts, at, record)))


@settings(deadline=None)
@given(NIGHTS)
def test_the_way_back_of_an_unbacked_best_is_the_newest_step_that_is_backed(steps: Night) -> None:
    facts = night([*steps, (Outcome.KEEP, [1.0])])
    assert facts.best is not None
    found = findings(_without_runs(facts, len(steps) + 1))
    backed = facts.best.commits[1].oid
    assert any(f"git update-ref refs/heads/best {backed}" in finding.mend for finding in found)


def test_gaps_are_said_as_ranges() -> None:
    facts = night([(Outcome.DISCARD, [1.0])] * 9)
    kept = [branch for branch in facts.branches if branch.number not in (2, 5, 6, 7)]
    said = [finding.what for finding in findings(replace(facts, branches=kept))]
    assert said == ["0002 has no branch: it was deleted", "0005 to 0007 have no branches: they were deleted"]
