"""What promotion cannot read or begin holds up promotion alone: the status names it, and the lab researches on."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Environment, Outcome, RunSpec
from autoresearchd.ledger import Ledger, refs
from tests.support.damage import harm, tear
from tests.support.night import Night
from tests.support.projects import PROGRAM, git, lab

D12 = Environment("test/d12")
LONG = 40
"""Steps of ten seconds: longer than promotion rests."""


def night_with_a_rung(path: Path) -> Night:
    return Night(lab(path), program=PROGRAM + '\n[[scale]]\nname = "d12"\n', scales={"d12": D12})


def on_the_rung(night: Night) -> list[RunSpec]:
    return [spec for spec in night.executor.started if spec.scale]


def test_a_run_on_a_rung_that_cannot_be_prepared_holds_up_no_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = night_with_a_rung(tmp_path)
    start = night.executor.start

    def start_unless_on_a_rung(spec: RunSpec) -> None:
        if spec.scale:
            raise CorruptRecord(f"tree {spec.tree}", "git cannot read it")
        start(spec)

    with monkeypatch.context() as damaged:
        damaged.setattr(night.executor, "start", start_unless_on_a_rung)
        night.steps(6)
        night.propose(0.5)
        night.steps(10)
        night.propose(2.0)
        night.steps(5)
        assert [night.outcome(number) for number in (1, 2)] == [Outcome.KEEP, Outcome.DISCARD]
        assert night.loop.status.state != "held"
        assert "d12: promotion rests: tree " in night.loop.status.rung_why
        assert on_the_rung(night) == []
    night.steps(LONG)
    assert on_the_rung(night), "mended, it goes on by itself"


@pytest.mark.parametrize("damage", [None, b"torn"], ids=["gone", "torn"])
def test_a_kept_change_that_the_disk_lost_holds_up_no_experiment(tmp_path: Path, damage: bytes | None) -> None:
    night = night_with_a_rung(tmp_path)
    lock = night.ledger.path / f"{refs.CLIMBING}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()  # promotion begins when it is gone
    night.steps(6)
    night.propose(0.5)
    night.steps(10)
    night.propose(0.25)
    night.steps(10)
    harm(night.ledger.path, git(night.ledger.path, "rev-parse", "best~1:train.py").strip(), damage)
    lock.unlink()
    night.steps(LONG)
    night.propose(2.0)
    night.steps(5)
    outcomes = [night.outcome(number) for number in (1, 2, 3)]
    assert outcomes == [Outcome.KEEP, Outcome.KEEP, Outcome.DISCARD]
    assert night.loop.status.state != "held"
    assert "d12: promotion rests: " in night.loop.status.rung_why
    again = Night(night.ledger, program=PROGRAM + '\n[[scale]]\nname = "d12"\n', scales={"d12": D12})
    assert "promotion rests" in again.loop.status.rung_why, "a restart starts"


TORN = [b"", b"garbage\n", b"ref: refs/heads/nowhere\n"]


@pytest.mark.parametrize("content", TORN, ids=["empty", "garbage", "another's name"])
@pytest.mark.parametrize("name", [refs.PROMOTED, refs.CLIMBING, refs.NOTES])
def test_a_ref_of_promotion_that_a_power_cut_tore_holds_up_no_experiment(
    tmp_path: Path, name: str, content: bytes
) -> None:
    night = night_with_a_rung(tmp_path)
    night.steps(6)
    night.propose(0.5)
    night.steps(10)
    tear(night.ledger.path, name, content)
    night.propose(2.0)
    night.steps(5)
    assert [night.outcome(number) for number in (1, 2)] == [Outcome.KEEP, Outcome.DISCARD]
    again = Night(Ledger(night.ledger.path), program=PROGRAM + '\n[[scale]]\nname = "d12"\n', scales={"d12": D12})
    again.propose(3.0)
    again.steps(5)
    assert again.outcome(3) is Outcome.DISCARD
    for each in (night, again):
        assert any(name in damage for damage in each.loop.status.damaged)
    assert f"`rm {name}` in experiments.git" in again.ledger.fsck()[0].mend
    (night.ledger.path / name).unlink()
    again.steps(LONG)
    assert again.loop.status.damaged == ()
