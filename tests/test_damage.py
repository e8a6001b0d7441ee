"""A damaged experiments.git: what can go on goes on, nothing is written over, and the status says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.experiment import Outcome, RunSpec
from autoresearchd.ledger import Ledger, refs
from autoresearchd.report.status import text
from tests.support.damage import forge, harm, tear
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


@pytest.mark.parametrize("content", [b"", b"garbage\n"], ids=["empty", "garbage"])
@pytest.mark.parametrize("name", [refs.NEWEST, refs.REFUSED])
def test_a_note_that_a_power_cut_tore_stops_neither_daemon_nor_start_and_no_number_comes_twice(
    night: Night, name: str, content: bytes
) -> None:
    git(night.ledger.path, "update-ref", "refs/heads/idea/nothing-new", "best")
    night.steps(6)
    tear(night.ledger.path, name, content)
    night.propose(2.0)
    night.steps(10)
    again = Night(Ledger(night.ledger.path))
    git(again.ledger.path, "update-ref", "refs/heads/idea/nothing-new", "best")
    again.propose(3.0)
    again.steps(10)
    assert [(entry.number, entry.outcome) for entry in Ledger(night.ledger.path).entries()] == [
        (0, Outcome.BASELINE),
        (1, Outcome.DISCARD),
        (2, Outcome.DISCARD),
    ]
    assert again.loop.status.refused_ideas, "what is turned away is told, written down or not"
    anew = name == refs.NEWEST
    assert again.ledger.fsck()[0].what == f"the file of {name} is damaged"
    assert ("the next `autoresearchd run` writes it anew" if anew else f"`rm {name}`") in again.ledger.fsck()[0].mend
    if not anew:
        (night.ledger.path / name).unlink()
    with again.ledger.hold():
        again.propose(4.0)
    again.steps(10)
    assert Ledger(night.ledger.path).fsck() == ()


@pytest.mark.parametrize("name", [refs.BEST, refs.RUNS])
def test_what_all_rests_on_ends_the_daemon_with_its_name_where_a_power_cut_tore_it(night: Night, name: str) -> None:
    night.steps(6)
    night.propose(2.0)
    tear(night.ledger.path, name, b"")
    with pytest.raises(CorruptRecord, match=f"^{name}: its file is damaged; `rm {name}`"):
        night.steps(10)
    with pytest.raises(CorruptRecord, match=f"^{name}: its file is damaged; `rm {name}`"):
        Night(Ledger(night.ledger.path))
    assert f"`rm {name}` in experiments.git" in Ledger(night.ledger.path).fsck()[0].mend
    assert [entry.number for entry in Ledger(night.ledger.path).entries()] == [0]


@pytest.mark.parametrize("name", [refs.FORMAT, refs.MEASURED])
def test_what_a_lab_says_of_itself_is_a_sentence_where_a_power_cut_tore_it(night: Night, name: str) -> None:
    night.ledger.note_measured_by({"a": 1})
    tear(night.ledger.path, name, b"")
    with pytest.raises(UserError, match=f"`rm {name}` in experiments.git"):
        Ledger(night.ledger.path).measured_by()


@pytest.mark.parametrize("what", ["no object", "no commit"])
def test_an_open_experiment_whose_branch_was_moved_to_nothing_readable_holds_no_other_up(
    night: Night, what: str
) -> None:
    night.steps(6)
    night.hanging = True
    night.propose(2.0)
    night.steps(3)
    (lost,) = night.ledger.opened()
    oid = "f" * 40 if what == "no object" else git(night.ledger.path, "rev-parse", "best:train.py").strip()
    (night.ledger.path / lost.ref).write_text(f"{oid}\n")
    night.hanging = False
    night.propose(3.0)
    night.steps()
    assert night.outcome(2) is Outcome.DISCARD
    assert night.loop.status.state == "idle"
    assert any("0001 cannot be read" in finding.what or lost.ref in finding.what for finding in night.ledger.fsck())
    (night.ledger.path / lost.ref).write_text(f"{lost.commit}\n")
    again = Night(Ledger(night.ledger.path))
    again.steps()
    assert again.outcome(1) is Outcome.DISCARD


@pytest.mark.parametrize("what", ["no object", "no commit"])
def test_a_best_that_is_no_commit_any_more_ends_the_daemon_with_one_sentence(night: Night, what: str) -> None:
    night.steps(6)
    oid = "f" * 40 if what == "no object" else git(night.ledger.path, "rev-parse", "best:train.py").strip()
    tear(night.ledger.path, refs.BEST, f"{oid}\n".encode())
    for act in (lambda: night.steps(2), lambda: Night(Ledger(night.ledger.path)), lambda: list(night.ledger.line())):
        with pytest.raises(CorruptRecord, match=f"^{oid[:10]}: git cannot read it"):
            act()
    assert (night.ledger.path / refs.BEST).read_text() == f"{oid}\n"
