"""Hostile trainers against the sandbox: each is stopped by both kinds, and each gets what it wants without one."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.limits import Mode
from autoresearchd.run import sandbox
from tests.run.room import Room, finish, program, spec

HERE = Path(__file__).parent
ATTACKS = sorted(path.stem for path in (HERE / "trainers").glob("*.py"))
ROOT_ONLY = {"open_the_disk"}
NEEDS_X86 = {"make_a_user_namespace", "keep_a_key_in_the_kernel", "trace_a_child", "use_io_uring"}
KERNEL_MAY_REFUSE = {*NEEDS_X86, "read_the_daemons_memory", "put_words_into_a_terminal", "lower_the_daemons_limits"}
SEEMS_TO_WORK = {"leave_a_file_in_tmp", "write_to_the_project"}
END = """
try:
    got = bool(attack())
except OSError:
    got = False
say(loss=1.0, got=float(got))
"""


def walls(mode: Mode) -> Mode:
    """A kind of sandbox, where this machine has it."""
    if why := sandbox.broken(mode):
        pytest.skip(f"{mode} does not work here: {why}")
    return mode


@pytest.fixture
def where(room: Room) -> Iterator[dict[str, Any]]:
    """Things that are not the trainer's, and listeners who should never hear of it."""
    home, lab = room.folder / "home", room.work.parents[1]
    files = {
        home / ".ssh" / "id": "private",
        room.folder / "notes.txt": "a note",
        lab / "HEAD": "ref",
        lab / "refs" / "heads" / "best": "1" * 40,
        room.folder / "val" / "answers": "42",
        room.folder / "train" / "tokens": "1 2 3",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    name = f"autoresearch-attack-{os.getpid()}-{room.folder.name}"
    short = Path("/tmp", f"{name[-60:]}.socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp, _listening(str(short)), _listening("\0" + name):
        yield {
            "home": str(home), "project": str(room.folder), "lab": str(lab), "val": str(room.folder / "val"),
            "train": str(room.folder / "train"), "tmp": f"/tmp/{name}", "port": tcp.getsockname()[1],
            "socket": str(short), "abstract": name, "daemon": os.getpid(), "python": sys.executable, "name": name,
        }  # fmt: skip
    for path in (short, Path("/tmp", name), Path("/dev/shm", name)):
        path.unlink(missing_ok=True)


def _listening(address: str) -> socket.socket:
    there = socket.socket(socket.AF_UNIX)
    there.bind(address)
    there.listen()
    return there


def attack(room: Room, name: str, where: dict[str, Any], mode: Mode) -> Measurement:
    code = (HERE / "prelude.py").read_text() + (HERE / "trainers" / f"{name}.py").read_text() + END
    tree = room.tree("")
    room.trees[tree] = {"train.py": code, "where.json": json.dumps(where)}
    with room.executor(program("data = 'train'", mode=mode)) as executor:
        executor.start(spec(tree))
        return finish(executor)


def done_to_us(where: dict[str, Any]) -> list[str]:
    """What the attack left outside of its own place."""
    project, found = Path(where["project"]), []
    if (project / "planted").exists() or Path(where["tmp"]).exists():
        found.append("a file")
    if Path(where["lab"], "refs", "heads", "best").read_text() != "1" * 40:
        found.append("best")
    if Path(where["train"], "tokens").read_text() != "1 2 3":
        found.append("the data")
    if (project / "notes.txt").stat().st_mode & 0o777 == 0o640:
        found.append("rights")
    return found


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("name", ATTACKS)
def test_it_gets_nothing_that_is_not_its_own(room: Room, where: dict[str, Any], name: str, mode: Mode) -> None:
    done = attack(room, name, where, walls(mode))
    assert (done.ending, done.why) == (Ending.FINISHED, "")
    # In a /tmp of its own it may write what it likes, and pytest's folders are below /tmp.
    assert done.metrics["got"] == 0.0 or (name in SEEMS_TO_WORK and mode == "bubblewrap")
    assert done_to_us(where) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_without_a_sandbox_it_would_have_got_it(room: Room, where: dict[str, Any], name: str) -> None:
    if name in ROOT_ONLY and os.geteuid() != 0:
        pytest.skip("only root could do that anyway")
    if name in NEEDS_X86 and platform.machine() != "x86_64":
        pytest.skip("the attack speaks x86-64")
    done = attack(room, name, where, "none")
    if name in KERNEL_MAY_REFUSE and done.metrics["got"] == 0.0:
        pytest.skip("this kernel forbids it to everybody")
    assert done.metrics == {"loss": 1.0, "got": 1.0}
