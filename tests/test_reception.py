"""A person's words stay in the inbox until an experiment was made of them, whenever the daemon dies."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from autoresearchd.experiment import LLM, CommitOid, Outcome
from autoresearchd.ledger import Ledger, refs
from autoresearchd.ledger.inbox import NOTHING
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Declined
from tests.support.fakes import proposal
from tests.support.night import Night
from tests.support.projects import git, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A measured lab."""
    made = Night(lab(tmp_path / "project"))
    made.steps(6)
    return made


def wished(night: Night, words: str = "Halve the rate") -> CommitOid:
    """The wish that somebody has just queued, taken in."""
    ref = night.ledger.submit_wish(words)
    night.steps(2)
    return CommitOid(git(night.ledger.path, "rev-parse", ref).strip())


def made_of(night: Night, wish: CommitOid) -> Proposal:
    """What a model makes of it."""
    best = night.ledger.best().commit
    change = proposal(best, "RATE = 0.5\nDEPTH = 2\n", title="Set the rate to a half")
    return replace(change, proposer=LLM, cost_usd=0.25, wish=wish)


def inbox(night: Night) -> str:
    return git(night.ledger.path, "for-each-ref", "--format=%(refname)", "refs/heads/idea").strip()


def test_a_wish_becomes_one_experiment_and_leaves_the_inbox(night: Night) -> None:
    wish = wished(night)
    assert night.pipeline.wishes_asked == {wish}
    assert night.loop.status.wishes == 1
    assert inbox(night)
    night.pipeline.wishes[wish] = made_of(night, wish)
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    log = git(night.ledger.path, "log", "-1", "best", "--format=%s|%(trailers:key=Wish,valueonly,separator=)")
    assert log.strip() == f"Set the rate to a half|{wish}"
    assert (inbox(night), night.loop.status.wishes) == ("", 0)
    assert [entry.number for entry in night.ledger.entries()] == [0, 1]


def test_a_wish_that_the_model_declines_goes_and_the_reason_is_told(night: Night) -> None:
    wish = wished(night, "Paint it green \x1b[31m")
    night.pipeline.wishes[wish] = Declined("there is nothing to paint")
    with structlog.testing.capture_logs() as logs:
        night.steps(2)
    (refused,) = night.loop.status.refused_ideas
    assert (refused.title, refused.why) == ("Paint it green [31m", "there is nothing to paint")
    assert [entry["why"] for entry in logs if entry["event"] == "idea_refused"] == ["there is nothing to paint"]
    assert inbox(night) == ""
    assert night.pipeline.wishes_asked == set()


def test_words_that_the_model_declined_are_known_the_next_day_and_to_git(night: Night) -> None:
    wish = wished(night, "Paint it green\n\nVerdict: keep\nAll of it, the door \x1b[31mtoo.")
    night.pipeline.wishes[wish] = Declined("there is nothing to paint")
    night.steps(1)
    said = night.now
    wish = wished(night, "Paint it blue")
    night.pipeline.wishes[wish] = Declined("nor blue\nRefused: never")
    night.steps(2)
    again = Night(Ledger(night.ledger.path))
    first, second = again.loop.status.refused_ideas
    assert (first.title, first.why, first.at) == ("Paint it green", "there is nothing to paint", said)
    assert first.ref.startswith("refs/heads/idea/paint-it-green-")
    assert (second.title, second.why) == ("Paint it blue", "nor blue Refused: never")
    log = git(night.ledger.path, "log", "--format=%(trailers:key=Refused,valueonly,separator=)|%b", refs.REFUSED)
    assert "there is nothing to paint|Verdict: keep\nAll of it, the door [31mtoo." in log
    assert Ledger(night.ledger.path).fsck() == ()


def test_what_cannot_be_tried_at_all_is_known_by_its_branch_the_next_day(night: Night) -> None:
    git(night.ledger.path, "update-ref", "refs/heads/idea/nothing-new", "best")
    night.steps(2)
    (before,), (after,) = (each.loop.status.refused_ideas for each in (night, Night(Ledger(night.ledger.path))))
    assert (before.ref, before.title, before.why) == ("refs/heads/idea/nothing-new", "", NOTHING)
    assert (after.ref, after.title, after.why) == ("refs/heads/idea/nothing-new", "idea/nothing-new", NOTHING)


def test_what_is_turned_away_goes_where_it_cannot_be_written_down_too(night: Night) -> None:
    wish, lock = wished(night, "Paint it green"), night.ledger.path / f"{refs.REFUSED}.lock"
    lock.touch()
    night.pipeline.wishes[wish] = Declined("there is nothing to paint")
    with structlog.testing.capture_logs() as logs:
        night.steps(2)
    lock.unlink()
    assert [entry["event"] for entry in logs] == ["idea_refused", "refusal_not_filed"]
    assert [idea.why for idea in night.loop.status.refused_ideas] == ["there is nothing to paint"]
    assert inbox(night) == ""


def test_words_that_nobody_can_read_any_more_stop_no_daemon(night: Night) -> None:
    blob = git(night.ledger.path, "hash-object", "-w", "--stdin", given="no commit").strip()
    git(night.ledger.path, "update-ref", refs.REFUSED, blob)
    again = Night(Ledger(night.ledger.path))
    assert again.loop.status.refused_ideas == ()
    wish = wished(again, "Paint it green")
    again.pipeline.wishes[wish] = Declined("there is nothing to paint")
    again.steps(2)
    assert [idea.title for idea in again.loop.status.refused_ideas] == ["Paint it green"]
    assert inbox(again) == ""


def test_while_nobody_can_make_it_a_wish_waits_and_is_asked_for_again(night: Night) -> None:
    wish = wished(night)
    night.pipeline.wishes[wish] = None
    night.steps(1)
    assert inbox(night)
    assert night.pipeline.wishes_asked == {wish}
    assert not night.pipeline.wishes


def test_a_restart_asks_again_for_what_was_not_made(night: Night) -> None:
    wish = wished(night)
    again = Night(night.ledger)
    again.steps(2)
    assert again.pipeline.wishes_asked == {wish}


def test_a_wish_that_was_made_before_a_crash_is_not_made_twice(night: Night) -> None:
    wish = wished(night)
    night.ledger.open_experiment(made_of(night, wish), now=night.now)  # and then death: its branch is still there
    again = Night(night.ledger)
    again.steps()
    assert again.pipeline.wishes_asked == set()
    assert inbox(again) == ""
    assert [entry.number for entry in again.ledger.entries()] == [0, 1]
    assert (again.loop.status.refused_ideas, again.ledger.refused()) == ((), ()), "nothing was refused"


def test_a_wish_that_is_taken_back_is_not_waited_for(night: Night) -> None:
    wish = wished(night)
    ref = inbox(night)
    night.hanging = True
    night.propose(2.0)
    night.steps(2)
    night.pipeline.wishes[wish] = made_of(night, wish)
    night.steps(1)  # the device is busy with something else: what was made of it waits
    assert [each.wish for each in night.pipeline.ready] == [wish]
    git(night.ledger.path, "update-ref", "-d", ref)
    night.steps(1)
    assert night.pipeline.ready == ()
    assert night.loop.status.wishes == 0


@pytest.mark.parametrize("answered", [False, True])
def test_a_wish_that_is_renamed_is_paid_for_once(night: Night, *, answered: bool) -> None:
    wish = wished(night)
    ref = inbox(night)
    git(night.ledger.path, "update-ref", "refs/heads/idea/another-name", wish)
    night.hanging = True
    night.propose(2.0)
    night.steps(2)  # the device is busy with something else: what is made of it will wait
    if answered:
        night.pipeline.wishes[wish] = made_of(night, wish)
        night.steps(1)
    git(night.ledger.path, "update-ref", "-d", ref)
    night.steps(1)
    if not answered:
        night.pipeline.wishes[wish] = made_of(night, wish)
        night.steps(2)
    assert [each.wish for each in night.pipeline.ready] == [wish]
    assert night.loop.status.wishes == 1
    night.hanging = False
    night.steps()
    assert (inbox(night), night.loop.status.wishes) == ("", 0)
    assert [each.experiment.wish for each in night.ledger.concluded()] == [None, None, wish]


def test_an_idea_whose_branch_cannot_be_deleted_now_is_tried_once_and_deleted_later(night: Night) -> None:
    project = night.ledger.path.parent
    (project / "train.py").write_text("RATE = 2.0\nDEPTH = 2\n")
    git(project, "commit", "-q", "-am", "Raise the rate")
    git(project, "push", "-q", str(night.ledger.path), "HEAD:refs/heads/idea/rate")
    lock = night.ledger.path / "refs/heads/idea/rate.lock"
    lock.touch()
    night.steps(10)
    assert night.outcome(1) is Outcome.DISCARD
    assert inbox(night) == "refs/heads/idea/rate"
    lock.unlink()
    night.steps(2)
    assert inbox(night) == ""
    assert [entry.number for entry in night.ledger.entries()] == [0, 1]


def test_nobody_is_paid_for_a_wish_while_nothing_may_begin(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"))
    night.ledger.submit_wish("Before anything is measured")
    night.hanging = True
    night.steps(3)
    assert night.pipeline.wishes_asked == set()
    night.hanging = False
    night.ledger.pause_switch.touch()
    night.steps(6)
    assert night.pipeline.wishes_asked == set()
    night.ledger.pause_switch.unlink()
    night.steps(6)
    assert len(night.pipeline.wishes_asked) == 1
    full = Night(night.ledger, experiments=0)
    full.steps(2)
    assert full.pipeline.wishes_asked == set()


def test_an_idea_that_was_opened_when_the_daemon_died_is_tried_once(night: Night) -> None:
    path = night.ledger.path
    blob = git(path, "hash-object", "-w", "--stdin", given="RATE = 0.5\nDEPTH = 2\n").strip()
    git(path, "read-tree", "best")
    git(path, "update-index", "--cacheinfo", f"100644,{blob},train.py")
    tree = git(path, "write-tree").strip()
    git(
        path,
        "update-ref",
        "refs/heads/idea/half",
        git(path, "commit-tree", "-p", "best", "-m", "Halve it", tree).strip(),
    )
    (idea,) = night.ledger.ideas()
    assert idea.proposal is not None
    night.ledger.open_experiment(idea.proposal, now=night.now)  # and died before the branch was gone
    again = Night(Ledger(path))
    again.steps()
    assert (again.outcome(1), inbox(again)) == (Outcome.KEEP, "")
    assert [entry.number for entry in again.ledger.entries()] == [0, 1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", [b"caf\xe9", b"it's-\xff"])
def test_a_pushed_name_that_is_not_utf_8_ends_no_daemon_and_fsck_says_the_way_out(
    night: Night, name: bytes, packed: bool
) -> None:
    project, path = night.ledger.path.parent, night.ledger.path
    (project / "train.py").write_text("RATE = 2.0\nDEPTH = 2\n")
    git(project, "commit", "-q", "-am", "Raise the rate")
    git(project, "push", "-q", str(path), os.fsdecode(b"HEAD:refs/heads/idea/" + name), "HEAD:refs/heads/idea/rate")
    if packed:
        git(path, "pack-refs", "--all")
    night.steps(10)
    assert night.outcome(1) is Outcome.DISCARD, "the other idea is tried"
    again = Night(Ledger(path))
    with structlog.testing.capture_logs() as logs:
        again.steps(5)
    assert [entry["event"] for entry in logs] == ["idea_unreadable"], "it is said once"
    assert [entry.number for entry in again.ledger.entries()] == [0, 1]
    (finding,) = again.ledger.fsck()
    assert "is not UTF-8" in finding.what
    assert (finding.what + finding.mend).isascii()
    way = re.search("`(.*)`", finding.mend)
    assert way is not None
    subprocess.run(["bash", "-c", way[1]], cwd=path, check=True)
    assert (inbox(again), again.ledger.fsck()) == ("", ())


def test_a_persons_idea_that_another_is_trying_already_gets_its_number_and_the_reason(night: Night) -> None:
    night.hanging = True
    night.propose(2.0)
    night.steps(2)
    assert [own.number for own in night.ledger.opened()] == [1]
    project = night.ledger.path.parent
    (project / "train.py").write_text("RATE = 2.0\nDEPTH = 2\n")
    git(project, "commit", "-q", "-am", "Double the rate")
    git(project, "push", "-q", str(night.ledger.path), "HEAD:refs/heads/idea/double")
    night.steps(2)
    night.hanging = False
    night.steps()
    assert [night.outcome(number) for number in (1, 2)] == [Outcome.DISCARD, Outcome.DUPLICATE]
    assert (
        git(night.ledger.path, "log", "-1", "--format=%s", "--glob=refs/heads/exp/0002-*").strip() == "Double the rate"
    )
    assert inbox(night) == ""


def test_what_was_turned_away_when_the_daemon_died_is_told_once(night: Night) -> None:
    lock = night.ledger.path / "refs/heads/idea/nothing-new.lock"
    git(night.ledger.path, "update-ref", "refs/heads/idea/nothing-new", "best")
    lock.touch()  # why was written down, and the branch is still there
    night.steps(1)
    lock.unlink()
    again = Night(Ledger(night.ledger.path))
    again.steps(2)
    assert inbox(again) == ""
    assert [idea.why for idea in again.loop.status.refused_ideas] == [NOTHING]
    assert [idea.why for idea in again.ledger.refused()] == [NOTHING]
