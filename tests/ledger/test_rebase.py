"""The kept line on new commits of the project: nothing of the old line is lost, whenever the rebase is cut off."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Outcome, Verdict
from autoresearchd.ledger import Course, Fate, Ledger, back_up, fetch_commit
from tests.ledger.cut import Instant, cut_off
from tests.ledger.lab import FILES, METRIC, NOW, discarded, fsck, git, kept, measurement, new_ledger, opened, verdict
from tests.ledger.lab import with_baseline as baselined
from tests.ledger.test_ways_out import follow

TEXT = FILES["train.py"]
WRITES = 8
"""Of refs in `rebased`: the branch, the newest number, a run, the line before, best, two ideas, the branch again."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with two kept changes and a discarded one; the project has gone on and took neither."""
    folder = tmp_path_factory.mktemp("made")
    ledger = new_ledger(folder)
    baselined(ledger)
    kept(ledger, TEXT.replace("RATE = 0.1", "RATE = 0.2"), title="Raise the rate")
    discarded(ledger, TEXT.replace("RATE = 0.1", "RATE = 0.3"), title="Raise it more")
    kept(ledger, TEXT.replace("RATE = 0.1", "RATE = 0.2").replace("WIDTH = 8", "WIDTH = 9"), title="Widen it")
    upstream(ledger, "data.py", "DATA = 2\n")
    return folder


@pytest.fixture
def lab(made: Path, tmp_path: Path) -> Ledger:
    """A copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Ledger(tmp_path / "experiments.git")


def upstream(ledger: Ledger, path: str, text: str) -> str:
    """A commit of the user's."""
    project = ledger.path.parent / "project"
    (project / path).write_text(text)
    git(project, "add", path)
    git(project, "commit", "-q", "-m", f"Change {path}")
    return git(project, "rev-parse", "HEAD").strip()


def course(ledger: Ledger, refused: str = "") -> Course:
    commit = fetch_commit(ledger.path, ledger.path.parent / "project", "HEAD")
    return ledger.course(commit, refuse=lambda changes: refused, now=NOW)


def test_nothing_is_carried_over_from_a_best_without_evidence(lab: Ledger) -> None:
    git(lab.path, "update-ref", "refs/heads/best", lab.concluded()[2].experiment.commit)
    with pytest.raises(UserError, match="0002 is on best without a verdict that moves it; `git update-ref "):
        course(lab)


def rebased(ledger: Ledger) -> Concluded:
    """With the first kept change alone: the other is left to be tried again."""
    found = course(ledger)
    began = ledger.open_rebase(found.alone, why="They do not hold together.", now=NOW)
    ledger.record(measurement(began.tree))
    return ledger.conclude(began, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)


def recover(ledger: Ledger) -> None:
    """What the next start does."""
    for experiment in ledger.opened():
        if ledger.landed(experiment) is not None:
            ledger.settle(experiment)
        else:
            cut_off = Verdict(outcome=Outcome.SKIPPED, why="cut off")
            ledger.conclude(experiment, cut_off, metric=METRIC, now=NOW)


@pytest.mark.usefixtures("_restarts_at_once")
@pytest.mark.parametrize("instant", Instant)
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_killed_at_any_write_it_is_the_old_lab_or_the_new_line(lab: Ledger, write: int, instant: Instant) -> None:
    old, imported = lab.best().commit, git(lab.path, "rev-list", "--max-parents=0", "best").strip()
    assert cut_off(lab.path, rebased, write, instant)
    ledger = Ledger(lab.path)
    with ledger.hold():
        recover(ledger)
        if ledger.best().commit == old:
            assert rebased(ledger).verdict.outcome is Outcome.BASELINE
    assert ledger.verify() == ()
    assert fsck(lab.path) == ""
    assert git(lab.path, "rev-parse", "line/0000").strip() == old
    assert "DATA = 2" in git(lab.path, "show", "best:data.py")
    assert imported in git(lab.path, "rev-list", "best")
    assert [entry.number for entry in ledger.entries()] == list(range(len(ledger.entries())))
    assert [idea.title for idea in ledger.ideas()] == ["Raise the rate", "Widen it"]
    assert ledger.opened() == ()


def test_there_is_no_later_write_that_was_not_tried(lab: Ledger) -> None:
    assert not cut_off(lab.path, rebased, WRITES + 1, Instant.INSIDE)


def test_what_may_not_be_there_is_left_out_and_the_rest_replayed(lab: Ledger) -> None:
    refused = course(lab, refused="it is protected now")
    assert {change.fate for change in refused.changes} == {Fate.REFUSED}
    assert refused.tip == refused.rebased.onto
    assert [change.fate for change in course(lab).changes] == [Fate.CARRIED, Fate.CARRIED]


def test_an_experiment_that_was_open_is_moved_onto_the_new_line(lab: Ledger) -> None:
    before = lab.files(lab.best().tree, lambda path: path == "train.py")["train.py"].decode()
    experiment = opened(lab, before.replace("DEPTH = 4", "DEPTH = 5"), title="Deepen it")
    found = course(lab)
    began = lab.open_rebase(found, why="", now=NOW)
    lab.record(measurement(began.tree))
    lab.conclude(began, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)
    replayed = lab.replay(experiment, now=NOW)
    assert replayed is not None
    text = lab.files(replayed.tree, lambda path: path == "train.py")["train.py"].decode()
    assert ("RATE = 0.2" in text, "DEPTH = 5" in text, "WIDTH = 9" in text) == (True, True, True)
    assert lab.verify() == ()


def test_an_idea_that_was_pushed_before_brings_its_own_change_and_nothing_of_the_old_line(lab: Ledger) -> None:
    old = lab.best().commit
    project = lab.path.parent / "project"
    git(project, "fetch", "-q", str(lab.path), old)
    git(project, "checkout", "-q", "--detach", old)
    upstream(lab, "README.md", "Words\n")
    git(project, "push", "-q", str(lab.path), "HEAD:refs/heads/idea/words")
    git(project, "checkout", "-q", "main")
    rebased(lab)
    idea = next(idea for idea in Ledger(lab.path).ideas() if idea.ref.endswith("words"))
    assert idea.proposal is not None
    assert [(edit.path, edit.content) for edit in idea.proposal.edits] == [("README.md", b"Words\n")]


def test_the_new_line_begins_with_its_own_baseline_also_where_that_has_no_branch_any_more(lab: Ledger) -> None:
    began = rebased(lab)
    git(lab.path, "update-ref", "-d", began.experiment.ref)
    lab.refresh()
    for ledger in (lab, Ledger(lab.path)):
        assert ledger.baseline() == began
        assert [step.experiment.number for step in ledger.line()] == [began.experiment.number]


def test_best_never_moves_to_a_line_that_was_not_measured(lab: Ledger) -> None:
    began = lab.open_rebase(course(lab), why="", now=NOW)
    with pytest.raises(ValueError, match="no finished run"):
        lab.conclude(began, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)
    recover(lab)
    assert lab.verify() == ()


def test_a_line_that_somebody_deleted_is_found_and_brought_back_as_it_is_said(lab: Ledger) -> None:
    found = course(lab)
    began = lab.open_rebase(found, why="", now=NOW)
    lab.record(measurement(began.tree))
    lab.conclude(began, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)
    assert lab.verify() == ()
    git(lab.path, "update-ref", "-d", "refs/heads/line/0000")
    (finding,) = (finding for finding in lab.verify() if "line before 0004 has no branch" in finding.what)
    git(lab.path, *finding.mend.split("`")[1].split()[1:])
    assert lab.verify() == ()


def test_what_fsck_says_brings_a_line_that_somebody_moved_back_from_a_backup(lab: Ledger, tmp_path: Path) -> None:
    before = rebased(lab).experiment.rebased
    assert before is not None
    back_up(lab.path, tmp_path / "copy")
    git(lab.path, "update-ref", "refs/heads/line/0000", str(before.onto))
    follow(lab, tmp_path / "copy")
    assert git(lab.path, "rev-parse", "refs/heads/line/0000").strip() == before.old


def test_a_baseline_below_which_something_else_lies_than_it_says_is_found(lab: Ledger) -> None:
    found = course(lab)
    forged = replace(found, rebased=replace(found.rebased, carried=(1,)))
    lab.open_rebase(forged, why="", now=NOW)
    assert any("below 0004 lie other commits" in finding.what for finding in lab.verify())
