"""Trainers that lie about their result or eat the machine: the verdict that each gets, and what it would have got."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.limits import Mode
from autoresearchd.run import sandbox
from autoresearchd.run.cgroup import places
from tests.attacks.test_walls import HERE, walls
from tests.run.room import PATIENCE, Room, alive, finish, out_of, program, spec

PRELUDE = (HERE / "prelude.py").read_text()
NAME = f"autoresearch-outlives-{os.getpid()}"


@dataclass(frozen=True)
class Fate:
    ending: Ending
    why: str = ""
    loss: float | None = None


RESULTS = {
    "leave_a_stale_result": Fate(Ending.CRASH, "of another run"),
    "link_to_a_result": Fate(Ending.CRASH, "cannot be read"),
    "block_the_reader": Fate(Ending.CRASH, "not a regular file"),
    "say_a_huge_result": Fate(Ending.CRASH, "larger than"),
    "say_a_deep_result": Fate(Ending.CRASH, "cannot be read"),
    "say_not_a_number": Fate(Ending.UNSTABLE, "loss is nan"),
    "say_less_than_everything": Fate(Ending.UNSTABLE, "loss is -inf"),
    "say_a_word": Fate(Ending.CRASH, "reported no number loss"),
    "say_true": Fate(Ending.CRASH, "reported no number loss"),
    "say_it_in_binary": Fate(Ending.CRASH, "cannot be read"),
    "forge_the_evaluators_result": Fate(Ending.FINISHED, "", 5.0),
    "hide_the_work": Fate(Ending.FINISHED, "", 1.0),
    "lie_about_the_clock": Fate(Ending.FINISHED, "", 1.0),
    "speak_to_the_terminal": Fate(Ending.CRASH, "ValueError: red [key removed]"),
    "never_stop_talking": Fate(Ending.FINISHED, "", 1.0),
}
BOUNDS = {
    "bomb_with_forks": "processes = 64",
    "eat_the_memory": "memory_mib = 256",
    "fill_the_disk": "output_mib = 8",
    "fill_the_disk_with_crumbs": "output_mib = 8",
    "open_every_file": "open_files = 64",
    "outlive_the_run": "",
    "stop_for_ever": "",
}


def run(
    room: Room, kind: str, name: str, *, mode: Mode, bounds: str = "", metric: str = "", train: str = ""
) -> Measurement:
    tree = room.tree("")
    code = PRELUDE + (HERE / kind / f"{name}.py").read_text()
    evaluate = PRELUDE + "say(loss=5.0)"
    where = json.dumps({"name": NAME, "SLOW": 1} if mode != "none" else {"name": NAME})
    room.trees[tree] = {"train.py": code, "evaluate.py": evaluate, "where.json": where}
    wanted = program(f"deadline_seconds = 100.0\n{train}", metric, bounds, mode=mode)
    with room.executor(wanted, most_bytes=None) as executor:
        executor.start(spec(tree))
        hurry = name == "stop_for_ever"
        return finish(executor, now=time.time() + 50 if hurry else None)


def outliving() -> list[int]:
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(entry.name) for entry in entries if alive(int(entry.name)) and NAME.encode() in _cmdline(entry)]


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_lying_result_gets_the_verdict_that_it_deserves(room: Room, name: str) -> None:
    fate = RESULTS[name]
    metric = "evaluate = 'python evaluate.py'" if name.startswith("forge") else ""
    done = run(room, "results", name, mode="none", metric=metric)
    assert done.ending is fate.ending
    assert fate.why in done.why
    assert done.metrics.get("loss") == fate.loss
    assert done.train_seconds <= done.wall_seconds < PATIENCE
    assert len(done.log_tail) <= 4096
    assert "\x1b" not in done.log_tail


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock", "none"])
def test_the_work_of_a_budget_in_steps_is_counted_by_the_daemon(room: Room, mode: Mode) -> None:
    done = run(room, "results", "hide_the_work", mode=walls(mode), train="cpu_steps = 1")
    assert done.metrics["cpu_seconds"] >= 0.5


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_what_would_eat_the_machine_is_ended_and_the_next_run_is_clean(room: Room, name: str, mode: Mode) -> None:
    if name == "bomb_with_forks" and os.geteuid() == 0 and places().processes is None:
        pytest.skip("the kernel counts root's processes in cgroups only, and may make none here")
    done = run(room, "limits", name, mode=walls(mode), bounds=BOUNDS[name])
    if name == "outlive_the_run":
        assert outliving() == []
    else:
        assert done.metrics.get("got") != 1.0
    assert list(room.work.iterdir()) == []
    assert run(room, "results", "lie_about_the_clock", mode=mode).ending is Ending.FINISHED


@pytest.mark.parametrize("name", sorted(set(BOUNDS) - {"outlive_the_run", "stop_for_ever"}))
def test_without_the_bound_it_would_have_eaten_more(room: Room, name: str) -> None:
    assert run(room, "limits", name, mode="none").metrics.get("got") == 1.0
    assert out_of(room).exists() is False
    assert sandbox.broken("none") == ""


@contextmanager
def bare(folder: Path, kind: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """The trainer as a loop without any defence starts it; what it says is in the file `log`."""
    (folder / "where.json").write_text(json.dumps({"name": NAME}))
    code = PRELUDE + (HERE / kind / f"{name}.py").read_text()
    environment = {"AUTORESEARCH_OUT": str(folder), "AUTORESEARCH_RUN": "run-1"}
    command = [sys.executable, "-c", code]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        yield process


def test_left_alone_it_would_have_outlived_its_run(tmp_path: Path) -> None:
    with bare(tmp_path, "limits", "outlive_the_run") as process:
        process.wait(PATIENCE)
    survivors = outliving()
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert survivors


def test_left_alone_it_would_have_held_the_device(tmp_path: Path) -> None:
    with bare(tmp_path, "limits", "stop_for_ever") as process:
        assert os.waitpid(process.pid, os.WUNTRACED)[1] & 0xFF == 0x7F
        process.kill()


def said(folder: Path) -> dict[str, Any]:
    """A reader who takes whatever is there for the result."""
    metrics: dict[str, Any] = json.loads((folder / "result.json").read_text())["metrics"]
    return metrics


def loss(folder: Path) -> Any:
    return said(folder)["loss"]


def waits(folder: Path) -> str:
    """What somebody says later to a reader who opened the file and waits: nobody else would ever have let him go."""
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append((folder / "result.json").read_text()))
    reader.start()
    (folder / "result.json").write_text("at last")  # opens only once there is a reader
    reader.join()
    return heard[0]


def kept_by_comparison(folder: Path) -> bool:
    """The rule `if loss >= best: discard`, with a best of 1."""
    return not loss(folder) >= 1.0


OFF: dict[str, tuple[str, Callable[[Path], object], object]] = {
    # The attack: the defence that is off, what a program without it does, and what comes of that.
    "leave_a_stale_result": ("a result names its run", loss, 0.1),
    "link_to_a_result": ("links are not followed", loss, 0.1),
    "block_the_reader": ("what is no regular file is not opened", waits, "at last"),
    "say_a_huge_result": ("a result is at most a MiB and 64 numbers", lambda at: len(said(at)), 200_001),
    "say_a_deep_result": ("all that a parser raises is expected", loss, RecursionError),
    "say_not_a_number": ("numbers are finite", kept_by_comparison, True),
    "say_less_than_everything": ("numbers are finite", loss, float("-inf")),
    "say_a_word": ("numbers are numbers", kept_by_comparison, TypeError),
    "say_true": ("numbers are numbers", kept_by_comparison, True),
    "say_it_in_binary": ("all that a decoder raises is expected", loss, UnicodeDecodeError),
    "forge_the_evaluators_result": ("the evaluator says the number", loss, 0.1),
    "hide_the_work": ("the daemon counts the work of a budget in steps", lambda at: said(at)["cpu_seconds"], 0.0),
    "lie_about_the_clock": ("nobody trains longer than the clock says", lambda at: said(at)["train_seconds"], 1e9),
    "speak_to_the_terminal": (
        "escapes and keys are taken out",
        lambda at: [word in (at / "log").read_text() for word in ("\x1b[2J", "sk-ant-api03-")],
        [True, True],
    ),
    "never_stop_talking": ("a log has a cap", lambda at: (at / "log").stat().st_size > 2**25, True),
}


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_with_its_defence_off_the_lie_is_believed_or_ends_the_reader(tmp_path: Path, name: str) -> None:
    _, naive, comes_of_it = OFF[name]
    with bare(tmp_path, "results", name) as process:
        process.wait(PATIENCE)
    if isinstance(comes_of_it, type):
        with pytest.raises(comes_of_it):
            naive(tmp_path)
    else:
        assert naive(tmp_path) == comes_of_it
