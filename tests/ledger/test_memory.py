"""What a ledger holds in memory does not grow with what its experiments said: weeks of a daemon's life fit in."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd.archive import Archive
from autoresearchd.context import context_of
from autoresearchd.experiment import CurvePoint, Outcome, TreeOid
from autoresearchd.ledger import Ledger, history, runs
from autoresearchd.program import parse
from bench.synthetic import make
from tests.ledger.lab import METRIC, NOW, kept, measurement, new_ledger, opened, verdict, with_baseline
from tests.support.projects import PROGRAM

EXPERIMENTS = 1_500
INDEX_BYTES = 250
"""An experiment's number, branch, commit, tree and outcome, known for all of them."""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("big"), EXPERIMENTS)


def held(act: Callable[[], object]) -> int:
    """Bytes that are held more after than before."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_of_experiments_long_past_only_the_index_is_held(big: Path) -> None:
    ledger = Ledger(big)
    past = ledger.concluded()[: -history.REMEMBERED]
    assert len(past) > 900
    assert held(lambda: sum(len(row.experiment.title) for row in past)) < 100 * len(past)
    small = make(big.with_name("small"), EXPERIMENTS // 10)
    more = held(lambda: Ledger(big)) - held(lambda: Ledger(small))
    assert more < (EXPERIMENTS - EXPERIMENTS // 10) * INDEX_BYTES


def test_a_ledger_at_rest_holds_no_pack_open_and_reads_on(big: Path) -> None:
    gc.collect()  # packs are open as long as one handle of this process has them
    ledger = Ledger(big)
    first = list(ledger.concluded())
    assert mapped(big)
    ledger.rest()
    assert mapped(big) == []
    assert list(ledger.concluded()) == first


def mapped(lab: Path) -> list[str]:
    """The packs of a lab that this process has in its memory."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if f"{lab}/objects/pack" in line]


def test_records_that_are_not_held_are_the_same_when_they_are_read_again(big: Path) -> None:
    ledger = Ledger(big)
    assert list(ledger.concluded()) == list(ledger.concluded())
    assert ledger.find(1) == ledger.find(1)


def test_what_is_open_is_read_once_however_much_was_opened_since(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    for number in range(history.REMEMBERED + 2):
        opened(ledger, f"RATE = {number}\n")
    first, again = ledger.opened(), ledger.opened()
    assert len(first) == history.REMEMBERED + 2
    assert all(one is other for one, other in zip(first, again, strict=True))
    ledger.conclude(first[0], verdict(Outcome.DISCARD), metric=METRIC, now=NOW)
    assert held(lambda: ledger.concluded()[1].experiment) < 1000, "what is concluded and long past is not held"


def test_curves_and_logs_are_held_of_a_bounded_number_of_trees(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "REMEMBERED", 20)
    monkeypatch.setattr(runs, "RESULTS", 20)
    ledger, trees = Ledger(big), [entry.tree for entry in Ledger(big).entries()]

    def read(some: list[TreeOid]) -> int:
        return held(lambda: [ledger.measurements(tree) for tree in some] and None)

    first = read(trees[:20])
    assert first > 20_000
    assert read(trees[20:1_000]) < first


def test_what_is_asked_for_at_every_step_is_read_once(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "REMEMBERED", 20)
    ledger = Ledger(big)
    trees = [entry.tree for entry in ledger.entries()[:60]]
    first, again = ledger.measurements_of(trees), ledger.measurements_of(trees)
    assert all(first[tree] is again[tree] for tree in trees)
    assert all(ledger.measurements(tree) is first[tree] for tree in trees)


def test_for_the_noise_of_all_repeats_neither_curves_nor_logs_are_held(tmp_path: Path) -> None:
    ledger = Ledger(make(tmp_path, 50))
    curve = tuple(CurvePoint(step=step, seconds=3.0 * step, train_loss=4.0) for step in range(500))
    trees = [entry.tree for entry in ledger.entries()]
    for tree in trees:
        ledger.record(measurement(tree, 7, curve=curve, log_tail="step\n" * 1_000))
    found: dict[TreeOid, object] = {}
    assert held(lambda: found.update(ledger.repeated())) < 5_000 * len(trees)
    assert len(found) == len(trees)
    assert [run.curve for run in ledger.repeated()[trees[0]]][-1] == curve[-1:]


def test_what_many_trees_measured_is_told_without_curves_and_logs(tmp_path: Path) -> None:
    ledger = Ledger(make(tmp_path, 3))
    tree = ledger.best().tree
    curve = tuple(CurvePoint(step=step, seconds=3.0 * step, train_loss=4.0) for step in range(500))
    ledger.record(measurement(tree, 7, curve=curve, log_tail="step\n" * 1_000))
    whole, lean = ledger.measurements(tree), ledger.results(tree)
    assert [(run.run, run.seed, run.metrics) for run in lean] == [(run.run, run.seed, run.metrics) for run in whole]
    assert {(run.log_tail, run.curve) for run in lean} == {("", curve[-1:])} | {("", run.curve[-1:]) for run in whole}
    ledger.record(measurement(tree, 8))
    assert len(ledger.results(tree)) == len(whole) + 1


def test_to_look_at_the_same_runs_every_second_holds_nothing_more(big: Path) -> None:
    ledger = Ledger(big)
    tree = ledger.best().tree
    ledger.measurements(tree)
    assert held(lambda: [ledger.measurements(tree) for _ in range(500)] and None) < 4_000


def test_the_history_that_a_proposer_was_given_does_not_change_while_it_thinks(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    history = context_of(Ledger(ledger.path), parse(PROGRAM), ()).history
    before = list(history.concluded())
    kept(ledger, "RATE = 2\n")
    assert len(before) == 1
    assert list(history.concluded()) == before
    assert len(context_of(Ledger(ledger.path), parse(PROGRAM), ()).history.concluded()) == 2


def test_a_proposer_has_the_history_at_hand_once_it_went_through_it_and_only_so_long(big: Path) -> None:
    history = context_of(Ledger(big), parse(PROGRAM), ()).history
    with history.at_hand():
        assert history.concluded()[5] is not history.concluded()[5], "who looks at a few holds none"
        first, again = list(history.concluded()), list(history.concluded())
        assert all(one is other for one, other in zip(first, again, strict=True))
        assert history.concluded()[5] is first[5]
        assert next(iter(reversed(history.concluded()))) is first[-1]
        assert len(history.concluded()) == len(first)
    assert history.concluded()[5] is not first[5]
    assert list(history.concluded()) == first


def test_what_the_open_experiments_change_is_read_once_however_many_there_are(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    for number in range(300):
        opened(ledger, f"RATE = {number}\n")
    archive = Archive(ledger)
    first, again = archive.opened(), archive.opened()
    assert len(first) == 300
    assert all(one.changes is other.changes for one, other in zip(first, again, strict=True))
