"""Whether a start goes on with a lab: what a person mended since must not fail again unseen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from autoresearchd.admission import admit
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Ending
from autoresearchd.ledger import Ledger
from autoresearchd.program import parse
from tests.acceptance.daemon import PROGRAM as FOREIGN
from tests.acceptance.daemon import command, foreign_lab, start, stop, wait_for
from tests.ledger.lab import METRIC, measurement, project, with_baseline
from tests.support.projects import PROGRAM, WITHOUT_IDEAS, git, write


@dataclass(frozen=True)
class Place:
    """A project, and the lab that was made of it."""

    project: Path
    ledger: Ledger

    def admit(self) -> None:
        admit(self.ledger, parse(PROGRAM.replace('"loss"', f'"{METRIC}"')), self.project / "program.toml")

    def train(self, ending: Ending, seed: int = 0) -> None:
        """One run of the imported code."""
        tree = self.ledger.best().tree
        self.ledger.record(measurement(tree, seed=seed, ending=ending, why="KeyError: 'rate'"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home = project(tmp_path / "project")
    return Place(project=home, ledger=Ledger.init(tmp_path / "experiments.git", project_path=home))


def test_code_that_failed_is_not_tried_again_once_the_project_has_gone_on(place: Place) -> None:
    place.train(Ending.CRASH)
    place.admit()
    write(place.project, {"train.py": "RATE = 0.5\n"}, "Mend the rate")
    head = git(place.project, "rev-parse", "HEAD")[:10]
    with pytest.raises(
        UserError, match=f"does not train .KeyError: 'rate'.*the project is at {head} now: move the lab away"
    ):
        place.admit()


@pytest.mark.parametrize("mended", ["program.toml", "README.md", "docs/notes.md"])
def test_a_lab_whose_first_run_failed_goes_on_once_something_was_mended_that_is_not_trained(
    place: Place, mended: str
) -> None:
    place.train(Ending.CRASH)
    write(place.project, {mended: "# mended\n"}, "Mend what is not trained")
    place.admit()
    write(place.project, {"model.py": "DEPTH = 2\n"}, "Add what it did not find")
    with pytest.raises(UserError, match="move the lab away"):
        place.admit()


def test_a_project_may_go_on_while_nothing_failed_or_something_trained(place: Place) -> None:
    write(place.project, {"README.md": "Words.\n"}, "Say more")
    place.admit()
    place.train(Ending.CRASH)
    place.train(Ending.FINISHED, seed=1)
    place.admit()
    with_baseline(place.ledger)
    place.admit()


def test_a_lab_goes_on_without_its_project(place: Place, tmp_path: Path) -> None:
    place.train(Ending.CRASH)
    place.project.rename(tmp_path / "elsewhere")
    place.admit()


def test_a_program_that_was_mended_after_its_first_run_failed_is_run_in_the_same_lab(tmp_path: Path) -> None:
    asked = FOREIGN + WITHOUT_IDEAS
    home = foreign_lab(tmp_path / "home", program=asked.replace("^val_bpb", "^val_bits"))
    daemon = start(home)
    (failed,) = wait_for(home, "run_finished", daemon=daemon)
    assert "no line of its output matched metric.pattern" in failed["why"]
    stop(daemon)
    (home / "program.toml").write_text(asked)
    git(home, "add", "program.toml")
    git(home, "commit", "-q", "-m", "Mend the pattern")
    command(home, "run", "--experiments", "0")
    ledger = Ledger(home / "experiments.git")
    assert isinstance(ledger.baseline(), Concluded)
    assert {run.ending for run in ledger.measurements(ledger.best().tree)} == {Ending.CRASH, Ending.FINISHED}
