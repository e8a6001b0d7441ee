"""Best rests on runs that are filed, not on what a commit says of itself: a rewritten verdict moves nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Measurement, Outcome, RunSpec
from autoresearchd.ledger import Ledger, back_up, refs
from autoresearchd.program import parse
from autoresearchd.reload import identity
from tests.ledger.lab import METRIC, NOW, measurement, new_ledger, opened, verdict, with_baseline
from tests.ledger.test_fsck import branch, commit, oid, said
from tests.ledger.test_ways_out import follow, held
from tests.support.damage import RUNS, forge
from tests.support.night import Night
from tests.support.projects import PROGRAM, git, lab

Rewriting = Callable[[str], str]


@pytest.fixture
def night(tmp_path: Path) -> Ledger:
    """By the judge itself: 0001 kept, 0002 discarded, 0003 kept."""
    ledger = lab(tmp_path / "project")
    ledger.note_measured_by(identity(parse(PROGRAM)))
    found = Night(ledger)
    found.steps(8)
    for rate in (0.5, 2.0, 0.1):
        found.propose(rate)
        found.steps()
    assert [found.outcome(number) for number in (1, 2, 3)] == [Outcome.KEEP, Outcome.DISCARD, Outcome.KEEP]
    assert said(ledger) == []
    assert Ledger(ledger.path).unbacked() == ""
    return ledger


def rewrite(ledger: Ledger, number: int, change: Rewriting) -> str:
    """Give an experiment's branch another message; its new commit."""
    ref = branch(ledger, number)
    before = git(ledger.path, "log", "-1", "--format=%B", ref)
    assert change(before) != before
    made = commit(ledger, oid(ledger, f"{ref}^{{tree}}"), [oid(ledger, f"{ref}^")], change(before))
    git(ledger.path, "update-ref", ref, made)
    return made


def moved_back(ledger: Ledger) -> bool:
    """Whether a way out of what is said moves best; it is gone, as by who has no backup."""
    for finding in Ledger(ledger.path).fsck():
        for command in re.findall(f"`git (update-ref {refs.BEST} .*?)`", finding.mend):
            git(ledger.path, *command.split())
            return True
    return False


def as_kept(message: str) -> str:
    return message.replace("Verdict: discard", "Verdict: keep")


def as_kept_from_worse(message: str) -> str:
    return re.sub("Baseline: loss=.*", "Baseline: loss=7.0", as_kept(message))


def as_kept_by_another_number(message: str) -> str:
    return message.replace("Verdict: discard", "Verdict: keep").replace(": loss=", ": speed=")


def as_better(message: str) -> str:
    return re.sub("Metric: loss=.*", "Metric: loss=0.001", message)


KEEPS = {
    "its word": (as_kept, "0002 was kept, and none of its runs was better than the"),
    "its baseline too": (as_kept_from_worse, "0002 says that loss was 7 before it, and the runs of that gave"),
    "its metric too": (as_kept_by_another_number, "0002 was kept by speed, and the lab is measured by loss"),
}


@pytest.mark.parametrize("how", KEEPS)
def test_a_discard_that_is_rewritten_as_a_keep_never_comes_to_best(night: Ledger, how: str) -> None:
    change, expected = KEEPS[how]
    tip = oid(night, refs.BEST)
    rewrite(night, 2, change)
    assert any(expected in sentence for sentence in said(night))
    assert not moved_back(night)
    assert (oid(night, refs.BEST), Ledger(night.path).unbacked()) == (tip, "")


@pytest.mark.parametrize("how", KEEPS)
def test_a_best_that_was_moved_onto_such_a_keep_is_refused_and_goes_back(night: Ledger, how: str) -> None:
    change, expected = KEEPS[how]
    tip = oid(night, refs.BEST)
    git(night.path, "update-ref", refs.BEST, rewrite(night, 2, change))
    assert any(expected in sentence for sentence in said(night))
    with pytest.raises(UserError, match=f"0002 .*git update-ref {refs.BEST} {tip}"):
        Ledger(night.path).refuse_unbacked()
    assert moved_back(night)
    assert (oid(night, refs.BEST), Ledger(night.path).unbacked()) == (tip, "")


@pytest.mark.parametrize("number", [1, 3])
def test_a_kept_branch_with_a_better_number_than_its_runs_is_put_back_and_best_stays(
    night: Ledger, number: int
) -> None:
    before = held(night)
    forged = rewrite(night, number, as_better)
    (about_best,) = (finding for finding in Ledger(night.path).fsck() if "holds something else" in finding.what)
    command, *_ = re.findall("`git (.*?)`", about_best.mend)
    assert forged not in command
    git(night.path, *command.split())
    assert held(night) == before
    assert said(night) == []


@pytest.mark.parametrize("backed_up", [True, False])
def test_a_best_with_a_better_number_than_its_runs_is_refused_and_goes_back(
    night: Ledger, tmp_path: Path, backed_up: bool
) -> None:
    back_up(night.path, tmp_path / "copy")
    before, below = held(night), oid(night, "best~1")
    forged = rewrite(night, 3, as_better)
    git(night.path, "update-ref", refs.BEST, forged)
    with pytest.raises(UserError, match=r"0003 says loss=0\.001, and its runs gave 0"):
        Ledger(night.path).refuse_unbacked()
    if backed_up:
        follow(night, tmp_path / "copy")
        assert held(night) == before
    else:
        (found, *_) = Ledger(night.path).fsck()
        git(night.path, *re.findall("`git (.*?)`", found.mend)[0].split())
        assert oid(night, refs.BEST) == below
        assert forged not in " ".join(finding.mend for finding in Ledger(night.path).fsck())


def test_a_daemon_that_meets_such_a_best_holds(night: Ledger) -> None:
    looking = Ledger(night.path)
    assert looking.unbacked() == ""
    git(night.path, "update-ref", refs.BEST, rewrite(night, 2, as_kept))
    assert "0002 was kept, and none of its runs was better" in looking.unbacked()


def test_a_keep_whose_run_after_it_had_won_came_out_worse_than_best_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = lab(tmp_path / "project")
    ledger.note_measured_by(identity(parse(PROGRAM)))
    found = Night(ledger)
    found.steps(8)
    measured = found.executor.result
    monkeypatch.setattr(found.executor, "result", lambda spec, now: unlucky(spec, measured(spec, now)))
    found.propose(0.9)
    found.steps()
    (kept_one, _) = ledger.line()
    assert (kept_one.verdict.baseline, kept_one.verdict.metric) == (pytest.approx(1.0, abs=0.01), 1.02)
    assert (said(ledger), Ledger(ledger.path).unbacked()) == ([], "")


def unlucky(spec: RunSpec, found: Measurement | None) -> Measurement | None:
    """Of the candidate the one run that decides nothing."""
    return found if found is None or spec.seed < 20_000 else replace(found, metrics={"loss": 1.02})


@pytest.mark.parametrize(("text", "sound"), [("RATE = 0.2\n", True), ("RATE = 0.2\n" * 12, False)])
def test_a_keep_that_is_worse_is_sound_only_where_it_takes_lines_away(tmp_path: Path, text: str, sound: bool) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    ledger.note_measured_by({**identity(parse(PROGRAM)), "metric.name": METRIC})
    experiment = opened(ledger, text)
    ledger.record(measurement(experiment.tree, metrics={METRIC: 0.985}))
    ledger.conclude(experiment, verdict(Outcome.KEEP, metric=0.985, baseline=0.98), metric=METRIC, now=NOW)
    assert [sentence.partition(", ")[0] for sentence in said(ledger)] == ([] if sound else ["0001 was kept"])
    assert (Ledger(ledger.path).unbacked() == "") is sound


STRANGE = ["README", "ab/cd/x.json", "a b/it's 100% \\new.json", "ab/" + 38 * "c" + "/forged.json"]


@pytest.mark.parametrize("place", STRANGE)
def test_what_never_was_a_run_is_taken_out_by_the_printed_command(night: Ledger, place: str) -> None:
    before = held(night)
    forge(night.path, place, "{}")
    found = Ledger(night.path).fsck()
    assert [finding.what.partition(" is no run")[0] for finding in found] == [f"{RUNS}:{here(place)}"]
    typed(night, found[0].mend)
    assert (said(night), held(night)) == ([], before)
    assert not (night.path / "mend.index").exists()


def here(place: str) -> str:
    """What is named: a folder of another name than a tree's is not looked into."""
    shelf, *below = place.split("/")
    if len(shelf) != 2:
        return shelf
    return place if len(below[0]) == 38 else f"{shelf}/{below[0]}"


def typed(ledger: Ledger, mend: str) -> None:
    for command in re.findall("`(.*?)`", mend):
        subprocess.run(["sh", "-c", command], cwd=ledger.path, check=True, capture_output=True)


@pytest.mark.parametrize("content", [None, "{}", "another"])
def test_a_run_that_was_altered_or_taken_away_is_filed_again_from_the_labs_own_history(
    night: Ledger, content: str | None
) -> None:
    before = held(night)
    path = git(night.path, "ls-tree", "-r", "--name-only", RUNS).split()[0]
    if content == "another":
        content = git(night.path, "show", f"{RUNS}:{path}").replace('"seed":', '"seed": ')
    forge(night.path, path, content)
    found = [finding for finding in Ledger(night.path).fsck() if "after it was filed" in finding.what]
    assert [finding.what.partition(" ")[0] for finding in found] == [f"{RUNS}:{path}"]
    typed(night, found[0].mend)
    assert (said(night), held(night)) == ([], before)


@pytest.mark.parametrize("value", ["refs/autoresearch/runs", "a discard"])
def test_a_forged_promoted_that_no_backup_has_goes_by_the_printed_command(night: Ledger, value: str) -> None:
    before = held(night)
    git(night.path, "update-ref", refs.PROMOTED, branch(night, 2) if value == "a discard" else value)
    (found, *_) = Ledger(night.path).fsck()
    first, *_ = re.findall("`(.*?)`", found.mend)
    git(night.path, *first.removeprefix("git ").split())
    assert (said(night), held(night)) == ([], before)
