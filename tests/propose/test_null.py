"""Changes of nothing that runs: when they are due, that each is new, and that nobody builds on them."""

from __future__ import annotations

import ast
import asyncio

from autoresearchd.experiment import NULL, Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.null import Null
from autoresearchd.propose.retest import Retest
from tests.propose.fakes import FakeLab, apply

FILES = {"train.py": "RATE = 1\nprint(RATE)", "README.md": "Words.\n"}


def ask(context: Context) -> Proposal | None:
    return asyncio.run(Null().propose(context))


def due(every: int) -> FakeLab:
    return FakeLab(FILES, toml=f"[propose.null]\nevery = {every}\n")


def test_one_experiment_in_so_many_changes_nothing_that_runs() -> None:
    lab, nulls = due(3), []
    for _ in range(9):
        proposal = ask(lab.context())
        if proposal is not None:
            lab.try_proposal(proposal, Outcome.DISCARD, 1.0)
            nulls.append(lab.count - 1)
        else:
            lab.try_files({**lab.files, "x.py": str(lab.count)}, Outcome.DISCARD, 1.1)
    assert nulls == [3, 6, 9]


def test_what_runs_is_the_same_program_and_each_time_another_tree() -> None:
    lab = due(1)
    first = ask(lab.context())
    assert first is not None
    second = ask(lab.context(pending=[first]))
    assert second is not None
    before = ast.dump(ast.parse(FILES["train.py"]))
    texts = {apply(lab.files, proposal.edits)["train.py"] for proposal in (first, second)}
    assert len(texts) == 2
    assert all(ast.dump(ast.parse(text)) == before for text in texts)


def test_with_zero_there_is_none() -> None:
    lab = due(0)
    assert ask(lab.context()) is None


def test_a_project_without_python_has_none() -> None:
    assert ask(FakeLab({"train.sh": "echo\n"}, toml="[propose.null]\nevery = 1\n").context()) is None


def test_nobody_tries_a_null_experiment_again() -> None:
    lab = due(1)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.category == NULL
    lab.try_proposal(proposal, Outcome.INCONCLUSIVE, 0.99, std_error=0.02)
    lab.try_files({**lab.files, "x.py": "keep"}, Outcome.KEEP, 0.8)
    assert asyncio.run(Retest().propose(lab.context())) is None
