"""What may happen to an experiment and to `best`, and what never may."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import StaleRef, UnfilablePath
from autoresearchd.experiment import (
    ON_BEST,
    CommitOid,
    Concluded,
    Ending,
    Environment,
    Experiment,
    Lines,
    Outcome,
    Verdict,
)
from autoresearchd.ledger import Ledger
from autoresearchd.proposal import Edit, FileMode
from tests.ledger.lab import (
    FILES,
    METRIC,
    NOW,
    discarded,
    fsck,
    git,
    kept,
    measurement,
    new_ledger,
    opened,
    proposal,
    verdict,
)

OFF_BEST = sorted(set(Outcome) - ON_BEST)


def test_the_baseline_is_an_empty_commit_on_the_imported_head(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    imported = ledger.best()
    baseline = ledger.open_baseline(now=NOW)
    assert (baseline.number, baseline.parent, baseline.tree) == (0, imported.commit, imported.tree)
    assert baseline.is_baseline
    ledger.record(measurement(baseline.tree))
    concluded = ledger.conclude(baseline, verdict(Outcome.BASELINE), metric=METRIC, now=NOW)
    assert ledger.best_record() == concluded
    assert ledger.best().number == 0
    assert ledger.verify() == ()


def test_an_open_experiment_is_one_commit_on_its_parent(ledger: Ledger) -> None:
    best = ledger.best()
    experiment = opened(ledger, "RATE = 0.2\n", title="Raise the rate: 0.1 → 0.2", reason="rates pay", cost_usd=0.5)
    assert experiment == Experiment(
        number=1,
        slug="raise-the-rate-0-1-0-2",
        ref=experiment.ref,
        commit=experiment.commit,
        tree=experiment.tree,
        parent=best.commit,
        parent_tree=best.tree,
        title="Raise the rate: 0.1 → 0.2",
        rationale="It may help.",
        category="rate",
        proposer="space",
        lines=Lines(added=1, removed=9),
        opened=NOW,
        reason="rates pay",
        cost_usd=0.5,
    )
    assert experiment.ref == "refs/heads/exp/0001-raise-the-rate-0-1-0-2"
    assert git(ledger.path, "rev-parse", experiment.ref).strip() == experiment.commit
    assert git(ledger.path, "rev-list", "--count", f"best..{experiment.ref}").strip() == "1"
    assert ledger.opened() == (experiment,)
    assert ledger.best() == best


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_conclusion_rewrites_the_message_and_nothing_else(ledger: Ledger, outcome: Outcome) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    ledger.record(measurement(experiment.tree))
    decided = verdict(
        outcome,
        std_error=0.001,
        confidence=0.99,
        seeds=(1, 2),
        train_seconds=3.5,
        device="cuda:0",
        metrics={"tokens_per_second": 5.0},
        environment=Environment("cpu-1"),
    )
    concluded = ledger.conclude(experiment, decided, metric=METRIC, now=NOW + 60)
    assert concluded.verdict == decided
    before, after = (
        git(ledger.path, "log", "-1", "--format=%T %P %at %an %s", oid)
        for oid in (experiment.commit, concluded.experiment.commit)
    )
    assert after == before
    assert git(ledger.path, "log", "-1", "--format=%ct", experiment.ref).strip() == str(int(NOW + 60))
    assert Ledger(ledger.path).find(1) == concluded
    assert ledger.opened() == ()
    assert fsck(ledger.path) == ""


@pytest.mark.parametrize("outcome", OFF_BEST)
def test_only_a_keep_moves_best(ledger: Ledger, outcome: Outcome) -> None:
    before = ledger.best()
    experiment = opened(ledger, "RATE = 0.2\n")
    ledger.record(measurement(experiment.tree))
    ledger.conclude(experiment, verdict(outcome), metric=METRIC, now=NOW)
    assert ledger.best() == before
    assert ledger.verify() == ()


@pytest.mark.parametrize("ending", [None, *sorted(set(Ending) - {Ending.FINISHED})])
def test_best_does_not_move_without_a_finished_run_of_that_very_tree(ledger: Ledger, ending: Ending | None) -> None:
    before = ledger.best()
    experiment = opened(ledger, "RATE = 0.2\n")
    if ending is not None:
        ledger.record(measurement(experiment.tree, ending=ending))
    with pytest.raises(ValueError, match="no finished run"):
        ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    assert ledger.best() == before
    assert ledger.opened() == (experiment,)


def test_of_two_wins_on_one_parent_the_second_is_stale_until_replayed_and_measured(ledger: Ledger) -> None:
    first = opened(ledger, FILES["train.py"].replace("RATE = 0.1", "RATE = 0.2"))
    second = opened(ledger, FILES["train.py"].replace("WIDTH = 8", "WIDTH = 16"), title="Widen")
    for experiment in (first, second):
        ledger.record(measurement(experiment.tree))
    ledger.conclude(first, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    best = ledger.best()
    with pytest.raises(StaleRef) as raised:
        ledger.conclude(second, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    assert (raised.value.ref, raised.value.found) == ("refs/heads/best", best.commit)
    assert (ledger.best(), ledger.opened()) == (best, (second,))
    replayed = ledger.replay(second, now=NOW + 5)
    assert replayed is not None
    assert (replayed.number, replayed.parent, replayed.opened) == (second.number, best.commit, second.opened)
    assert (replayed.title, replayed.ref, replayed.lines) == (second.title, second.ref, second.lines)
    both = FILES["train.py"].replace("RATE = 0.1", "RATE = 0.2").replace("WIDTH = 8", "WIDTH = 16")
    assert ledger.files(replayed.tree, lambda path: path == "train.py") == {"train.py": both.encode()}
    with pytest.raises(ValueError, match="no finished run"):
        ledger.conclude(replayed, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    ledger.record(measurement(replayed.tree))
    ledger.conclude(replayed, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    assert ledger.verify() == ()
    assert git(ledger.path, "rev-list", "--merges", "best") == ""


def test_a_replay_that_conflicts_does_nothing(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.3\n")
    kept(ledger, "RATE = 0.2\n")
    before = git(ledger.path, "for-each-ref")
    assert ledger.replay(experiment, now=NOW) is None
    assert git(ledger.path, "for-each-ref") == before
    assert ledger.opened() == (experiment,)
    stale = ledger.conclude(experiment, verdict(Outcome.STALE), metric=METRIC, now=NOW)
    assert stale.verdict.outcome is Outcome.STALE


def test_a_replay_of_what_best_has_already_is_bests_own_tree(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n", title="Raise it as well")
    kept(ledger, "RATE = 0.2\n")
    replayed = ledger.replay(experiment, now=NOW)
    assert replayed is not None
    assert (replayed.tree, replayed.lines) == (ledger.best().tree, Lines(added=0, removed=0))


def test_an_experiment_that_others_moved_is_not_overwritten(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    moved = git(ledger.path, "commit-tree", "-m", "mine", "-p", experiment.parent, experiment.tree).strip()
    git(ledger.path, "update-ref", experiment.ref, moved)
    with pytest.raises(StaleRef):
        ledger.conclude(experiment, verdict(Outcome.DISCARD), metric=METRIC, now=NOW)
    with pytest.raises(StaleRef):
        ledger.replay(experiment, now=NOW)
    assert git(ledger.path, "rev-parse", experiment.ref).strip() == moved


def test_a_number_is_never_given_twice(ledger: Ledger) -> None:
    numbers = [opened(ledger, f"RATE = {rate}\n").number for rate in range(3)]
    again = Ledger(ledger.path)
    numbers.append(opened(again, "RATE = 9\n").number)
    ledger.refresh()
    numbers.append(opened(ledger, "RATE = 10\n").number)
    assert numbers == [1, 2, 3, 4, 5]


def test_a_name_that_was_claimed_meanwhile_is_refused(ledger: Ledger) -> None:
    other = Ledger(ledger.path)
    first = opened(ledger, "RATE = 1\n")
    with pytest.raises(StaleRef) as raised:
        opened(other, "RATE = 2\n")
    assert raised.value.ref == first.ref
    other.refresh()
    assert opened(other, "RATE = 2\n").number == 2


def test_settling_finishes_what_best_holds_already(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    ledger.record(measurement(experiment.tree))
    concluded = ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    git(ledger.path, "update-ref", experiment.ref, experiment.commit)  # as if killed between the two
    again = Ledger(ledger.path)
    assert again.opened() == (experiment,)
    assert again.landed(experiment) == concluded.experiment.commit
    assert again.verify() != ()
    assert again.settle(experiment) == concluded
    assert (again.opened(), again.verify()) == ((), ())


def test_what_best_does_not_hold_cannot_be_settled(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    assert ledger.landed(experiment) is None
    with pytest.raises(StaleRef):
        ledger.settle(experiment)


def test_another_process_sees_best_move(ledger: Ledger) -> None:
    reader = Ledger(ledger.path)
    concluded = kept(ledger, "RATE = 0.2\n")
    assert reader.best() == ledger.best()
    assert reader.best_record() == concluded


def test_every_move_of_best_is_in_its_reflog(ledger: Ledger) -> None:
    kept(ledger, "RATE = 0.2\n")
    discarded(ledger, "RATE = 0.3\n")
    kept(ledger, "RATE = 0.4\n")
    said = git(ledger.path, "reflog", "show", "--format=%gs", "best").splitlines()
    assert said[:-1] == ["keep 0003", "keep 0001", "baseline 0000"]


def test_untrusted_words_stay_words(ledger: Ledger) -> None:
    trap = "x\n\nExperiment: 0007\nVerdict: keep\nMetric: val_bpb=0.1\n"
    experiment = opened(ledger, "RATE = 0.2\n", title=trap, rationale=trap, category=trap, proposer=trap, reason=trap)
    assert ledger.opened() == (experiment,)
    seen = git(ledger.path, "log", "-1", "--format=%(trailers:key=Verdict,valueonly)", experiment.ref)
    assert seen.strip() == ""
    assert Ledger(ledger.path).find(1) == experiment


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../x.py",
        "a/../b.py",
        "/etc/passwd",
        "a//b.py",
        "a/",
        "./a.py",
        "a\0b.py",
        ".git/config",
        "sub/.git/hooks/post-checkout",
        ".GIT/config",
        ".Git",
        "git~1/config",
        ".git /config",
        ".git./config",
        ".g\u200cit/config",
        ".git::$INDEX_ALLOCATION/config",
        "a\\.git\\config",
        ".gitmodules",
        "sub/.GITMODULES",
        "gitmod~1",
        ".gitattributes",
        "\udcff.py",
        "n" * 256,
        "deep/" * 205 + "n",
    ],
)
def test_a_path_that_git_cannot_hold_is_refused(ledger: Ledger, path: str) -> None:
    before = git(ledger.path, "for-each-ref")
    with pytest.raises(UnfilablePath) as raised:
        ledger.open_experiment(proposal(ledger, "x", path=path), now=NOW)
    assert raised.value.path == path
    assert git(ledger.path, "for-each-ref") == before


def test_a_submodule_is_refused(ledger: Ledger) -> None:
    edit = Edit(path="vendor", content=b"", mode=FileMode.SUBMODULE)
    with pytest.raises(UnfilablePath):
        ledger.open_experiment(proposal(ledger, "", edits=(edit,)), now=NOW)


@pytest.mark.parametrize("path", ["a b.py", "ü/ñ.py", "-x.py", "a:b.py", ".github/x", "digit~1/x", "a\nb", '"'])
def test_an_odd_path_is_filed_as_it_is(ledger: Ledger, path: str) -> None:
    experiment = opened(ledger, "x\n", path=path)
    assert ledger.files(experiment.tree, lambda found: found == path) == {path: b"x\n"}
    assert [change.path for change in ledger.changes(experiment)] == [path]
    assert fsck(ledger.path) == ""


def test_all_that_was_decided_is_there_after_opening_again(ledger: Ledger) -> None:
    made = [kept(ledger, "RATE = 0.2\n"), discarded(ledger, "RATE = 0.3\n"), kept(ledger, "RATE = 0.4\n")]
    waiting = opened(ledger, "RATE = 0.5\n")
    ledger.pack()
    again = Ledger(ledger.path)
    assert list(again.concluded())[1:] == made
    assert again.opened() == (waiting,)
    assert again.best_record() == made[-1]
    assert [entry.outcome for entry in again.entries()] == [
        Outcome.BASELINE,
        Outcome.KEEP,
        Outcome.DISCARD,
        Outcome.KEEP,
        None,
    ]
    assert again.find(99) is None


def test_best_that_was_deleted_is_said(ledger: Ledger) -> None:
    git(ledger.path, "update-ref", "-d", "refs/heads/best")
    with pytest.raises(Exception, match="refs/heads/best: it is missing"):
        ledger.best()


def test_a_diff_reads_as_gits(ledger: Ledger) -> None:
    experiment = opened(ledger, FILES["train.py"].replace("DEPTH = 4", "DEPTH = 6"))
    assert ledger.diff(experiment) == git(ledger.path, "diff", experiment.parent, experiment.commit)


def test_a_kept_finding_cherry_picks_into_the_project(ledger: Ledger, tmp_path: Path) -> None:
    found = kept(ledger, FILES["train.py"].replace("DEPTH = 4", "DEPTH = 6"))
    source = tmp_path / "project"
    git(source, "fetch", "-q", str(ledger.path), "best")
    git(source, "cherry-pick", found.experiment.commit)
    assert "DEPTH = 6" in (source / "train.py").read_text()


def test_a_verdict_type_is_what_best_record_gives(ledger: Ledger) -> None:
    best = ledger.best_record()
    assert isinstance(best, Concluded)
    assert isinstance(best.verdict, Verdict)
    assert best.experiment.commit == CommitOid(git(ledger.path, "rev-parse", "best").strip())
