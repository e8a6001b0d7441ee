"""A daemon that lives for weeks: after any number of runs, however they end, it holds what it held before."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoresearchd.experiment import Ending, TreeOid
from autoresearchd.limits import Mode
from autoresearchd.run import LocalExecutor, cgroup, proc, sandbox
from autoresearchd.run.folders import remove
from autoresearchd.run.site import TEMPORARY_PREFIX
from tests.run.room import ESCAPE, HANG, Room, finish, out_of, pid_in, program, spec, until
from tests.support import patience

MODES: tuple[Mode, ...] = ("none", "bubblewrap")
CYCLES = 3


def descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def held(room: Room, executor: LocalExecutor) -> dict[str, object]:
    """All that is left of runs once what they wrote is deleted."""
    patience.until(lambda: executor._clearing._disposal.is_through)
    links = (link for link in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*") if link.is_symlink())
    groups = {place for place in (cgroup.places().memory, cgroup.places().processes) if place is not None}
    return {
        "descriptors": len(descriptors()),
        "threads": threading.active_count(),
        "processes": [pid for pid in proc.children() if proc.is_confined(pid, 2**30)],
        "links": [link for link in links if str(link.readlink()).startswith(str(room.work))],
        "groups": sorted(group for place in groups for group in place.glob(f"{cgroup.NAME}{os.getpid()}-*")),
        "folders": sorted(path.name for path in room.work.iterdir()),
    }


@pytest.mark.parametrize("mode", MODES)
def test_whatever_becomes_of_runs_nothing_of_them_stays(room: Room, mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(why)
    good, bad, slow = room.tree("say(loss=1)"), room.tree("raise ValueError"), room.tree(HANG)
    damaged = TreeOid("f" * 40)
    with room.executor(program("deadline_seconds = 100.0", mode=mode, more="[devices]\nwarm = false")) as executor:
        counts = []
        for cycle in range(CYCLES):
            for name, tree, ending in (("good", good, Ending.FINISHED), ("bad", bad, Ending.CRASH)):
                executor.start(spec(tree, run=f"{name}-{cycle}"))
                assert finish(executor).ending is ending
            late, killed = (f"{name}-{cycle}" for name in ("late", "killed"))
            executor.start(spec(slow, run=late))
            until(executor, lambda run=late: pid_in(out_of(room, run) / "pid"))
            assert finish(executor, now=time.time() + 101).ending is Ending.TIMEOUT
            executor.start(spec(slow, run=killed))
            executor.kill(killed)
            with pytest.raises(KeyError):
                executor.start(spec(damaged, run=f"damaged-{cycle}"))
            counts.append(held(room, executor))
    assert counts[0] == counts[-1]
    assert not any(counts[0][name] for name in ("processes", "links", "groups"))


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_cannot_be_begun_for_want_of_descriptors_costs_none(room: Room, mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(why)
    with room.executor(program(mode=mode)) as executor:
        begin(executor, room)
        before, refused = held(room, executor), 0
        for number in range(16):
            try:
                with descriptors_left(number):
                    executor.start(spec(room.tree("say(loss=1)"), run=f"run-{number}"))
            except OSError:
                refused += 1
            else:
                assert finish(executor).ending is Ending.FINISHED
        after = held(room, executor)
    assert refused > 3
    assert {**after, "folders": []} == {**before, "folders": []}


@contextlib.contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Meanwhile this process can open so many files and no more."""
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 64, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for descriptor in [taken.pop() for _ in range(number)]:
            os.close(descriptor)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def test_a_want_of_descriptors_ends_no_run_and_keeps_none_alive(room: Room) -> None:
    with room.executor(program()) as executor:
        begin(executor, room)
        before = held(room, executor)
        executor.start(spec(room.tree(ESCAPE + HANG)))
        until(executor, lambda: pid_in(out_of(room) / "pid"))
        with descriptors_left(0):
            assert not executor.poll(time.time() + 5)
            assert executor.progress(), "a training was given up because nobody could look at its files"
            executor.kill("run-1")
            assert not executor.poll(time.time())
        patience.until(lambda: executor.poll(time.time()) or not list(room.work.iterdir()))
        assert held(room, executor) == before


def test_folders_nested_deeper_than_there_are_descriptors_are_removed(tmp_path: Path) -> None:
    (tmp_path / "left" / "/".join("d" * 200)).mkdir(parents=True)
    with descriptors_left(64):
        remove(tmp_path / "left")
    assert list(tmp_path.iterdir()) == []


def begin(executor: LocalExecutor, room: Room) -> None:
    """One run, so that all is there that is made for the first."""
    executor.start(spec(room.tree("say(loss=1)"), run="first"))
    assert finish(executor).ending is Ending.FINISHED


def test_a_run_that_ended_in_time_was_in_time_however_late_anybody_looks(room: Room) -> None:
    with room.executor(program("deadline_seconds = 100.0")) as executor:
        executor.start(spec(room.tree("say(loss=1)")))
        pid = next(pid for pid in proc.children() if proc.is_confined(pid, 2**30))
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the daemon was busy with something else
        done = finish(executor, now=time.time() + 5000)
    assert (done.ending, done.why, done.metrics) == (Ending.FINISHED, "", {"loss": 1.0})


def test_a_clock_that_is_set_in_the_middle_of_a_training_does_not_end_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As machines set theirs by the network soon after a boot."""
    tree = room.tree("while not (OUT / 'go').exists():\n    pass\nsay(loss=1)")
    with room.executor(program("deadline_seconds = 100.0")) as executor:
        executor.start(spec(tree))
        until(executor, lambda: out_of(room).exists())
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + 86400)
        for _ in range(3):
            assert not executor.poll(time.time())
        (out_of(room) / "go").touch()
        done = finish(executor)
    assert (done.ending, done.why) == (Ending.FINISHED, "")


DEAF = """
import select, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from tests.run.room import Room, finish, program
done = Room(Path(sys.argv[1])).measure("raise ValueError('its own')", program())
print(done.ending.value, done.why)
"""


def test_a_daemon_that_was_started_deaf_to_the_end_of_its_children_hears_it(room: Room) -> None:
    """As some supervisors start what they start; the kernel would tell nobody how runs end."""
    words = [sys.executable, "-c", DEAF, str(room.folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=patience.PATIENCE)
    assert done.stdout.splitlines()[-1] == "crash ValueError: its own"
    assert signal.getsignal(signal.SIGCHLD) is not signal.SIG_IGN
