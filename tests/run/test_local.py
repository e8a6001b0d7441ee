"""What an owner of the executor may rely on, with real processes."""

from __future__ import annotations

import select
import time
from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Ending, Measurement, TreeOid
from autoresearchd.run import LocalExecutor, proc, spawn
from autoresearchd.run._protocol import Executor
from tests.run.room import (
    ESCAPE,
    HANG,
    IGNORE_SIGTERM,
    PATIENCE,
    Room,
    alive,
    bound_by_modes,
    finish,
    out_of,
    pid_in,
    program,
    spec,
    until,
)

FLOOD = """
with open(OUT / "big", "wb") as file:
    while True:
        file.write(bytes(2**20))
"""


def test_a_run_gives_its_number_and_leaves_nothing_behind(room: Room) -> None:
    tree = room.tree("say(loss=1.5, tokens=3)")
    with room.executor(program()) as executor:
        held: Executor = executor
        held.start(spec(tree))
        done = finish(executor)
        assert held.progress() == []
    assert (done.ending, done.metrics, done.why) == (Ending.FINISHED, {"loss": 1.5, "tokens": 3.0}, "")
    assert (done.run, done.tree, done.seed, done.device) == ("run-1", tree, 7, "cpu:0")
    assert 0 < done.train_seconds <= done.wall_seconds
    assert list(room.work.iterdir()) == []


def test_its_end_wakes_whoever_waits(room: Room) -> None:
    with room.executor(program()) as executor:
        assert select.select([executor.fileno()], [], [], 0) == ([], [], [])
        executor.start(spec(room.tree("say(loss=1)")))
        while not (ended := executor.poll(time.time())):
            assert select.select([executor.fileno()], [], [], PATIENCE)[0]
        assert select.select([executor.fileno()], [], [], 0) == ([], [], [])
    assert len(ended) == 1


@pytest.mark.parametrize("util_linux", [True, False], ids=["with util-linux", "without"])
def test_a_command_that_is_not_there_is_a_crash_that_wakes_the_owner(
    room: Room, monkeypatch: pytest.MonkeyPatch, util_linux: bool
) -> None:
    if not util_linux:
        monkeypatch.setenv("PATH", str(room.folder))
        monkeypatch.setattr(spawn, "dies_with_us", spawn.dies_with_us.__wrapped__)
    for command in ("no-such-program --fast", "./train.py"):
        with room.executor(program(command=command)) as executor:
            executor.start(spec(room.tree("")))
            assert select.select([executor.fileno()], [], [], PATIENCE)[0]
            while not (ended := executor.poll(time.time())):
                assert select.select([executor.fileno()], [], [], PATIENCE)[0]
        assert ended[0].ending is Ending.CRASH
        assert "o such file" in ended[0].why or "ermission denied" in ended[0].why


def test_two_devices_train_at_once(room: Room) -> None:
    meet = """
seed = int(os.environ["AUTORESEARCH_SEED"])
other = OUT.parents[2] / str(3 - seed)
(OUT.parents[2] / str(seed)).write_text("here")
while not other.exists():
    pass
say(loss=float(os.environ["AUTORESEARCH_SEED"]))
"""
    tree = room.tree(meet)
    with room.executor(program()) as executor:
        executor.start(spec(tree, run="a", seed=1, device="cpu:0"))
        executor.start(spec(tree, run="b", seed=2, device="cpu:1"))
        assert {progress.spec.run for progress in executor.progress()} == {"a", "b"}
        ended: list[Measurement] = []
        while len(ended) < 2:
            assert select.select([executor.fileno()], [], [], PATIENCE)[0]
            ended += executor.poll(time.time())
    assert {done.run: done.metrics["loss"] for done in ended} == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize("train", [HANG, IGNORE_SIGTERM], ids=["hangs", "ignores SIGTERM"])
def test_the_deadline_ends_a_run_that_does_not_end(room: Room, train: str) -> None:
    with room.executor(program("deadline_seconds = 100.0")) as executor:
        executor.start(spec(room.tree(train)))
        until(executor, lambda: pid_in(out_of(room) / "pid"))
        pid = pid_in(out_of(room) / "pid")
        assert not executor.poll(time.time() + 90)
        done = finish(executor, now=time.time() + 101)
    assert (done.ending, done.why) == (Ending.TIMEOUT, "still running after 100 s")
    assert not alive(pid)


@pytest.mark.parametrize("seed", [7, 13], ids=["marked", "with its marks hidden"])
def test_what_leaves_the_group_dies_with_the_run(room: Room, seed: int) -> None:
    with room.executor(program()) as executor:
        executor.start(
            spec(room.tree(ESCAPE + "(OUT.parents[2] / 'who').write_text((OUT / 'escaped').read_text())"), seed=seed)
        )
        done = finish(executor)
        pid = pid_in(room.work / "who")
        assert pid
        assert not alive(pid)
    assert done.ending is Ending.CRASH
    assert not (room.work / "run-1").exists()


def test_a_run_leaves_no_zombies(room: Room) -> None:
    crowd = """
import subprocess
for _ in range(5):
    subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"]})
say(loss=1)
"""
    assert room.measure(crowd).ending is Ending.FINISHED
    assert [pid for pid in proc.children() if proc.is_confined(pid, 2**30)] == []


def test_what_leaves_the_group_of_one_run_is_no_matter_of_another(room: Room) -> None:
    with room.executor(program()) as executor:
        executor.start(spec(room.tree(ESCAPE + HANG), run="long"))
        until(executor, lambda: pid_in(out_of(room, "long") / "pid"))
        executor.start(spec(room.tree("say(loss=1)"), run="short", device="cpu:1"))
        assert finish(executor).run == "short"
        escaped = pid_in(out_of(room, "long") / "escaped")
        assert alive(escaped)
    assert not alive(escaped)


def test_a_flood_of_the_disk_is_a_crash_that_says_so(room: Room) -> None:
    with room.executor(program(), most_bytes=2**23) as executor:
        executor.start(spec(room.tree(FLOOD)))
        done = finish(executor)
    assert (done.ending, done.why) == (Ending.CRASH, "wrote more than 8 MiB")


def test_many_files_are_a_flood_as_well(room: Room) -> None:
    many = """
for number in range(16):
    (OUT / f"{number}").write_bytes(os.urandom(2**20))
"""
    with room.executor(program(), most_bytes=2**23) as executor:
        executor.start(spec(room.tree(many + HANG)))
        until(executor, lambda: pid_in(out_of(room) / "pid"))
        done = finish(executor, now=time.time() + 2)
    assert (done.ending, done.why) == (Ending.CRASH, "wrote more than 8 MiB")


def test_a_flood_of_the_log_keeps_its_end_and_its_number(room: Room) -> None:
    train = """
print("loss: 2.5")
for _ in range(40):
    print("x" * 100_000)
print("the end")
"""
    done = room.measure(train, program(metric=r"pattern = '^loss: (\S+)'"))
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.5})
    assert done.log_tail.endswith("the end")
    assert len(done.log_tail) <= 4096


def test_a_killed_run_gives_no_measurement(room: Room) -> None:
    with room.executor(program()) as executor:
        executor.start(spec(room.tree(ESCAPE + IGNORE_SIGTERM)))
        until(executor, lambda: pid_in(out_of(room) / "pid"))
        pids = [pid_in(out_of(room) / name) for name in ("pid", "escaped")]
        executor.kill("run-1")
        assert not any(map(alive, pids))
        assert executor.progress() == []
        assert not executor.poll(time.time())
        executor.kill("run-1")
    assert list(room.work.iterdir()) == []


def test_close_kills_everything(room: Room) -> None:
    executor = LocalExecutor(room.bench(program()))
    tree = room.tree(ESCAPE + IGNORE_SIGTERM)
    for run in ("a", "b"):
        executor.start(spec(tree, run=run))
    until(executor, lambda: all(pid_in(out_of(room, run) / "pid") for run in ("a", "b")))
    pids = [pid_in(out_of(room, run) / name) for run in ("a", "b") for name in ("pid", "escaped")]
    executor.close()
    executor.close()
    assert not any(map(alive, pids))
    assert list(room.work.iterdir()) == []


def test_a_run_that_locks_its_own_folders_is_removed(room: Room) -> None:
    lock = "(OUT / 'deep').mkdir(); (OUT / 'deep' / 'file').write_text('x'); (OUT / 'deep').chmod(0); OUT.chmod(0o500)"
    assert room.measure("say(loss=1)\n" + lock).ending is Ending.FINISHED
    assert list(room.work.iterdir()) == []


HIDE = """
(OUT / "locked").mkdir()
(OUT / "locked").chmod(0o300)
for number in range(4):
    (OUT / "locked" / str(number)).write_bytes(bytes(2**19))
"""


def test_a_run_that_locks_a_folder_to_write_more_than_it_may_is_ended(room: Room) -> None:
    with room.executor(program(), most_bytes=2**20) as executor:
        executor.start(spec(room.tree(HIDE + HANG)))
        with bound_by_modes():
            done = finish(executor)
    assert (done.ending, done.why) == (Ending.CRASH, "its folder is unusable: Permission denied")
    assert list(room.work.iterdir()) == []


DEEP = """
os.chdir(OUT)
for _ in range(1200):
    os.mkdir("d")
    os.chdir("d")
say(loss=1)
"""


def test_a_run_that_nests_folders_a_thousand_deep_is_removed_and_so_is_the_next(room: Room) -> None:
    with room.executor(program()) as executor:
        for run in ("deep", "next"):
            executor.start(spec(room.tree(DEEP if run == "deep" else "say(loss=1)"), run=run))
            assert finish(executor).ending is Ending.FINISHED
    assert list(room.work.iterdir()) == []


def test_a_machine_that_fails_leaves_nothing_behind(room: Room) -> None:
    def full(_tree: TreeOid, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    executor = LocalExecutor(room.bench(program(), full))
    with pytest.raises(OSError, match="No space"):
        executor.start(spec(TreeOid("0" * 40)))
    assert executor.progress() == []
    assert list(room.work.iterdir()) == []
    executor.close()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("git cannot write: could not write to 'train.py'"),
        CorruptRecord("tree", "git cannot read it"),
    ],
)
def test_a_machine_that_fails_before_the_evaluation_blames_nobody(room: Room, error: Exception) -> None:
    tree = room.tree("", evaluate="say(loss=1)")

    def full(tree: TreeOid, folder: Path) -> None:
        if room.checkouts:
            raise error
        room.checkout(tree, folder)

    wanted = program(metric="evaluate = 'python evaluate.py'")
    executor = LocalExecutor(room.bench(wanted, full))
    executor.start(spec(tree))
    until(executor, lambda: not executor.progress())
    assert not executor.poll(time.time())
    executor.close()
    assert list(room.work.iterdir()) == []


def test_a_cache_that_cannot_be_copied_costs_a_run_its_kernels_only(room: Room) -> None:
    cache = "CACHE = Path(os.environ['AUTORESEARCH_CACHE'])\n"
    baseline = room.tree(cache + "(CACHE / 'kernel').touch(); os.mkfifo(CACHE / 'moved'); say(loss=1)")
    with room.executor(program()) as executor:
        executor.start(spec(baseline))
        assert finish(executor).ending is Ending.FINISHED
        executor.start(spec(room.tree(cache + "say(loss=len(list(CACHE.iterdir())))"), run="run-2"))
        done = finish(executor)
    assert (done.ending, done.why, done.metrics) == (Ending.FINISHED, "", {"loss": 0.0})


def test_a_name_that_is_a_path_is_refused(room: Room) -> None:
    with room.executor(program()) as executor, pytest.raises(ValueError, match="no name for a run"):
        executor.start(spec(room.tree(""), run="../../elsewhere"))
