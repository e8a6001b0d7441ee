"""Near-misses again, once a keep has changed what they stand on."""

from __future__ import annotations

import asyncio

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.retest import MOST_RETESTS, Retest
from tests.propose.fakes import FakeLab, apply

LINES = "".join(f"line {number}\n" for number in range(20))
FILES = {"a.py": LINES, "b.py": LINES}


def ask(context: Context) -> Proposal | None:
    return asyncio.run(Retest().propose(context))


def changed(lab: FakeLab, path: str, line: int, text: str) -> dict[str, bytes]:
    content = lab.files[path].decode().replace(f"line {line}\n", f"{text}\n")
    return {**lab.files, path: content.encode()}


def near_miss(lab: FakeLab, line: int = 3, *, path: str = "a.py", value: float = 0.99, category: str = "x") -> int:
    """An inconclusive change of one line; its number."""
    files = changed(lab, path, line, f"maybe {line}")
    tried = lab.try_files(files, Outcome.INCONCLUSIVE, value, category=category, std_error=0.02, title=f"Try {line}")
    return tried.experiment.number


def keep(lab: FakeLab, line: int, *, path: str = "a.py", value: float = 0.9, category: str = "y") -> None:
    lab.try_files(
        changed(lab, path, line, f"kept {line}"), Outcome.KEEP, value, category=category, title=f"Keep {line}"
    )


def test_a_near_miss_comes_again_on_top_of_a_keep() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    assert ask(lab.context()) is None
    keep(lab, 15)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.parent == lab.best
    assert proposal.title == "Retest 0001: Try 3"
    assert proposal.category == "x"
    after = apply(lab.files, proposal.edits)["a.py"].decode()
    assert "maybe 3\n" in after
    assert "kept 15\n" in after
    assert "0002" in proposal.rationale


def test_it_comes_once_for_each_new_best_and_not_for_ever() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    retests = 0
    for line in range(6, 18, 2):
        keep(lab, line, value=0.9 - line / 100)
        proposal = ask(lab.context())
        if proposal is None:
            continue
        assert ask(lab.context(pending=[proposal])) is None
        lab.try_proposal(proposal, Outcome.INCONCLUSIVE, 0.89 - line / 100, std_error=0.02)
        assert ask(lab.context()) is None
        assert proposal.title == "Retest 0001: Try 3"
        retests += 1
    assert retests == MOST_RETESTS


@pytest.mark.parametrize(
    ("outcome", "value", "std_error", "again"),
    [
        (Outcome.INCONCLUSIVE, 0.99, 0.01, True),
        (Outcome.INCONCLUSIVE, 1.05, 0.01, False),
        (Outcome.DISCARD, 0.99, 0.01, True),
        (Outcome.DISCARD, 1.01, 0.01, False),
        (Outcome.DISCARD, 0.999, None, True),
        (Outcome.DISCARD, 1.001, None, False),
        (Outcome.CRASH, None, None, False),
        (Outcome.REJECTED, 0.9, 0.01, False),
    ],
)
def test_what_counts_as_a_near_miss(
    outcome: Outcome, value: float | None, std_error: float | None, again: bool
) -> None:
    lab = FakeLab(FILES)
    lab.try_files(changed(lab, "a.py", 3, "maybe"), outcome, value, std_error=std_error)
    keep(lab, 15)
    assert (ask(lab.context()) is not None) == again


def test_a_retest_that_clearly_failed_ends_the_matter() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    keep(lab, 10)
    proposal = ask(lab.context())
    assert proposal is not None
    lab.try_proposal(proposal, Outcome.DISCARD, 1.5, std_error=0.01)
    keep(lab, 15, value=0.8)
    assert ask(lab.context()) is None


def test_a_retest_that_was_kept_is_on_best_and_does_not_come_again() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    keep(lab, 10)
    proposal = ask(lab.context())
    assert proposal is not None
    lab.try_proposal(proposal, Outcome.KEEP, 0.7, std_error=0.01)
    keep(lab, 15, value=0.6)
    assert ask(lab.context()) is None


def test_a_change_that_conflicts_with_what_was_kept_is_passed_over() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    near_miss(lab, 12)
    keep(lab, 3)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.title == "Retest 0002: Try 12"


def test_the_one_related_to_the_keep_comes_first() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3, path="b.py", value=0.981)
    near_miss(lab, 5, path="a.py", value=0.985)
    near_miss(lab, 7, path="b.py", value=0.99, category="y")
    keep(lab, 15, path="a.py", category="y")
    order = []
    waiting: list[Proposal] = []
    while (proposal := ask(lab.context(pending=waiting))) is not None:
        waiting.append(proposal)
        order.append(proposal.title)
    assert order == ["Retest 0003: Try 7", "Retest 0002: Try 5", "Retest 0001: Try 3"]


def test_a_long_title_is_cut_and_still_known() -> None:
    lab = FakeLab(FILES)
    lab.try_files(changed(lab, "a.py", 3, "maybe"), Outcome.INCONCLUSIVE, 0.99, title="Try " + "very " * 30 + "hard")
    keep(lab, 15)
    proposal = ask(lab.context())
    assert proposal is not None
    assert len(proposal.title) <= 60
    assert ask(lab.context(pending=[proposal])) is None


def test_somebody_elses_title_is_not_taken_for_a_retest() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    lab.try_files(changed(lab, "b.py", 3, "x"), Outcome.DISCARD, 2.0, title="Retest 0001: Try 3", std_error=0.01)
    keep(lab, 15)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.title == "Retest 0001: Try 3"
