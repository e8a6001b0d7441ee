"""Every experiment is seen, by whoever asks and whenever it was written, and one damaged record hides no others."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Concluded, Experiment, Outcome
from autoresearchd.ledger import Ledger, history
from tests.ledger.lab import METRIC, NOW, discarded, git, kept, measurement, opened, verdict


def _forge(ledger: Ledger, ref: str, message: str, *, parents: int = 1) -> str:
    best = ledger.best()
    arguments = ["-p", best.commit] if parents else []
    commit = git(ledger.path, "commit-tree", best.tree, *arguments, given=message).strip()
    git(ledger.path, "update-ref", ref, commit)
    return commit


def _message(number: int, verdict: str = "Verdict: discard\n") -> str:
    return f"Try\n\nExperiment: {number:04d}\nLines: +1 -1\n{verdict}"


def test_what_another_handle_wrote_is_seen_after_a_refresh(ledger: Ledger) -> None:
    reader = Ledger(ledger.path)
    first = opened(ledger, "RATE = 1\n")
    assert reader.find(first.number) is None
    reader.refresh()
    assert reader.opened() == (first,)
    concluded = ledger.conclude(first, verdict(Outcome.CRASH), metric=METRIC, now=NOW)
    assert reader.find(first.number) == first
    reader.refresh()
    assert reader.find(first.number) == concluded
    assert (reader.opened(), list(reader.concluded())[1:]) == ((), [concluded])


def test_packing_is_not_seen_as_a_change_and_hides_none(ledger: Ledger) -> None:
    reader = Ledger(ledger.path)
    made = [discarded(ledger, f"RATE = {rate}\n") for rate in range(3)]
    ledger.pack()
    reader.refresh()
    assert list(reader.concluded())[1:] == made
    made.append(discarded(ledger, "RATE = 3\n"))
    ledger.pack()
    with capture_logs() as said:
        reader.refresh()
    assert list(reader.concluded())[1:] == made
    assert said == []


def test_a_replay_by_another_handle_is_seen(ledger: Ledger) -> None:
    reader, waiting = Ledger(ledger.path), opened(ledger, "x\n", path="x.py")
    reader.refresh()
    kept(ledger, "RATE = 2\n")
    replayed = ledger.replay(waiting, now=NOW)
    assert reader.opened() == (waiting,)
    reader.refresh()
    assert reader.opened() == (replayed,)


def _refresh_again_and_again(ledger: Ledger) -> None:
    """What is odd is said once, loose and packed."""
    ledger.refresh()
    ledger.refresh()
    ledger.pack()
    ledger.refresh()


@pytest.mark.parametrize("name", ["mine", "12-x", "0099", "0099-UPPER", "0099-x/y"])
def test_a_branch_that_is_not_ours_is_ignored_and_said(ledger: Ledger, name: str) -> None:
    with capture_logs() as said:
        git(ledger.path, "update-ref", f"refs/heads/exp/{name}", "best")
        _refresh_again_and_again(ledger)
    assert [entry["ref"] for entry in said if entry["event"] == "ref_not_ours"] == [f"refs/heads/exp/{name}"]
    assert [entry.number for entry in ledger.entries()] == [0]
    assert opened(ledger, "RATE = 1\n").number == 1


def test_a_number_that_two_branches_claim_is_the_firsts(ledger: Ledger) -> None:
    first = discarded(ledger, "RATE = 1\n")
    with capture_logs() as said:
        _forge(ledger, "refs/heads/exp/0001-another", _message(1))
        _refresh_again_and_again(ledger)
    assert [entry["event"] for entry in said] == ["number_claimed_twice"]
    assert ledger.find(1) == first


@pytest.mark.parametrize(
    "message",
    [
        "no record at all\n",
        _message(77),
        _message(2, "Verdict: splendid\n"),
        _message(2, "Verdict: discard\nMetric: val_bpb=low\n"),
        "Try\n\nExperiment: 0002\nVerdict: keep\n",
        "Try\n\nExperiment: 0002\nLines: +1 -1\nVerdict: keep\nand words\n",
        "",
    ],
)
@pytest.mark.parametrize("open_too", [True, False])
def test_a_damaged_record_hides_no_others(ledger: Ledger, message: str, open_too: bool) -> None:
    before = discarded(ledger, "RATE = 1\n")
    _forge(ledger, "refs/heads/exp/0002-damaged", message)
    ledger.refresh()
    after = discarded(ledger, "RATE = 3\n")
    waiting = (opened(ledger, "RATE = 4\n"),) if open_too else ()
    for handle in (ledger, Ledger(ledger.path)):
        assert [found.experiment.number for found in handle.concluded()] == [0, 1, 3]
        assert [found.experiment.number for found in reversed(handle.concluded())] == [3, 1, 0]
        assert handle.opened() == waiting
        assert (handle.find(1), handle.find(3)) == (before, after)
        with pytest.raises(CorruptRecord) as raised:
            handle.find(2)
        assert raised.value.where == "refs/heads/exp/0002-damaged"
        assert after.experiment.number == 3


def test_a_commit_without_a_parent_is_no_experiment(ledger: Ledger) -> None:
    _forge(ledger, "refs/heads/exp/0001-rootless", _message(1), parents=0)
    ledger.refresh()
    with pytest.raises(CorruptRecord, match="not one commit"):
        ledger.find(1)


@pytest.mark.parametrize("many", [2, history.BULK + 10])
def test_a_commit_that_is_gone_hides_no_others(ledger: Ledger, many: int) -> None:
    made = [discarded(ledger, f"RATE = {rate}\n") for rate in range(many)]
    commit = made[0].experiment.commit
    (ledger.path / "objects" / commit[:2] / commit[2:]).unlink()
    with capture_logs() as said:
        again = Ledger(ledger.path)
        again.refresh()
        assert [found.experiment.number for found in again.concluded()] == [0, *range(2, many + 1)]
    assert [entry["commit"] for entry in said if entry["event"] == "commit_unreadable"] == [commit]
    assert opened(again, "RATE = 9\n").number == many + 1


def test_what_could_not_be_read_for_a_moment_is_read_at_the_next_look(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no file may be opened; also of what was packed meanwhile."""
    reader = Ledger(ledger.path)
    for rate in range(history.BULK + 1):
        discarded(ledger, f"RATE = {rate}\n")
    ledger.pack()
    with monkeypatch.context() as patch:
        patch.setattr(history, "raw_commits", Mock(side_effect=OSError(errno.EMFILE, "no more files")))
        with pytest.raises(OSError, match="no more files"):
            reader.refresh()
    reader.refresh()
    assert len(reader.concluded()) == history.BULK + 2


@pytest.mark.parametrize("what", ["commit", "parent"])
def test_a_commit_that_is_lost_after_it_was_listed_is_a_corrupt_record(
    ledger: Ledger, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BULK", 1)  # libgit2 caches what it has read itself
    made = discarded(ledger, "RATE = 1\n").experiment
    again = Ledger(ledger.path)
    oid = made.commit if what == "commit" else made.parent
    (ledger.path / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(CorruptRecord, match="git cannot read it"):
        again.find(1)
    assert 1 not in [found.experiment.number for found in again.concluded()]


def test_a_ref_of_no_bytes_is_not_an_experiment(ledger: Ledger) -> None:
    made = discarded(ledger, "RATE = 1\n")
    (ledger.path / "refs/heads/exp/0002-torn").write_bytes(b"")
    ledger.refresh()
    assert list(ledger.concluded())[1:] == [made]


def test_many_read_at_once_are_what_they_are_one_by_one(ledger: Ledger) -> None:
    steps = Ledger(ledger.path)
    for number in range(1, history.BULK + 20):
        experiment = opened(ledger, f"RATE = {number}\n")
        if number % 3:
            outcome = list(Outcome)[number % len(Outcome)]
            ledger.record(measurement(experiment.tree))
            if outcome is Outcome.KEEP or outcome is Outcome.BASELINE:
                outcome = Outcome.DISCARD
            ledger.conclude(experiment, verdict(outcome), metric=METRIC, now=NOW)
        steps.refresh()
    bulk = Ledger(ledger.path)
    assert bulk.entries() == steps.entries() == ledger.entries()
    assert list(bulk.concluded()) == list(steps.concluded()) == list(ledger.concluded())
    assert bulk.opened() == steps.opened() == ledger.opened()


def test_who_goes_on_with_an_older_list_goes_past_what_was_deleted_since(ledger: Ledger) -> None:
    first, second = discarded(ledger, "RATE = 1\n"), discarded(ledger, "RATE = 2\n")
    reader = Ledger(ledger.path)
    older = reader.concluded()
    git(ledger.path, "update-ref", "-d", first.experiment.ref)
    reader.refresh()
    assert list(older)[1:] == [second]
    with pytest.raises(CorruptRecord, match="its branch is gone"):
        older[1]


def test_a_branch_that_was_deleted_is_gone_and_its_number_stays_used(ledger: Ledger) -> None:
    made = [discarded(ledger, "RATE = 1\n"), discarded(ledger, "RATE = 2\n")]
    waiting = opened(ledger, "RATE = 3\n")
    ledger.pack()
    for ref in (made[0].experiment.ref, waiting.ref):
        git(ledger.path, "update-ref", "-d", ref)
    with capture_logs() as said:
        ledger.refresh()
    assert sorted(entry["experiment"] for entry in said if entry["event"] == "experiment_deleted") == [1, 3]
    assert list(ledger.concluded())[1:] == made[1:]
    assert (ledger.opened(), ledger.find(1)) == ((), None)
    assert opened(ledger, "RATE = 4\n").number == 4
    assert [entry.number for entry in Ledger(ledger.path).entries()] == [0, 2, 4]


def test_the_list_of_the_concluded_is_a_sequence(ledger: Ledger) -> None:
    made = [discarded(ledger, f"RATE = {rate}\n") for rate in range(4)]
    found = ledger.concluded()
    discarded(ledger, "RATE = 9\n")
    assert len(found) == 5
    assert (found[-1], found[1], list(found[1:3])) == (made[3], made[0], made[:2])
    assert list(found[::-2]) == [made[3], made[1], found[0]]
    assert list(reversed(found))[:4] == made[::-1]
    with pytest.raises(IndexError):
        found[5]


def test_an_experiment_reads_the_same_open_and_concluded(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 1\n", reason="why not", cost_usd=0.25, rationale="a\n\nb")
    concluded = ledger.conclude(experiment, verdict(Outcome.DISCARD), metric=METRIC, now=NOW)
    assert isinstance(ledger.find(1), Concluded)
    assert Experiment.__slots__ == tuple(Experiment.__dataclass_fields__)
    different = {
        name
        for name in Experiment.__dataclass_fields__
        if getattr(concluded.experiment, name) != getattr(experiment, name)
    }
    assert different == {"commit"}


def test_a_lab_that_is_opened_by_a_relative_path_works(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ledger.path.parent)
    relative = Ledger(Path(ledger.path.name))
    for rate in range(history.BULK):
        opened(ledger, f"RATE = {rate}\n")
    relative.refresh()
    assert len(relative.opened()) == history.BULK


def test_an_experiment_is_listed_once_wherever_its_branch_was_moved_meanwhile(ledger: Ledger) -> None:
    waiting, reader = opened(ledger, "RATE = 1\n"), Ledger(ledger.path)
    concluded = ledger.conclude(waiting, verdict(Outcome.CRASH), metric=METRIC, now=NOW)
    for oid in ("f" * 40, concluded.experiment.commit, waiting.commit, concluded.experiment.commit):
        (ledger.path / waiting.ref).write_text(f"{oid}\n")
        reader.refresh()
        assert reader.opened() == ((waiting,) if oid == waiting.commit else ())
        listed = [found.experiment.number for found in reader.concluded()]
        assert listed == ([0, 1] if oid == concluded.experiment.commit else [0])
