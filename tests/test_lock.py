"""One daemon a lab, by a lock that the kernel frees."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from autoresearchd import lock
from autoresearchd.errors import AlreadyRunning

PROCESSES = multiprocessing.get_context("forkserver")


def _hold(path: Path, report: Connection) -> None:
    with lock.held(path):
        report.send("held")
        report.recv()


def test_a_second_daemon_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    mine, theirs = PROCESSES.Pipe()
    other = PROCESSES.Process(target=_hold, args=(tmp_path, theirs))
    other.start()
    assert mine.recv() == "held"
    assert lock.holder(tmp_path) == other.pid
    with pytest.raises(AlreadyRunning) as raised, lock.held(tmp_path):
        pass
    assert (raised.value.pid, raised.value.path) == (other.pid, str(tmp_path))
    other.kill()
    other.join()
    assert lock.holder(tmp_path) is None
    with lock.held(tmp_path):
        assert lock.holder(tmp_path) == os.getpid()


HEIR = """
import os, subprocess, sys
from pathlib import Path
from autoresearchd import lock
with lock.held(Path(sys.argv[1])):
    held = max(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}"))
    os.set_inheritable(held, True)
    heir = subprocess.Popen(["cat"], close_fds=False)
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_killed_daemons_last_child_does_not_keep_the_next_daemon_out(tmp_path: Path) -> None:
    """Between its fork and its exec a child has the lock of the daemon that starts it."""
    command = [sys.executable, "-c", HEIR, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdin is not None
        assert daemon.wait(timeout=120) == -signal.SIGKILL
        assert lock.holder(tmp_path) == daemon.pid, "the child has it now"
        end = threading.Timer(0.2, daemon.stdin.close)
        end.start()
        with lock.held(tmp_path):
            assert lock.holder(tmp_path) == os.getpid()
        end.join()


def test_a_lab_that_nobody_ever_held_has_no_holder(tmp_path: Path) -> None:
    assert lock.holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_lock_goes_with_the_work_even_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock.held(tmp_path):
        raise RuntimeError
    assert lock.holder(tmp_path) is None


def test_people_who_ask_for_the_holder_all_the_time_do_not_keep_a_daemon_out(tmp_path: Path) -> None:
    asking, enough = True, threading.Event()

    def ask() -> None:
        while asking:
            lock.holder(tmp_path)
            enough.set()

    with lock.held(tmp_path):
        pass
    people = [threading.Thread(target=ask) for _ in range(2)]
    for person in people:
        person.start()
    enough.wait()
    try:
        for _ in range(50):
            with lock.held(tmp_path):
                pass
    finally:
        asking = False
        for person in people:
            person.join()
    assert lock.holder(tmp_path) is None
