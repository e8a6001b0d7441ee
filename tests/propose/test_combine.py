"""Two near-misses in one."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose._overlay import overlay
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.combine import Combine
from tests.propose.fakes import FakeLab, apply, merge_file
from tests.propose.test_retest import FILES, changed, keep, near_miss


def ask(context: Context) -> Proposal | None:
    return asyncio.run(Combine().propose(context))


def ask_all(lab: FakeLab) -> list[Proposal]:
    waiting: list[Proposal] = []
    while (proposal := ask(lab.context(pending=waiting))) is not None:
        waiting.append(proposal)
    return waiting


def test_two_near_misses_of_one_parent_come_together() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    assert ask(lab.context()) is None
    near_miss(lab, 9)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.title == "Combine 0001 and 0002: Try 3; Try 9"
    after = apply(lab.files, proposal.edits)["a.py"].decode()
    assert after == lab.files["a.py"].decode().replace("line 3\n", "maybe 3\n").replace("line 9\n", "maybe 9\n")


def test_near_misses_of_different_parents_are_merged_onto_best() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    keep(lab, 15)
    near_miss(lab, 9, path="b.py", value=0.89, category="z")
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.parent == lab.best
    assert proposal.category == "combination"
    after = apply(lab.files, proposal.edits)
    assert after["a.py"] == lab.files["a.py"].replace(b"line 3\n", b"maybe 3\n")
    assert b"kept 15\n" in after["a.py"]
    assert b"maybe 9\n" in after["b.py"]


def test_no_pair_comes_twice_not_even_on_another_best() -> None:
    lab = FakeLab(FILES)
    for line in (2, 6, 10):
        near_miss(lab, line)
    proposals = ask_all(lab)
    assert len({each.title[:21] for each in proposals}) == len(proposals) == 3
    for each in proposals:
        lab.try_proposal(each, Outcome.DISCARD, 1.5, std_error=0.01)
    assert ask(lab.context()) is None
    keep(lab, 15)
    assert ask(lab.context()) is None


def test_the_largest_gains_in_standard_errors_come_first() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 2, value=0.999)
    near_miss(lab, 6, value=0.97)
    near_miss(lab, 10, value=0.98)
    proposal = ask(lab.context())
    assert proposal is not None
    assert proposal.title.startswith("Combine 0002 and 0003:")


def test_what_measured_worse_is_not_combined() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 2, value=0.99)
    near_miss(lab, 6, value=1.01)
    lab.try_files(changed(lab, "a.py", 9, "bad"), Outcome.CRASH, None)
    assert ask(lab.context()) is None


def test_changes_that_touch_are_not_combined() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    near_miss(lab, 3, value=0.98)
    near_miss(lab, 4, value=0.985)
    assert ask(lab.context()) is None


def test_a_change_that_is_on_best_by_now_is_no_half() -> None:
    lab = FakeLab(FILES)
    near_miss(lab, 3)
    near_miss(lab, 9)
    lab.try_files(changed(lab, "a.py", 3, "maybe 3"), Outcome.KEEP, 0.9)
    assert ask(lab.context()) is None


@given(
    base=st.lists(st.sampled_from("abcdef"), min_size=8, max_size=20),
    first=st.integers(0, 19),
    second=st.integers(0, 19),
    fresh=st.lists(st.sampled_from("xyz"), max_size=3),
)
def test_an_overlay_is_what_git_would_merge(base: list[str], first: int, second: int, fresh: list[str]) -> None:
    """Unique lines, so that there is one diff: where we merge at all, git merges to the same bytes."""
    lines = [f"{index} {word}\n" for index, word in enumerate(base)]
    ours, theirs = list(lines), list(lines)
    ours[first % len(base) : first % len(base) + 1] = [f"{word}1\n" for word in fresh]
    theirs[second % len(base)] = "changed\n"
    one, two, three = ("".join(each).encode() for each in (lines, ours, theirs))
    merged = overlay(one, two, three)
    assert merged == overlay(one, three, two)
    if merged is not None:
        assert merged == merge_file(one, two, three)
    far = abs(first % len(base) - second % len(base)) > 1
    assert (merged is not None) == far


def test_an_overlay_with_the_unchanged_is_the_change() -> None:
    assert overlay(b"a\nb\n", b"a\nc\n", b"a\nb\n") == b"a\nc\n"
    assert overlay(b"a\nb\n", b"a\nb\n", b"") == b""
