"""What trainings left is kept for best and for open experiments, bounded, and never followed or read."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from autoresearchd.experiment import TreeOid
from autoresearchd.run import folders
from autoresearchd.run.checkpoints import Checkpoints
from tests.run.room import Room, bound_by_modes, finish, program, spec
from tests.support.patience import until

BEST, OPEN, JUDGED = (TreeOid(letter * 40) for letter in "abc")
MIB = 2**20
ENDLESS = 10**12


class Shelf:
    """A folder of checkpoints, and trainings that left something."""

    def __init__(self, folder: Path, most_bytes: int = ENDLESS, reserve_bytes: int = 0) -> None:
        self.outs, self.folder = folder / "outs", folder / "checkpoints"
        self.checkpoints = Checkpoints(self.folder, most_bytes=most_bytes, reserve_bytes=reserve_bytes)

    def out(self, content: str = "weights") -> Path:
        out = self.outs / str(len(list(self.outs.iterdir())) if self.outs.exists() else 0)
        (out / "tmp").mkdir(parents=True)
        (out / "tmp" / "scratch").write_text("scratch")
        if content:
            (out / "model.pt").write_text(content)
        return out

    def leave(self, tree: TreeOid, run: str, content: str = "weights") -> None:
        self.checkpoints.take(self.out(content), spec(tree, run=run))

    def tidied_to(self, best: TreeOid) -> list[str]:
        """What is left of it."""
        self.checkpoints.tidy(best, [])
        return self.there

    @property
    def there(self) -> list[str]:
        """Runs that are kept, by name."""
        return sorted(path.name for path in self.folder.glob("[!.]*/*") if path.parent.name != "best")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.checkpoints.close()


def test_the_newest_of_best_and_of_each_open_experiment_stay_and_all_others_go(shelf: Shelf) -> None:
    for tree, run in ((JUDGED, "lost"), (BEST, "older"), (OPEN, "waits"), (BEST, "newer")):
        shelf.leave(tree, run, run)
    shelf.checkpoints.tidy(BEST, [OPEN])
    assert shelf.there == ["newer", "waits"]
    assert (shelf.folder / "best" / "model.pt").read_text() == "newer"
    assert list(shelf.folder.glob("[!.]*/*/tmp")) == []
    shelf.checkpoints.tidy(OPEN, [])
    assert shelf.there == ["waits"]
    assert (shelf.folder / "best" / "model.pt").read_text() == "waits"
    shelf.checkpoints.tidy(JUDGED, [])
    assert shelf.there == []
    assert not os.path.lexists(shelf.folder / "best")


def test_a_training_that_left_nothing_is_not_kept(shelf: Shelf) -> None:
    shelf.leave(BEST, "nothing", "")
    shelf.checkpoints.tidy(BEST, [])
    assert shelf.there == []


def test_together_they_take_no_more_than_was_allowed_and_best_comes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most_bytes=3 * MIB)
    shelf.leave(BEST, "best", "b" * 2 * MIB)
    shelf.leave(OPEN, "open", "o" * 2 * MIB)
    shelf.checkpoints.tidy(BEST, [OPEN])
    assert shelf.there == ["best"]
    shelf.leave(BEST, "larger", "b" * 4 * MIB)
    shelf.checkpoints.tidy(BEST, [])
    assert shelf.there == []
    shelf.checkpoints.close()


def test_where_the_disk_is_nearly_full_none_is_kept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, reserve_bytes=shutil.disk_usage(tmp_path).total)
    shelf.leave(BEST, "best")
    until(lambda: not shelf.tidied_to(BEST))
    shelf.checkpoints.close()


def test_on_a_full_disk_on_which_room_is_being_made_best_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, may_delete, remove = [0], threading.Event(), folders.remove
    shelf = Shelf(tmp_path, reserve_bytes=100 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    monkeypatch.setattr(folders, "remove", lambda path: may_delete.wait(120) and remove(path))
    shelf.leave(BEST, "older")
    shelf.leave(BEST, "newer")
    assert shelf.tidied_to(BEST) == ["newer"]
    free[0] = ENDLESS
    may_delete.set()
    until(lambda: shelf.tidied_to(BEST) and not list(shelf.folder.glob(".gone-*")))
    assert shelf.tidied_to(BEST) == ["newer"]
    shelf.checkpoints.close()


def test_a_disk_that_lets_nobody_tidy_is_said_once_and_tidied_when_it_does_again(shelf: Shelf) -> None:
    shelf.leave(BEST, "older")
    shelf.leave(BEST, "newer")
    elsewhere = shelf.folder.rename(shelf.folder.with_name("elsewhere"))
    with capture_logs() as said:
        for _ in range(3):
            shelf.checkpoints.tidy(BEST, [])
    assert [entry["event"] for entry in said] == ["checkpoints_not_tidied"]
    elsewhere.rename(shelf.folder)
    assert shelf.tidied_to(BEST) == ["newer"]


def test_links_are_moved_and_deleted_but_never_followed(shelf: Shelf, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("p" * MIB)
    out = shelf.out()
    shutil.rmtree(out / "tmp")
    for name in ("tmp", "model", "best"):
        (out / name).symlink_to(precious)
    shelf.checkpoints.take(out, spec(JUDGED, run="sly"))
    shelf.checkpoints.tidy(BEST, [JUDGED])
    shelf.outs.joinpath("link").symlink_to(precious)
    shelf.checkpoints.take(shelf.outs / "link", spec(BEST, run="a-link"))
    shelf.checkpoints.tidy(BEST, [])
    shelf.checkpoints.close()
    assert (precious / "file").read_text() == "p" * MIB
    assert list(shelf.folder.iterdir()) == []


def test_a_folder_that_its_training_locked_is_kept_all_the_same(shelf: Shelf) -> None:
    out = shelf.out()
    out.chmod(0)
    shelf.checkpoints.take(out, spec(BEST, run="locked"))
    shelf.checkpoints.tidy(BEST, [])
    assert (shelf.folder / "best" / "model.pt").read_text() == "weights"


def test_a_folder_with_a_locked_one_in_it_may_hold_more_than_there_is_room_for_and_is_not_kept(shelf: Shelf) -> None:
    out = shelf.out()
    (out / "locked").mkdir(mode=0o300)
    with bound_by_modes():
        shelf.checkpoints.take(out, spec(BEST, run="locked"))
        assert shelf.tidied_to(BEST) == []
    until(lambda: not list(shelf.folder.iterdir()))


@pytest.mark.parametrize(("depth", "kept"), [(1200, True), (3000, False)])
def test_folders_a_thousand_deep_stop_nobody_and_what_no_path_reaches_is_no_checkpoint(
    shelf: Shelf, depth: int, *, kept: bool
) -> None:
    out = shelf.out()
    descriptor = os.open(out, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    shelf.checkpoints.take(out, spec(BEST, run="deep"))
    assert shelf.tidied_to(BEST) == ["deep"] * kept
    assert shelf.tidied_to(JUDGED) == []
    until(lambda: not list(shelf.folder.iterdir()))


def test_of_two_that_a_killed_daemon_left_the_newer_stays(shelf: Shelf, tmp_path: Path) -> None:
    shelf.leave(BEST, "older")
    shelf.leave(BEST, "newer")
    shelf.folder.joinpath(".gone-1").mkdir()
    again = Checkpoints(shelf.folder, most_bytes=ENDLESS, reserve_bytes=0)
    again.tidy(BEST, [])
    again.close()
    assert shelf.there == ["newer"]
    assert sorted(path.name for path in shelf.folder.iterdir()) == [BEST, "best"]


def test_with_none_wanted_what_there_was_goes_too(shelf: Shelf) -> None:
    shelf.leave(BEST, "old")
    none = Checkpoints(shelf.folder, most_bytes=0, reserve_bytes=0)
    none.take(shelf.out(), spec(BEST, run="new"))
    none.tidy(BEST, [])
    none.close()
    assert list(shelf.folder.iterdir()) == []


def test_a_real_run_hands_over_what_it_wrote_only_when_it_finished(tmp_path: Path) -> None:
    room, taken = Room(tmp_path), []

    def keep(out: Path, run: object) -> None:
        taken.append((out / "model.pt").read_text())

    good, bad = "(OUT / 'model.pt').write_text('w')\n", "(OUT / 'model.pt').write_text('x')\nraise SystemExit(1)\n"
    room.keep = keep
    with room.executor(program()) as executor:
        for number, code in enumerate((good + "say(loss=1)", bad)):
            executor.start(spec(room.tree(code), run=f"run-{number}"))
            finish(executor)
    assert taken == ["w"]
    assert list(room.work.iterdir()) == []
