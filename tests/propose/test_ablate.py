"""What was kept is taken out again, each change once on each best; nothing goes round in circles."""

from __future__ import annotations

import asyncio
import random

import pytest

from autoresearchd.experiment import Experiment, Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose.ablate import Ablate, removal
from autoresearchd.propose.combine import Combine
from autoresearchd.propose.portfolio import build
from autoresearchd.propose.retest import Retest
from autoresearchd.report.worth import Worth, worth
from tests.propose.fakes import FakeLab, apply
from tests.support.projects import WITHOUT_IDEAS

GAP = "\n# far\n# from\n# it\n\n"
START = GAP.join(f"{name} = 0" for name in "ABCDEF") + "\n"


def lab_with(*kept: str, toml: str = "") -> FakeLab:
    """A lab that has kept a change of each of these constants, in that order."""
    lab = FakeLab({"train.py": START}, toml=toml)
    for name in kept:
        keep(lab, name)
    return lab


def keep(lab: FakeLab, name: str, to: str = "1") -> Experiment:
    text = lab.files["train.py"].decode()
    before = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
    files = {"train.py": text.replace(before, f"{name} = {to}")}
    value = (lab.value_of_best() or 0) - 0.01
    return lab.try_files(files, Outcome.KEEP, value, title=f"Set {name} to {to}", std_error=0.001).experiment


def ask(lab: FakeLab, *pending: Proposal, when_due: bool = False) -> Proposal | None:
    return asyncio.run(Ablate(when_due=when_due).propose(lab.context(pending=pending)))


def asked(lab: FakeLab, *pending: Proposal) -> Proposal:
    proposal = ask(lab, *pending)
    assert proposal is not None
    return proposal


def text_of(lab: FakeLab, proposal: Proposal) -> str:
    return apply(lab.files, proposal.edits)["train.py"].decode()


def taken_out(title: str) -> int:
    found = removal(title)
    assert found is not None
    return found.number


def test_the_oldest_change_that_was_kept_is_taken_out_and_nothing_else() -> None:
    lab = lab_with("A", "B", "C")
    proposal = asked(lab)
    assert (proposal.title, proposal.category, proposal.proposer) == (
        "Take out 0001: Set A to 1",
        "simplify",
        "ablate",
    )
    text = text_of(lab, proposal)
    assert "A = 0" in text
    assert "B = 1" in text
    assert "C = 1" in text


def test_each_is_taken_out_once_and_the_newest_never() -> None:
    lab, titles = lab_with("A", "B", "C"), list[str]()
    while (proposal := ask(lab)) is not None:
        titles.append(proposal.title)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.0)
    # Without the newest, best is the best before: that was measured.
    assert titles == ["Take out 0001: Set A to 1", "Take out 0002: Set B to 1"]


def test_what_waits_already_is_not_proposed_again() -> None:
    lab = lab_with("A", "B", "C")
    first = asked(lab)
    second = asked(lab, first)
    assert second.title.startswith("Take out 0002")
    assert ask(lab, first, second) is None


def test_when_something_else_was_kept_since_they_are_tried_again_the_longest_ago_first() -> None:
    lab = lab_with("A", "B", "C")
    for _ in range(2):
        lab.try_proposal(asked(lab), Outcome.DISCARD, 1.0)
    keep(lab, "D")
    for _ in range(2):
        lab.try_proposal(asked(lab), Outcome.DISCARD, 1.0)
    keep(lab, "E")
    titles = []
    while (proposal := ask(lab)) is not None:
        titles.append(proposal.title)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.0)
    assert [taken_out(title) for title in titles] == [6, 2, 3, 1]


def test_what_was_taken_out_stays_out_and_its_removal_is_never_taken_out() -> None:
    lab = lab_with("A", "B", "C")
    lab.try_proposal(asked(lab), Outcome.KEEP, lab.value_of_best())
    keep(lab, "D")
    titles = []
    while (proposal := ask(lab)) is not None:
        titles.append(proposal.title)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.0)
    assert [taken_out(title) for title in titles] == [2, 3]


def test_a_change_that_later_ones_are_built_on_is_left_alone() -> None:
    lab = lab_with("A")
    keep(lab, "A", "2")
    keep(lab, "B")
    assert [taken_out(asked(lab).title)] == [2]
    lab.try_proposal(asked(lab), Outcome.DISCARD, 1.0)
    assert ask(lab) is None


def test_a_removal_that_failed_or_went_stale_is_not_tried_for_ever() -> None:
    for outcome in (Outcome.CRASH, Outcome.STALE, Outcome.SKIPPED, Outcome.DUPLICATE):
        lab = lab_with("A", "B")
        lab.try_proposal(asked(lab), outcome, None)
        assert ask(lab) is None, outcome


def test_somebody_elses_experiment_with_that_title_is_no_trial() -> None:
    lab = lab_with("A", "B")
    lab.try_files({"train.py": START}, Outcome.DISCARD, 1.0, title="Take out 0001: Set A to 1", proposer="llm")
    assert taken_out(asked(lab).title) == 1


def test_near_misses_of_removals_are_neither_retried_nor_combined() -> None:
    lab = lab_with("A", "B", "C")
    for _ in range(2):
        best = lab.value_of_best() or 0
        lab.try_proposal(asked(lab), Outcome.INCONCLUSIVE, best - 0.0001, std_error=0.001)
    keep(lab, "D")
    assert asyncio.run(Retest().propose(lab.context())) is None
    assert asyncio.run(Combine().propose(lab.context())) is None


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_of_them_there_is_an_end_on_every_best(seed: int) -> None:
    lab, rng = lab_with("A", "B", "C", "D", "E"), random.Random(seed)
    outcomes = (Outcome.KEEP, Outcome.DISCARD, Outcome.STALE, Outcome.CRASH, Outcome.INCONCLUSIVE)
    for _ in range(20):
        proposal = ask(lab)
        if proposal is None:
            break
        lab.try_proposal(proposal, rng.choice(outcomes), lab.value_of_best())
    assert ask(lab) is None


def test_the_parts_of_a_change_come_after_the_whole_one_by_one() -> None:
    lab = lab_with("A")
    text = lab.files["train.py"].replace(b"B = 0", b"B = 1").replace(b"D = 0", b"D = 1")
    lab.try_files({"train.py": text}, Outcome.KEEP, 0.98, title="Two at once", std_error=0.001)
    keep(lab, "F")
    texts = {}
    while (proposal := ask(lab)) is not None:
        texts[proposal.title] = text_of(lab, proposal)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.0)
    assert list(texts) == [
        "Take out 0001: Set A to 1",
        "Take out 0002: Two at once",
        "Take out part 1 of 0002: Two at once",
        "Take out part 2 of 0002: Two at once",
    ]
    assert [("B = 1" in text, "D = 1" in text, "F = 1" in text) for text in texts.values()] == [
        (True, True, True),
        (False, False, True),
        (False, True, True),
        (True, False, True),
    ]


def test_parts_can_be_left_out() -> None:
    lab = lab_with("A", toml="[propose.ablate]\nparts = false\n")
    text = lab.files["train.py"].replace(b"B = 0", b"B = 1").replace(b"D = 0", b"D = 1")
    lab.try_files({"train.py": text}, Outcome.KEEP, 0.98, title="Two at once", std_error=0.001)
    lab.try_proposal(asked(lab), Outcome.DISCARD, 1.0)
    assert ask(lab) is None


def due(lab: FakeLab) -> bool:
    return ask(lab, when_due=True) is not None


def test_while_others_have_ideas_it_is_one_in_so_many() -> None:
    lab = lab_with("A", "B", "C", toml="[propose.ablate]\nevery = 6\n")
    assert not due(lab)
    for number in range(2):
        lab.try_files({"train.py": START + f"# {number}\n"}, Outcome.DISCARD, 1.0)
    assert due(lab)
    lab.try_proposal(asked(lab), Outcome.DISCARD, 1.0)
    assert not due(lab)


def test_it_can_be_switched_off() -> None:
    lab = lab_with("A", "B", toml="[propose.ablate]\nevery = 0\n")
    assert ask(lab) is None
    assert not due(lab)


def test_it_comes_when_nobody_else_has_an_idea() -> None:
    lab = lab_with("A", "B", toml=WITHOUT_IDEAS)
    proposal = asyncio.run(build(lab.program).propose(lab.context()))
    assert proposal is not None
    assert proposal.proposer == "ablate"
    assert proposal.reason == "Nobody else had anything to say."


def test_the_table_has_what_best_loses_without_each() -> None:
    lab = lab_with("A", "B", "C")
    best = lab.value_of_best() or 0
    lab.try_proposal(asked(lab), Outcome.DISCARD, best + 0.004, std_error=0.002)
    lab.try_proposal(asked(lab), Outcome.KEEP, best + 0.0001, std_error=0.002)
    first, second, newest = worth(lab.history.lines, lab.program.metric.direction)
    assert first == Worth(
        number=1,
        title="Set A to 1",
        gain=pytest.approx(0.01),
        std_error=0.001,
        today=pytest.approx(0.004),
        today_error=0.002,
        trial=4,
        is_dead_weight=False,
    )
    assert (second.today, second.trial, second.is_dead_weight) == (pytest.approx(0.0001), 5, True)
    assert (newest.today, newest.trial) == (None, None), "something else was taken out since"
