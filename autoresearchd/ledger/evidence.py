"""Whether the line of `best` is backed: every step one concluded experiment, with a finished run of its very tree.

Read-only; judges no verdict, only that its evidence is there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pygit2

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import BASELINE_NUMBER, ON_BEST, CommitOid, Concluded, Ending, TreeOid
from autoresearchd.ledger.history import History
from autoresearchd.ledger.runs import Runs
from autoresearchd.trailers import parse


def problems(repo: pygit2.Repository, history: History, runs: Runs, best: CommitOid) -> Iterator[str]:
    """What is wrong with the line that ends in `best`, as sentences."""
    baseline = history.find(BASELINE_NUMBER)
    if baseline is None:
        if history.entries():
            yield f"{BASELINE_NUMBER:04d} is missing: nobody knows where the line of best begins"
        return
    imported = (baseline.experiment if isinstance(baseline, Concluded) else baseline).parent
    commit = repo[best].peel(pygit2.Commit)
    while str(commit.id) != imported:
        yield from _of_step(commit, history, runs)
        if not commit.parent_ids:
            yield f"best does not grow out of the imported project's {imported[:10]}"
            return
        commit = repo[commit.parent_ids[0]].peel(pygit2.Commit)


def has_finished_run(runs: Runs, tree: TreeOid) -> bool:
    """Whether a tree has the evidence that `best` asks for."""
    return any(run.ending is Ending.FINISHED for run in runs.of(tree))


def _of_step(commit: pygit2.Commit, history: History, runs: Runs) -> Iterator[str]:
    try:
        record = parse(commit.message)
        found = history.find(record.number)
        measured = has_finished_run(runs, TreeOid(str(commit.tree_id)))
    except CorruptRecord as error:
        yield f"{str(commit.id)[:10]} is on best and cannot be read: {error}"
        return
    name = f"{record.number:04d}"
    if record.verdict is None or record.verdict.outcome not in ON_BEST:
        yield f"{name} is on best without a verdict that moves it"
    if len(commit.parent_ids) > 1:
        yield f"{name} is a merge: best is not linear"
    if not measured:
        yield f"{name} is on best without a finished run of its tree"
    if not isinstance(found, Concluded) or found.experiment.commit != str(commit.id):
        yield f"{name} on best is not what its branch holds"
