"""What bounds a command, and who is told that the kernel ended it for memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.experiment import Ending
from autoresearchd.limits import Sandbox
from autoresearchd.run import bounds, cgroup, proc
from autoresearchd.run.bounds import Bounds, Limits
from autoresearchd.run.cgroup import Cgroup, Places
from tests.run.room import Room, program

NOWHERE = Places(memory=None, processes=None, version=1)
EATS = "\nbig = []\nwhile True:\n    big.append(bytearray(2**20))\n"
FEEDS = """
import subprocess, sys
code = "big = []\\nwhile True:\\n    big.append(bytearray(2**20))"
raise RuntimeError(f"a worker ended with {subprocess.run([sys.executable, '-S', '-c', code]).returncode}")
"""


@pytest.mark.skipif(cgroup.places().memory is None, reason="no cgroups for memory may be made here")
@pytest.mark.parametrize(
    ("train", "why"), [(EATS, "killed by SIGKILL"), (FEEDS, "RuntimeError: a worker ended with -9")]
)
def test_a_run_that_the_kernel_ends_for_memory_is_out_of_memory_and_so_is_one_of_a_worker(
    room: Room, train: str, why: str
) -> None:
    done = room.measure(train, program(more="memory_mib = 64"))
    assert (done.ending, done.why) == (Ending.OUT_OF_MEMORY, why)


@pytest.mark.skipif(cgroup.places().memory is None, reason="no cgroups for memory may be made here")
def test_a_run_that_kills_itself_is_not_out_of_memory_whatever_the_kernel_does_elsewhere(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter(range(1000))
    monkeypatch.setattr(proc, "oom_kills", lambda: next(kills))
    assert room.measure("os.kill(os.getpid(), 9)").ending is Ending.CRASH


def test_without_cgroups_it_was_memory_where_it_looks_so_and_the_kernel_killed_somebody_since_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kills = 5
    monkeypatch.setattr(bounds, "places", lambda: NOWHERE)
    monkeypatch.setattr(proc, "oom_kills", lambda: kills)
    held = Bounds(Limits(sandbox=Sandbox(), cuda=False))
    assert not held.ran_out_of_memory(looks_killed=True)
    kills = 6
    assert held.ran_out_of_memory(looks_killed=True)
    assert not held.ran_out_of_memory(looks_killed=False)
    held.begin()  # what waited until now was not meant
    assert not held.ran_out_of_memory(looks_killed=True)


@pytest.mark.parametrize(
    ("version", "file", "text"),
    [
        (2, "memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n"),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_both_versions_of_cgroups_count_their_own(tmp_path: Path, version: int, file: str, text: str) -> None:
    group = Cgroup(Places(memory=tmp_path, processes=tmp_path, version=version), memory_bytes=1, processes=1)
    (folder,) = tmp_path.iterdir()
    assert group.oom_kills() is None
    (folder / file).write_text(text)
    assert group.oom_kills() == 2


def test_a_group_that_cannot_be_made_leaves_no_other(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Cgroup(Places(memory=tmp_path, processes=tmp_path / "gone", version=1), memory_bytes=1, processes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_group_with_something_stuck_in_it_goes_as_soon_as_that_is_gone(tmp_path: Path) -> None:
    there = Places(memory=None, processes=tmp_path, version=1)
    stuck = Cgroup(there, memory_bytes=1, processes=1)
    (folder,) = tmp_path.iterdir()
    stuck.close()
    assert folder.exists()
    (folder / "pids.max").unlink()  # the process, as it were
    Cgroup(NOWHERE, memory_bytes=1, processes=1).close()
    assert not folder.exists()
