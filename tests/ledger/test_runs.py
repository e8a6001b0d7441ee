"""Measurements are filed under the tree that was trained, once each, and come back as they were."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import CorruptRecord, RefLocked
from autoresearchd.experiment import CurvePoint, Ending, Outcome, TreeOid
from autoresearchd.ledger import Ledger, runs
from tests.ledger.lab import METRIC, NOW, fsck, git, measurement, opened, verdict
from tests.support.damage import forge, harm

PROCESSES = multiprocessing.get_context("forkserver")
TREE = TreeOid("ab" * 20)
OTHER = TreeOid("abab" + "cd" * 18)


def test_a_run_comes_back_as_it_was(ledger: Ledger) -> None:
    made = measurement(
        TREE,
        ending=Ending.UNSTABLE,
        metrics={"val_bpb": 0.1 + 0.2, "tokens_per_second": 5e4, "loss": math.inf, "low": -math.inf},
        curve=(
            CurvePoint(step=1, seconds=0.1, train_loss=math.nan),
            CurvePoint(step=2, seconds=1e-9, train_loss=1e300),
        ),
        log_tail="Zeile ü\n\x00\x1b[31m\ud800",
        why="the loss is NaN",
    )
    ledger.record(made)
    (found,) = Ledger(ledger.path).measurements(TREE)
    assert math.isnan(found.curve[0].train_loss)
    point = replace(found.curve[0], train_loss=0.0)
    assert replace(found, curve=(point, *found.curve[1:]), log_tail="") == replace(
        made, curve=(point, *made.curve[1:]), log_tail=""
    )
    assert found.log_tail.startswith("Zeile ü\n\x00\x1b[31m")


def test_filing_a_run_again_changes_nothing(ledger: Ledger) -> None:
    ledger.record(measurement(TREE))
    before = git(ledger.path, "rev-parse", "refs/autoresearch/runs")
    ledger.record(measurement(TREE, metrics={"val_bpb": 0.1}))
    assert git(ledger.path, "rev-parse", "refs/autoresearch/runs") == before
    assert ledger.measurements(TREE) == (measurement(TREE),)


def test_the_runs_of_a_tree_are_its_own_and_oldest_first(ledger: Ledger) -> None:
    for seed in (3, 1, 2):
        ledger.record(measurement(TREE, seed))
    ledger.record(measurement(OTHER))
    assert [run.seed for run in ledger.measurements(TREE)] == [1, 2, 3]
    assert [run.tree for run in ledger.measurements(OTHER)] == [OTHER]
    assert ledger.measurements(TreeOid("00" * 20)) == ()


def test_each_run_is_one_commit_that_git_can_read(ledger: Ledger) -> None:
    before = int(git(ledger.path, "rev-list", "--count", "refs/autoresearch/runs"))
    for seed in range(3):
        ledger.record(measurement(TREE, seed))
    assert int(git(ledger.path, "rev-list", "--count", "refs/autoresearch/runs")) == before + 3
    path = f"ab/{TREE[2:]}/{TREE}-1.json"
    assert '"seed":1' in git(ledger.path, "show", f"refs/autoresearch/runs:{path}")
    assert fsck(ledger.path) == ""


def test_only_trees_that_ran_more_than_once_are_repeated(ledger: Ledger) -> None:
    (baseline,) = ledger.entries()
    assert ledger.repeated() == {}
    ledger.record(measurement(TREE, 1))
    ledger.record(measurement(OTHER, 1))
    ledger.record(measurement(TREE, 2))
    assert {tree: [run.run for run in runs] for tree, runs in ledger.repeated().items()} == {
        TREE: [run.run for run in ledger.measurements(TREE)]
    }
    Ledger(ledger.path).record(measurement(baseline.tree, 5))
    assert set(ledger.repeated()) == {TREE, baseline.tree}
    ledger.record(measurement(TREE, 3))
    assert [run.seed for run in ledger.repeated()[TREE]] == [1, 2, 3]


def test_what_another_process_filed_is_seen_at_once(ledger: Ledger) -> None:
    reader = Ledger(ledger.path)
    ledger.record(measurement(TREE, 1))
    assert len(reader.measurements(TREE)) == 1
    ledger.record(measurement(TREE, 2))
    ledger.pack()
    assert len(reader.measurements(TREE)) == 2


def _file(path: Path, first: int, count: int, all_ready: Barrier) -> None:
    ledger = Ledger(path)
    all_ready.wait()
    for seed in range(first, first + count):
        ledger.record(measurement(TREE if seed % 2 else OTHER, seed))


@pytest.mark.parametrize("fresh", [True, False])
def test_processes_that_file_at_once_lose_nothing(ledger: Ledger, fresh: bool) -> None:
    if fresh:  # the very first run has to be raced for as well
        git(ledger.path, "update-ref", "-d", "refs/autoresearch/runs")
    all_ready = PROCESSES.Barrier(3)
    writers = [PROCESSES.Process(target=_file, args=(ledger.path, 40 * who, 40, all_ready)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = (*ledger.measurements(TREE), *ledger.measurements(OTHER))
    assert sorted(run.seed for run in found) == list(range(120))
    assert fsck(ledger.path) == ""


def test_a_lock_that_never_goes_is_said_in_the_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LAST_PAUSE_SECONDS", 0.005)
    (ledger.path / "refs/autoresearch/runs.lock").touch()
    with pytest.raises(RefLocked):
        ledger.record(measurement(TREE))


@pytest.mark.parametrize("content", ["", "not json", "[]", "{}", '{"run": 1}', "null", '{"ending": "splendid"}'])
def test_a_file_that_is_no_run_is_set_aside_and_named_and_the_others_count(ledger: Ledger, content: str) -> None:
    ledger.record(measurement(TREE))
    place = f"ab/{TREE[2:]}/bad.json"
    forge(ledger.path, place, content)
    with capture_logs() as said:
        assert ledger.measurements(TREE) == (measurement(TREE),)
        ledger.record(measurement(TREE, 1))
        assert [run.seed for run in ledger.measurements(TREE)] == [0, 1]
    assert list(ledger.damaged) == [f"refs/autoresearch/runs:{place}"]
    assert [entry["path"] for entry in said if entry["event"] == "run_unreadable"] == list(ledger.damaged), "said once"
    assert git(ledger.path, "show", f"refs/autoresearch/runs:{place}") == content, "it is evidence of what happened"


def test_a_run_that_is_filed_under_another_tree_counts_for_neither_twice(ledger: Ledger) -> None:
    ledger.record(measurement(TREE))
    stolen = git(ledger.path, "show", f"refs/autoresearch/runs:ab/{TREE[2:]}/{TREE}-0.json")
    forge(ledger.path, f"ab/{OTHER[2:]}/{TREE}-0.json", stolen)
    assert ledger.measurements(OTHER) == ()
    assert list(ledger.damaged.values()) == ["it is filed under another tree"]
    assert len(ledger.measurements(TREE)) == 1


def test_a_file_where_a_folder_should_be_is_named_and_never_written_over(ledger: Ledger) -> None:
    forge(ledger.path, "12", "x")
    assert ledger.measurements(TreeOid("12" * 20)) == ()
    assert ledger.damaged == {"refs/autoresearch/runs:12": "it is no folder"}
    with pytest.raises(CorruptRecord, match="no folder"):
        ledger.record(measurement(TreeOid("12" * 20)))
    assert git(ledger.path, "show", "refs/autoresearch/runs:12") == "x"


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
@pytest.mark.parametrize("what", ["run", "folder", "shelf"])
def test_what_the_disk_lost_of_one_tree_does_not_hide_the_others(
    ledger: Ledger, what: str, damage: bytes | None
) -> None:
    other = TreeOid("cd" * 20)
    for seed in range(2):
        ledger.record(measurement(TREE, seed))
        ledger.record(measurement(other, seed))
    path = {"run": f"ab/{TREE[2:]}/{TREE}-0.json", "folder": f"ab/{TREE[2:]}", "shelf": "ab"}[what]
    harm(ledger.path, git(ledger.path, "rev-parse", f"refs/autoresearch/runs:{path}").strip(), damage)
    again = Ledger(ledger.path)
    assert [run.seed for run in again.measurements(TREE)] == ([1] if what == "run" else [])
    assert set(again.repeated()) == {other}
    assert all("git cannot read it" in why for why in again.damaged.values())
    assert again.damaged


def test_a_lab_whose_measurements_are_gone_as_a_whole_is_not_taken_for_an_empty_one(ledger: Ledger) -> None:
    harm(ledger.path, git(ledger.path, "rev-parse", "refs/autoresearch/runs").strip(), None)
    again = Ledger(ledger.path)
    for act in (lambda: again.measurements(TREE), again.repeated, lambda: again.record(measurement(TREE))):
        with pytest.raises(CorruptRecord, match="refs/autoresearch/runs"):
            act()


def test_a_damaged_run_does_not_hide_the_spread_of_the_others(ledger: Ledger) -> None:
    for seed in range(2):
        ledger.record(measurement(TREE, seed))
        ledger.record(measurement(OTHER, seed))
    forge(ledger.path, f"ab/{OTHER[2:]}/bad.json", "{}")
    assert {tree: len(runs) for tree, runs in ledger.repeated().items()} == {TREE: 2, OTHER: 2}


def test_best_is_not_moved_on_the_word_of_a_damaged_run(ledger: Ledger) -> None:
    experiment, before = opened(ledger, "RATE = 0.2\n"), ledger.best()
    ledger.record(measurement(experiment.tree))
    path = f"{experiment.tree[:2]}/{experiment.tree[2:]}/{experiment.tree}-0.json"
    forge(ledger.path, path, "{}")
    with pytest.raises(ValueError, match="no finished run"):
        ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    assert ledger.best() == before
