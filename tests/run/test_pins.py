"""CPU slots with cores of their own, as real processes find themselves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Ending
from autoresearchd.limits import Mode
from autoresearchd.run import pins, sandbox
from autoresearchd.run.device import cores, environment
from autoresearchd.run.pins import pinned
from autoresearchd.slots import Devices
from tests.run.room import Room, finish, program, spec, until

CORES = """
found = sorted(os.sched_getaffinity(0))
say(loss=len(found), **{f"core_{core}": core for core in found})
"""
TWO_SLOTS = '[devices]\nuse = "cpu"\ncpu_slots = 2\ncpu_threads = 1\ncpu_pin = true'
SLOTS = [Device(name=f"cpu:{index}", model="test", index=index) for index in range(2)]


def used(metrics: object) -> set[int]:
    assert isinstance(metrics, dict)
    return {int(core) for name, core in metrics.items() if name.startswith("core_")}


@pytest.fixture
def _two_cores() -> None:
    if cores() < 2:
        pytest.skip("two slots with cores of their own need two cores")


@pytest.mark.usefixtures("_two_cores")
@pytest.mark.parametrize("mode", ["none", "landlock", "bubblewrap"])
def test_all_processes_of_a_pinned_slot_keep_to_its_cores(room: Room, mode: Mode) -> None:
    """The training that is started plainly, the next one that has waited as an interpreter, and the evaluation."""
    if why := sandbox.broken(mode):
        pytest.skip(why)
    evaluated = program(metric='evaluate = "python evaluate.py"', mode=mode, more=TWO_SLOTS)
    found = []
    train = "import time\nprint('here')\nwhile not (OUT / 'end').exists():\n    time.sleep(0.02)\nsay(loss=0)"
    with room.executor(evaluated) as executor:
        for slot in ("cpu:0", "cpu:1"):
            executor.start(spec(room.tree(train, evaluate=CORES), run=f"first-{slot[-1]}", device=slot))
        until(executor, lambda: len(list(room.work.glob("next-*/pid-*"))) == 2)
        for run in ("first-0", "first-1"):
            (room.work / run / "train" / "out" / "end").touch()
            found.append(finish(executor))
        for slot in ("cpu:0", "cpu:1"):
            executor.start(spec(room.tree(CORES, evaluate="say(loss=1)"), run=f"second-{slot[-1]}", device=slot))
            found.append(finish(executor))
    assert {run.ending for run in found} == {Ending.FINISHED}
    by_slot = {name: [used(dict(run.metrics)) for run in found if run.device == name] for name in ("cpu:0", "cpu:1")}
    wanted = {slot.name: set(pinned(evaluated.devices, slot)) for slot in SLOTS}
    assert by_slot == {name: [own, own] for name, own in wanted.items()}
    assert not wanted["cpu:0"] & wanted["cpu:1"]


@pytest.mark.usefixtures("_two_cores")
def test_a_bound_on_cores_holds_within_those_of_the_slot(room: Room) -> None:
    wanted = program(more=f"cpus = 1\n{TWO_SLOTS}")
    with room.executor(wanted) as executor:
        executor.start(spec(room.tree(CORES), device="cpu:1"))
        (core,) = used(dict(finish(executor).metrics))
    assert core in pinned(wanted.devices, SLOTS[1])


@pytest.mark.usefixtures("_two_cores")
def test_a_cpuset_that_shrinks_at_run_time_ends_no_night(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = os.sched_getaffinity(0)
    with room.executor(program(more=TWO_SLOTS)) as executor:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {min(ours)})
        with structlog.testing.capture_logs() as logs:
            executor.start(spec(room.tree("say(loss=1)"), device="cpu:1"))
            assert finish(executor).ending is Ending.FINISHED
    assert "cores_lost" in {entry["event"] for entry in logs}


def test_without_pins_a_run_may_use_every_core(room: Room) -> None:
    assert used(dict(room.measure(CORES).metrics)) == os.sched_getaffinity(0)


def test_slots_share_no_physical_core_where_each_can_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores with two threads each, numbered as Intel does: 0 and 4 are neighbours."""
    monkeypatch.setattr(pins, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for core in range(8):
        folder = tmp_path / f"cpu{core}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_id").write_text(f"{core % 4}\n")
    devices = Devices(use="cpu", cpu_slots=4, cpu_pin=True)
    slots = [Device(name=f"cpu:{index}") for index in range(4)]
    assert [pinned(devices, slot) for slot in slots] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert pinned(devices, Device(name="cuda:0")) == ()


def test_more_pinned_slots_than_cores_are_refused_in_one_sentence() -> None:
    devices = Devices(use="cpu", cpu_slots=256, cpu_pin=True)
    with pytest.raises(UserError, match=r"cpu_pin is true, and 256 slots .* has \d+; use fewer slots, or"):
        pinned(devices, SLOTS[0])


@pytest.mark.usefixtures("_two_cores")
def test_pins_are_another_environment_only_where_the_budget_is_time(tmp_path: Path) -> None:
    def label(train: str, *, pin: bool) -> str:
        wanted = program(train, more=TWO_SLOTS if pin else TWO_SLOTS.replace("true", "false"))
        return environment(wanted, replace(SLOTS[0], model="x"), folder=tmp_path, protected={})

    assert label("seconds = 5.0", pin=True) != label("seconds = 5.0", pin=False)
    assert label("cpu_steps = 5", pin=True) == label("cpu_steps = 5", pin=False)
