"""Trainings never see what is held out, whatever name leads there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.run.heldout import refuse_seen
from tests.acceptance.daemon import command, foreign_project
from tests.run.room import HANG, Room, out_of, program, spec, until, written

METRIC = "evaluate = 'python evaluate.py'\ndata = 'data/val'\naudit = 'data/audit'"
AMISS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "a link": ("data = 'train'", "", lambda lab: (lab / "train").symlink_to("data/val")),
    "a link to the audit's": ("data = 'train'", "", lambda lab: (lab / "train").symlink_to("data/audit")),
    "a link below it": ("data = 'train'", "", lambda lab: (lab / "train").symlink_to("data/val/part")),
    "a link to a link": (
        "data = 'train'",
        "",
        lambda lab: ((lab / "first").symlink_to("data"), (lab / "train").symlink_to("first/val")),
    ),
    "out of a link by dots": ("data = 'way/../val'", "", lambda lab: (lab / "way").symlink_to("data/train")),
    "a link that may be read": ("", "readable = ['notes']", lambda lab: (lab / "notes").symlink_to("data/val")),
    "the lab": ("", "readable = ['experiments.git/refs']", lambda lab: None),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("data/train", "data/val/part", "data/audit", "experiments.git/refs"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("how", AMISS)
def test_data_that_leads_to_what_is_held_out_is_refused_by_both_names(folder: Path, how: str) -> None:
    train, more, arrange = AMISS[how]
    arrange(folder)
    names = (
        r"`(train.data|sandbox.readable)` leads into `(metric.data|metric.audit|program.experiments)`, .* '.+' is /.+"
    )
    with pytest.raises(UserError, match=names):
        refuse_seen(program(train, METRIC, more), folder)


def test_data_beside_around_and_behind_links_elsewhere_is_none_of_it(folder: Path) -> None:
    (folder / "train").symlink_to("data/train")
    (folder / "data" / "validation").mkdir()
    for train, more in (("data = 'train'", ""), ("data = 'data'", "readable = ['.', '..']"), ("data = 'nowhere'", "")):
        refuse_seen(program(train, METRIC, more), folder)
    (folder / "train").unlink()
    (folder / "train").symlink_to("data/validation")  # begins with the same letters
    refuse_seen(program("data = 'train'", METRIC), folder)
    (folder / "circle").symlink_to("circle")  # leads nowhere
    refuse_seen(program("data = 'circle'", METRIC), folder)


def test_a_person_is_told_in_one_sentence_before_anything_is_trained(tmp_path: Path) -> None:
    said = 'data = "seen"\n[metric]\nevaluate = "python evaluate.py"\ndata = "held"\n'
    text = '[program]\nname = "x"\neditable = ["train.py"]\n[train]\ncommand = "python train.py"\n'
    folder = foreign_project(tmp_path / "lab", program=text + said + 'name = "loss"\n[devices]\nuse = "cpu"\n')
    (folder / "held").mkdir()
    (folder / "seen").symlink_to("held")
    command(folder, "init")
    refused = command(folder, "run", "--experiments", "1", check=False)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if "held" in line]
    assert re.search(r"`train.data` leads into `metric.data`, .*: 'seen' is /.*/held; keep them apart", line)
    assert "Traceback" not in refused.stderr
    asked = command(folder, "doctor", check=False)
    assert asked.returncode != 0
    assert "`train.data` leads into `metric.data`, which no training may see" in asked.stdout


def test_a_link_that_is_turned_to_what_is_held_out_in_the_night_is_not_followed(room: Room) -> None:
    (room.folder / "data" / "val").mkdir(parents=True)
    (room.folder / "train").mkdir()
    with room.executor(program("data = 'train'", METRIC)) as executor:
        (room.folder / "train").rmdir()
        (room.folder / "train").symlink_to("data/val")
        with pytest.raises(OSError, match=r"`train.data` leads into `metric.data`"):
            executor.start(spec(room.tree("say(loss=1)")))
        assert executor.progress() == []


def test_a_link_that_is_turned_while_trainings_go_on_costs_what_comes_to_its_evaluation_and_no_other(
    room: Room,
) -> None:
    (room.folder / "data" / "val").mkdir(parents=True)
    (room.folder / "train").mkdir()
    meet = "import time\nwhile not (OUT / 'go').exists():\n    time.sleep(0.01)\nsay(loss=1)"
    with room.executor(program("data = 'train'", METRIC)) as executor:
        executor.start(spec(room.tree(meet, evaluate="say(loss=1)")))
        executor.start(spec(room.tree(HANG), run="run-2", device="cpu:1"))
        until(executor, lambda: written(out_of(room, "run-2") / "pid"))
        (room.folder / "train").rmdir()
        (room.folder / "train").symlink_to("data/val")
        (out_of(room) / "go").touch()
        until(executor, lambda: [each.spec.run for each in executor.progress()] == ["run-2"])
        with pytest.raises(OSError, match=r"a run was lost: .*`train.data` leads into `metric.data`"):
            executor.start(spec(room.tree("say(loss=1)"), run="run-3"))
        assert [each.spec.run for each in executor.progress()] == ["run-2"]
