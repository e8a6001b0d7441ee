"""What a release wrote, later ones read: the number of a lab's format, and a lab of each format that there was.

`python -m tests.ledger.test_formats` writes the lab of the present format, once, when the number is raised; a stored
lab is never written anew.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Ending, Outcome
from autoresearchd.ledger import Ledger, marks, refs
from tests.ledger.lab import METRIC, NOW, discarded, kept, measurement, new_ledger, opened, verdict, with_baseline
from tests.support.damage import tear
from tests.support.projects import git

DATA = Path(__file__).parents[1] / "data"


def stored(folder: Path, number: int) -> Ledger:
    """The lab that the last release of a format wrote."""
    git(folder, "clone", "-q", "--mirror", str(DATA / f"lab-format-{number}.bundle"), str(folder / "experiments.git"))
    return Ledger(folder / "experiments.git")


def a_lab_with_everything(folder: Path) -> Ledger:
    """What is stored: every kind of ending, a replay, repeats, an audit, other metrics, costs, an idea, an open one."""
    ledger = new_ledger(folder)
    with_baseline(ledger)
    kept(ledger, "RATE = 0.2\n", cost_usd=0.25, reason="rates pay")
    waiting = opened(ledger, "x\n", path="x.py", title="Say it in ünïcode → replayed")
    discarded(ledger, "RATE = 0.3\n", rationale="Verdict: keep\n\n---\nwords")
    kept(ledger, "RATE = 0.4\n")
    replayed = ledger.replay(waiting, now=NOW)
    assert replayed is not None
    metrics = {METRIC: 0.97, f"audit_{METRIC}": 0.99, "tokens_per_second": 5e4}
    ledger.record(measurement(replayed.tree, 0, metrics=metrics, audited=True))
    ledger.record(measurement(replayed.tree, 1, metrics={METRIC: 0.99}))
    said = verdict(Outcome.KEEP, runs=2, seeds=(0, 1), std_error=0.01, confidence=0.99, metrics=metrics, trust="x")
    ledger.conclude(replayed, said, metric=METRIC, now=NOW)
    crashed = opened(ledger, "raise\n")
    ledger.record(measurement(crashed.tree, ending=Ending.CRASH, metrics={}, why="ValueError: raised"))
    ledger.conclude(crashed, verdict(Outcome.CRASH, metric=None, baseline=None), metric=METRIC, now=NOW)
    opened(ledger, "RATE = 0.5\n", title="Still open")
    git(ledger.path, "update-ref", "refs/heads/idea/mine", "best~1")
    return ledger


def test_a_stored_lab_is_read_whole(tmp_path: Path) -> None:
    ledger = stored(tmp_path, 1)
    outcomes = [entry.outcome for entry in ledger.entries()]
    keep, discard = Outcome.KEEP, Outcome.DISCARD
    assert outcomes == [Outcome.BASELINE, keep, keep, discard, keep, Outcome.CRASH, None]
    assert [found.experiment.title for found in ledger.concluded()][2] == "Say it in ünïcode → replayed"
    best = ledger.best_record()
    assert best is not None
    assert (best.experiment.number, best.verdict.runs, best.verdict.seeds) == (2, 2, (0, 1))
    assert best.verdict.metrics["tokens_per_second"] == 5e4
    first, second = ledger.measurements(best.experiment.tree)
    assert (first.audited, first.metrics[f"audit_{METRIC}"], second.metrics) == (True, 0.99, {METRIC: 0.99})
    assert len(first.curve) == 2
    paid = ledger.find(1)
    assert isinstance(paid, Concluded)
    assert (paid.experiment.cost_usd, paid.experiment.reason) == (0.25, "rates pay")
    assert [experiment.title for experiment in ledger.opened()] == ["Still open"]
    assert len(ledger.ideas()) == 1
    assert ledger.fsck() == ()


def test_a_stored_lab_goes_on_and_keeps_what_it_had(tmp_path: Path) -> None:
    ledger = stored(tmp_path, 1)
    before = list(ledger.concluded())
    with ledger.hold():
        (waiting,) = ledger.opened()
        ledger.record(measurement(waiting.tree))
        ledger.conclude(waiting, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
        assert kept(ledger, "RATE = 0.6\n").experiment.number == 7
    again = Ledger(ledger.path)
    assert list(again.concluded())[:6] == before
    assert again.fsck() == ()


def test_init_says_the_format_and_every_clone_has_it(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path)
    assert git(ledger.path, "show", "refs/autoresearch/format") == f"{marks.FORMAT}\n"
    git(tmp_path, "clone", "-q", "--mirror", str(ledger.path), "copy.git")
    assert git(tmp_path / "copy.git", "show", "refs/autoresearch/format") == f"{marks.FORMAT}\n"


def say(ledger: Ledger, content: str) -> None:
    blob = git(ledger.path, "hash-object", "-w", "--stdin", given=content).strip()
    git(ledger.path, "update-ref", "refs/autoresearch/format", blob)


def test_a_lab_of_a_newer_program_is_refused_in_one_sentence(ledger: Ledger) -> None:
    say(ledger, f"{marks.FORMAT + 1}\n")
    with pytest.raises(UserError, match=f"has format {marks.FORMAT + 1} and this autoresearchd reads up to"):
        Ledger(ledger.path)


@pytest.mark.parametrize("content", ["", "one", "1 2", "-1", "9" * 5000, "\x1b[2J"])
def test_a_format_that_is_no_number_is_refused_in_one_sentence(ledger: Ledger, content: str) -> None:
    say(ledger, content)
    with pytest.raises(UserError, match="refs/autoresearch/format"):
        Ledger(ledger.path)


def test_a_lab_from_before_there_was_a_number_is_read_and_gets_one_from_whoever_writes_it(ledger: Ledger) -> None:
    git(ledger.path, "update-ref", "-d", "refs/autoresearch/format")
    again = Ledger(ledger.path)
    assert again.best_record() is not None
    assert git(ledger.path, "for-each-ref", "refs/autoresearch/format") == ""
    with again.hold():
        assert git(ledger.path, "show", "refs/autoresearch/format") == f"{marks.FORMAT}\n"


def test_a_number_is_not_given_again_when_the_newest_branch_is_deleted(ledger: Ledger) -> None:
    discarded(ledger, "RATE = 1\n")
    newest = discarded(ledger, "RATE = 2\n").experiment
    for packed in (False, True):
        if packed:
            ledger.pack()
        git(ledger.path, "update-ref", "-d", newest.ref)
        newest = opened(Ledger(ledger.path), "RATE = 3\n")
    assert newest.number == 4


def test_what_was_deleted_can_still_be_found_by_the_newest_number(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 1\n")
    git(ledger.path, "update-ref", "-d", experiment.ref)
    assert git(ledger.path, "rev-parse", "refs/autoresearch/newest").strip() == experiment.commit


def test_a_damaged_note_of_the_newest_number_stops_nobody(ledger: Ledger) -> None:
    git(ledger.path, "update-ref", "refs/autoresearch/newest", "best~1")
    again = Ledger(ledger.path)
    assert opened(again, "RATE = 1\n").number == 1
    assert again.fsck() == (), "the next experiment writes it anew"


@pytest.mark.parametrize("content", [b"", b"junk\n"], ids=["empty", "junk"])
@pytest.mark.parametrize("packed", [False, True], ids=["by its branch", "by what was packed"])
def test_a_start_writes_a_torn_note_anew_and_says_so_once_and_no_number_comes_twice(
    ledger: Ledger, content: bytes, packed: bool
) -> None:
    discarded(ledger, "RATE = 1\n")
    newest = discarded(ledger, "RATE = 2\n").experiment
    if packed:
        ledger.pack()
        git(ledger.path, "update-ref", "-d", newest.ref)
    tear(ledger.path, refs.NEWEST, content)
    for said in (["newest_number_written_anew"], []):
        with capture_logs() as logs, Ledger(ledger.path).hold():
            pass
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == said
    if not packed:
        git(ledger.path, "update-ref", "-d", newest.ref)
    again = Ledger(ledger.path)
    with again.hold():
        assert opened(again, "RATE = 3\n").number == 3
    assert [finding.what for finding in Ledger(ledger.path).fsck()] == ["0002 has no branch: it was deleted"]


def test_a_newest_number_that_a_backup_may_have_is_left_as_it_is_by_a_start(ledger: Ledger) -> None:
    lost = "f" * 40
    tear(ledger.path, refs.NEWEST, f"{lost}\n".encode())
    with Ledger(ledger.path).hold():
        assert (ledger.path / refs.NEWEST).read_text() == f"{lost}\n"


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        made = a_lab_with_everything(Path(place))
        git(made.path, "bundle", "create", "-q", str(DATA / f"lab-format-{marks.FORMAT}.bundle"), "--all")
