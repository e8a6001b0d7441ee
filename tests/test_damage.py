"""A damaged experiments.git: what can go on goes on, nothing is written over, and the status says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Outcome, RunSpec
from autoresearchd.ledger import Ledger
from autoresearchd.report.status import text
from tests.support.damage import forge, harm
from tests.support.fakes import proposal
from tests.support.night import Night
from tests.support.projects import git, lab


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(lab(tmp_path / "project"))


@pytest.mark.parametrize("content", ["{}", "not json"])
def test_a_forged_run_of_an_open_experiment_is_set_aside_said_and_replaced(night: Night, content: str) -> None:
    night.steps(6)
    night.hanging = True
    night.propose(0.5)
    night.steps(2)
    tree = night.ledger.opened()[0].tree
    path = f"{tree[:2]}/{tree[2:]}/{tree}-0-forged.json"
    forge(night.ledger.path, path, content)
    night.hanging = False
    night.steps()
    assert night.outcome(1) is Outcome.KEEP
    assert f"refs/autoresearch/runs:{path}" in night.loop.status.damaged[0]
    assert git(night.ledger.path, "show", f"refs/autoresearch/runs:{path}") == content
    assert "autoresearchd fsck" in text(night.loop.status.to_json(), night.loop.status.pid)


@pytest.mark.parametrize("what", ["the tree", "a file of it"])
@pytest.mark.parametrize("damage", [None, b"torn"])
def test_an_open_experiment_that_the_disk_lost_stays_open_and_the_others_go_on(
    night: Night, what: str, damage: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.steps(6)
    night.ledger.pause_switch.touch()
    best = night.ledger.best().commit
    lost = night.ledger.open_experiment(proposal(best, "RATE = 0.7\nDEPTH = 2\n"), now=night.now)
    name = lost.tree if what == "the tree" else f"{lost.tree}:train.py"
    harm(night.ledger.path, git(night.ledger.path, "rev-parse", name).strip(), damage)
    again = Night(Ledger(night.ledger.path))
    again.now = night.now
    start = again.executor.start

    def start_for_real(spec: RunSpec) -> None:
        folder = tmp_path / spec.run
        folder.mkdir()
        again.ledger.checkout(spec.tree, folder)
        start(spec)

    monkeypatch.setattr(again.executor, "start", start_for_real)
    again.ledger.pause_switch.unlink()
    again.propose(2.0)
    again.steps()
    assert (again.outcome(1), again.outcome(2)) == (None, Outcome.DISCARD)
    assert lost not in again.pipeline.pending, "who thinks would fail at what nobody can read"
    assert lost.ref in again.loop.status.damaged[0]
    assert again.loop.status.state == "idle"


def test_measurements_that_are_gone_as_a_whole_end_the_daemon_and_are_not_begun_anew(night: Night) -> None:
    night.steps(6)
    harm(night.ledger.path, git(night.ledger.path, "rev-parse", "refs/autoresearch/runs").strip(), None)
    before = git(night.ledger.path, "rev-parse", "refs/autoresearch/runs")
    with pytest.raises(CorruptRecord, match="refs/autoresearch/runs"):
        Night(Ledger(night.ledger.path))
    assert git(night.ledger.path, "rev-parse", "refs/autoresearch/runs") == before
