"""Whatever somebody does to a lab with stock git, or a disk to its files, `fsck` says it, and says the way out."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Ledger, facts, refs
from autoresearchd.ledger.backup import back_up
from autoresearchd.ledger.observed import Finding
from tests.ledger.lab import (
    METRIC,
    NOW,
    busy,
    discarded,
    git,
    kept,
    measurement,
    new_ledger,
    opened,
    project,
    verdict,
    with_baseline,
)
from tests.support.damage import RUNS, forge, harm


@pytest.fixture
def lab(ledger: Ledger) -> Ledger:
    return busy(ledger)


def said(ledger: Ledger) -> list[str]:
    """What is wrong, as a new process finds it; everything has a way out."""
    found = Ledger(ledger.path).fsck()
    assert all(finding.mend for finding in found)
    return [finding.what for finding in found]


def commit(ledger: Ledger, tree: str, parents: list[str], message: str) -> str:
    """A commit of somebody's own making."""
    arguments = [part for parent in parents for part in ("-p", parent)]
    return git(ledger.path, "commit-tree", tree, *arguments, given=message).strip()


def oid(ledger: Ledger, name: str) -> str:
    return git(ledger.path, "rev-parse", name).strip()


def branch(ledger: Ledger, number: int) -> str:
    return git(ledger.path, "for-each-ref", "--format=%(refname)", f"refs/heads/exp/{number:04d}-*").strip()


def run_of(ledger: Ledger, number: int) -> str:
    tree = oid(ledger, f"{branch(ledger, number)}^{{tree}}")
    return f"{tree[:2]}/{tree[2:]}/{tree}-0.json"


def test_a_sound_lab_has_no_finding_open_packed_and_reopened(lab: Ledger) -> None:
    assert said(lab) == []
    lab.pack()
    assert said(lab) == []


def test_a_fresh_lab_has_no_finding(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    assert said(ledger) == []
    ledger.open_baseline(now=NOW)
    assert said(ledger) == []


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("no record", "cannot be read"),
        ("no number of ours", "0077 is on best and has no branch"),
        ("a copied number", "0001 is on best and its branch holds something else"),
        ("no verdict", "without a verdict"),
        ("a discard", "without a verdict"),
        ("another tree", "without a finished run"),
        ("a merge", "not linear"),
        ("another history", "does not grow out of"),
    ],
)
def test_a_step_on_best_without_its_evidence_is_found(ledger: Ledger, how: str, expected: str) -> None:
    record = kept(ledger, "RATE = 0.2\n").experiment
    message = git(ledger.path, "log", "-1", "--format=%B", "best")
    best = ledger.best()
    tree, parents = str(best.tree), [str(best.commit)]
    match how:
        case "no record":
            message = "Trust me\n"
        case "no number of ours":
            message = message.replace("Experiment: 0001", "Experiment: 0077")
        case "no verdict":
            message = re.sub(r"Verdict: .*\n", "", message)
        case "a discard":
            message = message.replace("Verdict: keep", "Verdict: discard")
        case "another tree":
            tree = opened(ledger, "RATE = 9\n").tree
        case "a merge":
            parents += [record.parent]
        case "another history":
            parents = []
        case _:
            assert how == "a copied number"
    assert said(ledger) == []
    git(ledger.path, "update-ref", "refs/heads/best", commit(ledger, tree, parents, message))
    found = Ledger(ledger.path).fsck()
    assert any(expected in finding.what for finding in found), found
    if how not in ("another history", "no number of ours"):
        assert f"git update-ref refs/heads/best {best.commit}" in found[0].mend, "the way back to what is backed"


Damage = Callable[[Ledger], object]


def rewritten(
    number: int, change: Callable[[str], str], *, tree: int | None = None, parent: int | None = None
) -> Damage:
    """Rewrite an experiment's message, or give it the tree of another, or put it on another."""

    def act(lab: Ledger) -> None:
        ref = branch(lab, number)
        message = change(git(lab.path, "log", "-1", "--format=%B", ref))
        whose = ref if tree is None else branch(lab, tree)
        on = oid(lab, f"{ref}^") if parent is None else branch(lab, parent)
        git(lab.path, "update-ref", ref, commit(lab, oid(lab, f"{whose}^{{tree}}"), [on], message))

    return act


def edited(number: int, old: str, new: str) -> Damage:
    return rewritten(number, lambda message: message.replace(old, new))


def update(name: str, value: str) -> Damage:
    return lambda lab: git(lab.path, "update-ref", name, oid(lab, value))


def delete(*numbers: int) -> Damage:
    return lambda lab: [git(lab.path, "update-ref", "-d", branch(lab, number)) for number in numbers]


def copy_a_run(lab: Ledger) -> None:
    content = git(lab.path, "show", f"{RUNS}:{run_of(lab, 1)}")
    folder = run_of(lab, 2).rpartition("/")[0]
    forge(lab.path, f"{folder}/copy.json", json.dumps(json.loads(content) | {"tree": folder.replace("/", "")}))


def leave_a_lock(lab: Ledger) -> None:
    lock = lab.path / "refs/heads/best.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))


def merge(lab: Ledger) -> None:
    git(lab.path, "update-ref", branch(lab, 5), commit(lab, "best^{tree}", ["best", "best~1"], "x\n"))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "best is deleted": (lambda lab: git(lab.path, "update-ref", "-d", refs.BEST), "refs/heads/best is missing"),
    "best is rewound": (update(refs.BEST, "best~1"), "0002 was kept and best does not hold it"),
    "a branch is deleted": (delete(3), "0003 has no branch: it was deleted"),
    "the newest branch is deleted": (delete(5), "0005 has no branch: it was deleted"),
    "two branches are deleted": (delete(3, 4), "0003 has no branch: it was deleted"),
    "a kept branch is deleted": (delete(4), "0004 is on best and has no branch"),
    "the baseline is deleted": (delete(0), "0000 is missing"),
    "a number is claimed twice": (update("refs/heads/exp/0003-mine", "best"), "0003 is claimed by refs/heads/exp"),
    "words after the trailers": (rewritten(3, lambda text: text + "\nwords\n"), "0003 cannot be read"),
    "a discard becomes a keep": (edited(3, "discard", "keep"), "0003 was kept and best does not"),
    "a second baseline": (edited(3, "discard", "baseline"), "0003 says that it is the baseline"),
    "a kept branch is altered": (edited(4, "Raise", "Lower"), "0004 is on best and its branch holds something else"),
    "another number": (edited(3, "0003", "0009"), "0003 holds the record of experiment 0009"),
    "a better metric": (edited(3, "=0.98", "=0.88"), "0003 says val_bpb=0.88, and its runs gave"),
    "another metric": (edited(3, "val_bpb", "bpb"), "0003 says bpb=0.98, and no run"),
    "more runs": (edited(3, "Runs: 1", "Runs: 3"), "0003 rests on 3 runs, and 1 are filed"),
    "other seeds": (edited(3, "Seeds: 0", "Seeds: 7"), "0003 counts seed 7"),
    "another environment": (edited(3, "Verdict:", "Environment: gpu\nVerdict:"), "0003 rests on 1 runs, and 0"),
    "the tree of another": (rewritten(3, str, tree=5), "0003 rests on 1 runs, and 0 are filed"),
    "on what was discarded": (rewritten(5, str, parent=3), "which is not on the line of best"),
    "two commits": (merge, "0005 cannot be read"),
    "a branch of somebody's": (update("refs/heads/main", "best"), "refs/heads/main does not belong in a lab"),
    "a replaced object": (update("refs/replace/" + 40 * "a", "best"), "refs/replace/aaaa"),
    "a tag": (update("refs/tags/v1;rm-rf", "best"), "refs/tags/v1;rm-rf does not belong"),
    "a branch without a number": (update("refs/heads/exp/mine", "best"), "refs/heads/exp/mine is no name of an exper"),
    "newest is moved": (update(refs.NEWEST, "best^{tree}"), "the newest number cannot be read"),
    "a run is taken away": (
        lambda lab: forge(lab.path, run_of(lab, 1), None),
        "0001 is on best without a finished run",
    ),
    "a run is forged": (lambda lab: forge(lab.path, run_of(lab, 3), "{}"), "is no run: Field required"),
    "a run is renamed": (copy_a_run, "/copy.json holds the run"),
    "a run is copied": (copy_a_run, "is filed 2 times"),
    "a file among the runs": (lambda lab: forge(lab.path, "README", "x"), f"{RUNS}:README is no run"),
    "a folder among the runs": (lambda lab: forge(lab.path, "ab/cd/x.json", "x"), f"{RUNS}:ab/cd is no run"),
    "promoted from elsewhere": (update(refs.PROMOTED, RUNS), "promoted does not grow out of the imported"),
    "promoted without a keep": (
        lambda lab: git(lab.path, "update-ref", refs.PROMOTED, branch(lab, 3)),
        "on promoted is no experiment that was kept",
    ),
    "a lock is left": (leave_a_lock, "refs/heads/best.lock was left by a process that died"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_somebody_did_to_a_lab_is_said(lab: Ledger, damage: str) -> None:
    act, expected = DAMAGES[damage]
    assert said(lab) == []
    act(lab)
    found = said(lab)
    assert any(expected in sentence for sentence in found), found


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "put on what was discarded"])
def test_the_way_back_of_best_loses_nothing_that_was_kept(lab: Ledger, gone: bool) -> None:
    """0002 landed after 0004: the highest number that was kept is not where best was."""
    tip = lab.best()
    assert tip.number == 2
    git(lab.path, "update-ref", *(["-d", refs.BEST] if gone else [refs.BEST, branch(lab, 3)]))
    assert mended(lab)
    assert oid(lab, refs.BEST) == tip.commit
    assert said(lab) == []


def test_the_way_back_goes_below_what_was_kept_on_a_best_without_evidence(ledger: Ledger) -> None:
    backed, forged = kept(ledger, "RATE = 0.2\n"), discarded(ledger, "RATE = 0.3\n")
    git(ledger.path, "update-ref", refs.BEST, forged.experiment.commit)
    kept(ledger, "RATE = 0.4\n")
    assert mended(ledger) == ["0002 is on best without a verdict that moves it"]
    assert oid(ledger, refs.BEST) == backed.experiment.commit


@pytest.mark.parametrize("content", [None, b"junk\n"], ids=["gone", "junk"])
def test_a_kept_commit_that_the_disk_lost_is_no_reason_to_move_best(lab: Ledger, content: bytes | None) -> None:
    harm(lab.path, oid(lab, branch(lab, 4)), content)
    why = Ledger(lab.path).unbacked()
    assert "is on best and cannot be read" in why
    assert "update-ref" not in why
    assert not any("update-ref" in finding.mend for finding in Ledger(lab.path).fsck())


def mended(ledger: Ledger) -> list[str]:
    """What is said of best, after its way out was gone."""
    found = [finding for finding in Ledger(ledger.path).fsck() if f"update-ref {refs.BEST} " in finding.mend]
    for finding in found:
        command, *_ = re.findall("`(.*?)`", finding.mend)
        subprocess.run(shlex.split(command), cwd=ledger.path, check=True)
    return [finding.what for finding in found]


LOST = ("an experiment", "a kept experiment", "best", "best^{tree}", "best:train.py", RUNS, "a run")


def named(lab: Ledger, name: str) -> str:
    match name:
        case "an experiment":
            return branch(lab, 3)
        case "a kept experiment":
            return branch(lab, 1)
        case "a run":
            return f"{RUNS}:{run_of(lab, 3)}"
        case _:
            return name


@pytest.mark.parametrize("content", [None, b"junk\n", b""], ids=["gone", "junk", "empty"])
@pytest.mark.parametrize("name", LOST)
def test_an_object_that_the_disk_lost_is_one_finding_whose_commands_mend_it(
    lab: Ledger, tmp_path: Path, name: str, content: bytes | None
) -> None:
    lost = oid(lab, named(lab, name))
    back_up(lab.path, tmp_path / "copy")
    harm(lab.path, lost, content)
    (found,) = Ledger(lab.path).fsck()
    assert found.what.endswith(f"object {lost} is " + ("missing" if content is None else "damaged"))
    for command in re.findall("`(.*?)`", found.mend):
        done = command.replace("BACKUP", shlex.quote(str(tmp_path / "copy")))
        subprocess.run(["sh", "-c", done], cwd=lab.path, check=True, capture_output=True)
    assert said(lab) == []


def test_a_conclusion_that_was_cut_short_is_said_to_settle_itself(lab: Ledger) -> None:
    waiting = lab.opened()[0]
    lab.record(measurement(waiting.tree))
    lab.conclude(waiting, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    git(lab.path, "update-ref", waiting.ref, waiting.commit)
    (found,) = Ledger(lab.path).fsck()
    assert found.what == "0005 is on best and its branch is not settled yet"
    assert found.mend == "the next `autoresearchd run` settles it"
    lab.settle(waiting)
    assert said(lab) == []


def test_a_composite_cannot_be_checked_against_single_runs_and_is_left_alone(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    ledger.record(measurement(experiment.tree))
    ledger.conclude(experiment, verdict(Outcome.DISCARD, metric=0.5), metric="composite", now=NOW)
    assert said(ledger) == []


def test_old_sins_of_the_imported_project_are_not_the_labs(tmp_path: Path) -> None:
    source = project(tmp_path / "project")
    raw = b"0100644 old.py\0" + bytes.fromhex(git(source, "rev-parse", "HEAD:train.py").strip())
    tree = git(source, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", given=raw).strip()
    old = git(source, "commit-tree", "-m", "Old", tree).strip()
    git(source, "reset", "-q", "--hard", git(source, "commit-tree", "-m", "New", "-p", old, "HEAD^{tree}").strip())
    ledger = Ledger.init(tmp_path / "experiments.git", project_path=source)
    with_baseline(ledger)
    assert "zeroPaddedFilemode" in git(ledger.path, "fsck", check=False)
    assert said(ledger) == []


def test_beside_a_daemon_only_what_stays_wrong_is_said(lab: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two refs move one after the other; who looks in between must not cry wolf."""
    look, looks = facts.findings, [("seen once", "stays"), ("stays", "seen later")]

    def moving(_: facts.Facts) -> tuple[Finding, ...]:
        return tuple(Finding(what=what, mend="-") for what in looks.pop(0))

    monkeypatch.setattr(facts, "findings", moving)
    with lab.hold():
        assert [finding.what for finding in Ledger(lab.path).fsck()] == ["stays"]
    monkeypatch.setattr(facts, "findings", look)
    assert said(lab) == []


def test_a_lock_beside_a_daemon_is_gits_at_work_until_it_cannot_be_any_more(lab: Ledger) -> None:
    leave_a_lock(lab)
    with lab.hold():  # it clears what was left; this one is new
        leave_a_lock(lab)
        assert said(lab) == []
        os.utime(lab.path / "refs/heads/best.lock", (1.0, 1.0))
        assert "best.lock was left" in said(lab)[0]
