"""What promotion writes: a line of its own, each commit with its evidence; notes; stacks that no ref holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord, StaleRef
from autoresearchd.experiment import CommitOid, Concluded, Environment, TreeOid
from autoresearchd.ledger import Ledger, back_up, promoted, refs
from autoresearchd.standing import Standing
from autoresearchd.trailers import parse
from tests.ledger.lab import FILES, NOW, fsck, git, kept, measurement
from tests.ledger.test_rebase import rebased, upstream
from tests.ledger.test_ways_out import follow

BASE = FILES["train.py"]
FASTER = BASE.replace("RATE = 0.1", "RATE = 0.2")
FASTER_WIDER = FASTER.replace("WIDTH = 8", "WIDTH = 16")
FASTEST_WIDER = FASTER_WIDER.replace("RATE = 0.2", "RATE = 0.3")
LARGE = Environment("gpu/large")
EVIDENCE = "val_bpb=0.970000 (Δ -0.010000 +-0.001000, n=24)"


@pytest.fixture
def line(ledger: Ledger) -> tuple[Concluded, Concluded, Concluded]:
    """Three kept changes on the baseline, of which the third conflicts without the first."""
    return kept(ledger, FASTER), kept(ledger, FASTER_WIDER, title="Widen"), kept(ledger, FASTEST_WIDER, title="Again")


def baseline(ledger: Ledger) -> CommitOid:
    found = ledger.find(0)
    assert isinstance(found, Concluded)
    return found.experiment.commit


def look(ledger: Ledger, tip: Concluded) -> None:
    ledger.promotion.look(tip.experiment.commit, baseline=baseline(ledger))


def promote(ledger: Ledger, *chosen: Concluded) -> CommitOid:
    commits, trailers = [each.experiment.commit for each in chosen], {"Scale-d12": EVIDENCE}
    onto = ledger.promotion.place().promoted
    assert onto is not None
    return ledger.promotion.promote(commits, dict.fromkeys(commits, trailers), onto=onto, now=NOW + 9)


def test_promoted_begins_at_the_baseline_and_grows_by_what_is_cherry_picked(
    ledger: Ledger, line: tuple[Concluded, ...]
) -> None:
    look(ledger, line[2])
    assert git(ledger.path, "rev-parse", "promoted").strip() == baseline(ledger)
    tip = promote(ledger, line[1])
    ledger.record(measurement(ledger.promotion.tree(tip), environment=LARGE))
    assert git(ledger.path, "rev-list", "--parents", "-1", "promoted").split() == [tip, baseline(ledger)]
    assert git(ledger.path, "show", "promoted:train.py") == BASE.replace("WIDTH = 8", "WIDTH = 16")
    assert git(ledger.path, "log", "-1", "--format=%(trailers:key=Scale-d12,valueonly)", "promoted").strip() == EVIDENCE
    ours, kept_one = (
        git(ledger.path, "log", "-1", "--format=%an %ai%n%B", name) for name in (tip, str(line[1].experiment.commit))
    )
    assert ours.startswith(kept_one.rstrip()), "author and message are those of the kept commit"
    assert parse(git(ledger.path, "log", "-1", "--format=%B", tip)).number == 2
    assert ledger.promotion.line(baseline(ledger)) == (tip,)
    assert ledger.verify() == ()
    assert fsck(ledger.path) == ""


def test_what_conflicts_leaves_promoted_where_it_is(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    look(ledger, line[2])
    other = Ledger(ledger.path)
    promote(other, line[0])
    held = git(ledger.path, "rev-parse", "promoted")
    with pytest.raises(CorruptRecord, match="conflicts"):
        promote(ledger, line[2], line[0])
    assert git(ledger.path, "rev-parse", "promoted") == held


def test_a_promoted_that_moved_since_it_was_judged_gets_nothing(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    look(ledger, line[2])
    judged = baseline(ledger)
    held = promote(ledger, line[1])
    commit = line[0].experiment.commit
    with pytest.raises(StaleRef):
        ledger.promotion.promote((commit,), {commit: {"Scale-d12": EVIDENCE}}, onto=judged, now=NOW + 9)
    assert git(ledger.path, "rev-parse", "promoted").strip() == held


def test_a_note_stays_below_what_is_known_later(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    commit = line[0].experiment.commit
    first = Standing(scale="d12", holds=True, environment=LARGE, evidence="Δ -0.01, n=4")
    hostile = "timeout: \x1b[31mScale-d24: holds: x [y]\nScale-d24: holds: x [y]"
    second = Standing(scale="d24", holds=False, environment=LARGE, evidence=hostile)
    ledger.promotion.note({commit: first}, now=NOW)
    ledger.promotion.note({commit: second, line[1].experiment.commit: first}, now=NOW + 1)
    known = Ledger(ledger.path).promotion.standings()
    assert known[line[1].experiment.commit] == (first,)
    assert [(each.scale, each.holds) for each in known[commit]] == [("d12", True), ("d24", False)]
    shown = git(ledger.path, "notes", "--ref=ladder", "show", commit)
    assert shown.splitlines()[0] == "Scale-d12: holds: Δ -0.01, n=4 [gpu/large]"
    assert "\x1b" not in shown
    assert fsck(ledger.path) == ""


def test_a_stack_is_the_same_whoever_asks_and_comes_back_after_gc(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    base = line[0].experiment.parent_tree
    first, second, third = (each.experiment.commit for each in line)
    tree = ledger.promotion.stack(base, (second,))
    assert tree is not None
    assert tree == Ledger(ledger.path).promotion.stack(base, (second,))
    assert ledger.promotion.stack(base, (first, second, third)) == line[2].experiment.tree
    assert ledger.promotion.stack(base, (second, third)) is None, "the third changes a line of the first"
    git(ledger.path, "gc", "--quiet", "--prune=now")
    assert "missing" in git(ledger.path, "cat-file", "--batch-check", given=f"{tree}\n")
    fresh = Ledger(ledger.path)
    fresh.promotion.stack(base, (second,))
    git(ledger.path, "gc", "--quiet", "--prune=now")
    fresh = Ledger(ledger.path)
    fresh.promotion.remake(base, (second,))
    assert fresh.files(TreeOid(tree), lambda path: path == "train.py")


def test_stacks_are_the_same_however_few_are_remembered(
    ledger: Ledger, line: tuple[Concluded, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (each.experiment.commit for each in line)
    base = ledger.baseline_tree()
    assert base is not None
    asked = [(first, second, third), (second,), (first,), (second, third), (first, second)]
    expected = [ledger.promotion.stack(base, commits) for commits in asked]
    monkeypatch.setattr(promoted, "MOST_STACKS", 2)
    again = Ledger(ledger.path)
    assert [again.promotion.stack(base, commits) for commits in asked * 2] == expected * 2


def test_how_far_it_looks_moves_only_from_where_it_was(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    look(ledger, line[0])
    assert ledger.promotion.place().tip == line[0].experiment.commit
    look(ledger, line[2])
    assert ledger.promotion.place().tip == line[2].experiment.commit
    assert ledger.verify() == ()


def test_a_promoted_commit_without_its_evidence_is_found(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    look(ledger, line[2])
    git(ledger.path, "update-ref", refs.PROMOTED, str(line[0].experiment.commit))
    (finding,) = ledger.verify()
    assert finding.what == "0001 is on promoted, and no trailer says what was measured on a larger scale"


def test_a_promoted_tip_that_was_never_trained_is_found(ledger: Ledger, line: tuple[Concluded, ...]) -> None:
    look(ledger, line[2])
    tip = promote(ledger, line[1])
    (finding,) = ledger.verify()
    assert finding.what == f"{tip[:10]}, the newest on promoted, has no finished run of its tree"


def test_what_fsck_says_brings_promoted_back_from_a_backup(
    ledger: Ledger, line: tuple[Concluded, ...], tmp_path: Path
) -> None:
    look(ledger, line[2])
    tip = promote(ledger, line[1])
    ledger.record(measurement(ledger.promotion.tree(tip), environment=LARGE))
    back_up(ledger.path, tmp_path / "copy")
    for elsewhere in (str(line[0].experiment.commit), refs.RUNS):
        git(ledger.path, "update-ref", refs.PROMOTED, elsewhere)
        follow(ledger, tmp_path / "copy")
        assert git(ledger.path, "rev-parse", "promoted").strip() == tip


def test_after_a_rebase_promotion_begins_anew_and_the_old_line_stays(
    ledger: Ledger, line: tuple[Concluded, ...]
) -> None:
    look(ledger, line[2])
    old = promote(ledger, line[1])
    ledger.record(measurement(ledger.promotion.tree(old), environment=LARGE))
    upstream(ledger, "data.py", "DATA = 2\n")
    begun = rebased(ledger).experiment.commit
    assert ledger.promotion.line(begun) is None
    ledger.promotion.look(begun, baseline=begun)
    assert ledger.promotion.line(begun) == ()
    assert git(ledger.path, "rev-parse", f"refs/heads/line/promoted-{old[:10]}").strip() == old
    assert ledger.verify() == ()


def test_a_promoted_that_somebody_moved_elsewhere_is_set_aside_and_not_lost(
    ledger: Ledger, line: tuple[Concluded, ...]
) -> None:
    look(ledger, line[2])
    tree = git(ledger.path, "rev-parse", "best^{tree}").strip()
    foreign = git(ledger.path, "commit-tree", tree, "-p", str(line[0].experiment.commit), "-m", "Not ours").strip()
    git(ledger.path, "update-ref", refs.PROMOTED, foreign)
    assert ledger.promotion.line(baseline(ledger)) is None
    look(ledger, line[2])
    assert git(ledger.path, "rev-parse", "promoted").strip() == baseline(ledger)
    assert git(ledger.path, "rev-parse", f"refs/heads/line/promoted-{foreign[:10]}").strip() == foreign
