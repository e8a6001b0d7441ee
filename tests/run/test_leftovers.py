"""What a killed daemon leaves behind, and that the next start takes away just that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from autoresearchd.run import reap_leftovers
from autoresearchd.run.site import TEMPORARY_PREFIX
from autoresearchd.run.workbench import LocalWorkbench
from tests.run.room import ESCAPE, HANG, Room, alive, gone, out_of, pid_in, program

DAEMON = """
import select, sys
from pathlib import Path
from tests.run.room import Room, program, spec
room = Room(Path(sys.argv[1]))
with room.executor(program()) as executor:
    executor.start(spec(room.tree(sys.argv[2]), seed=int(sys.argv[3])))
    while True:
        executor.poll(0.0)
        select.select([executor.fileno()], [], [], 1)
"""


def kill_a_daemon(room: Room, train: str, *, seed: int = 7) -> list[int]:
    """Run a daemon of its own process until its run is under way, and kill it; the processes of the run."""
    with subprocess.Popen([sys.executable, "-c", DAEMON, str(room.folder), train, str(seed)]) as daemon:
        while not pid_in(out_of(room) / "pid"):
            assert daemon.poll() is None
        pids = [pid for name in ("pid", "escaped") if (pid := pid_in(out_of(room) / name))]
        daemon.kill()
    return pids


def links_into(work: Path) -> list[Path]:
    links = Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*")
    return [link for link in links if link.is_symlink() and str(link.readlink()).startswith(str(work))]


def test_a_killed_daemon_takes_its_training_down(room: Room) -> None:
    (leader,) = kill_a_daemon(room, HANG)
    assert gone(leader)
    reap_leftovers(room.work)


def test_the_next_start_ends_what_is_left_and_removes_its_files(room: Room) -> None:
    leader, escaped = kill_a_daemon(room, ESCAPE + HANG)
    assert alive(escaped)
    assert links_into(room.work)
    reap_leftovers(room.work)
    assert gone(leader)
    assert gone(escaped)
    assert list(room.work.iterdir()) == []
    assert not links_into(room.work)


def test_a_process_of_another_lab_is_left_alone(room: Room) -> None:
    (room.work / "run-1").mkdir(parents=True)
    (room.work / "run-1" / f"pid-{os.getpid()}").write_text(f"{os.getpid()} 1 another-boot")
    env = {"AUTORESEARCH_WORK": str(room.work) + "-of-another", "AUTORESEARCH_RUN": "run-1"}
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env=env) as other:
        reap_leftovers(room.work)
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


def test_what_a_killed_daemon_tried_a_draft_with_is_ended_with_the_next_start(room: Room) -> None:
    errands, tried = room.folder / "errands", room.folder / "errands" / "errand-x" / "runs"
    tried.mkdir(parents=True)
    env = {"AUTORESEARCH_WORK": str(tried), "AUTORESEARCH_RUN": "errand"}
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env=env) as left:
        LocalWorkbench(program(), folder=room.folder, work=errands, checkout=room.checkout)
    assert left.returncode == -signal.SIGKILL
    assert list(errands.iterdir()) == []


def test_a_process_that_a_run_noted_is_ended_even_without_its_mark(room: Room) -> None:
    (room.work / "run-1").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env={}) as noted:
        started = Path(f"/proc/{noted.pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        (room.work / "run-1" / f"pid-{noted.pid}").write_text(f"{noted.pid} {started} {boot}")
        reap_leftovers(room.work)
    assert noted.returncode == -signal.SIGKILL


def test_a_work_folder_that_does_not_exist_needs_no_reaping(room: Room) -> None:
    reap_leftovers(room.work)
    assert not room.work.exists()


def test_what_a_link_in_the_work_folder_points_to_is_kept(room: Room) -> None:
    room.work.mkdir(parents=True)
    (room.folder / "precious").mkdir()
    (room.work / "link").symlink_to(room.folder / "precious")
    (room.work / "pid").write_text("nonsense")
    reap_leftovers(room.work)
    assert list(room.work.iterdir()) == []
    assert (room.folder / "precious").exists()
