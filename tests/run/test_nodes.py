"""The device nodes that runs get, on machines whose /dev and driver are folders of the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device
from autoresearchd.run import nodes

GPUS = (("0000:01:00.0", "GPU-aa", 1), ("0000:02:00.0", "GPU-bb", 0), ("0000:03:00.0", "GPU-cc", 2))
SHOWN = "CUDA_VISIBLE_DEVICES"


class Machine:
    """Three GPUs that the driver lists; the nodes of some."""

    def __init__(self, folder: Path, *present: str) -> None:
        self.dev, self.driver = folder / "dev", folder / "gpus"
        self.dev.mkdir()
        for name in present:
            (self.dev / name).touch()
        for bus, uuid, minor in GPUS:
            (self.driver / bus).mkdir(parents=True)
            said = f"Model: X\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
            (self.driver / bus / "information").write_text(said)

    def names(self, shown: str) -> list[str]:
        return [node.name for node in nodes.nodes(shown, dev=self.dev, driver=self.driver)]

    def shown(self, number: int, shown: str) -> str:
        device = Device(name=f"cuda:{number}", index=number)
        return nodes.by_name(device, {SHOWN: shown}, dev=self.dev, driver=self.driver)[SHOWN]


def test_a_gpu_run_gets_its_own_node_and_its_gpu_by_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia2")
    assert machine.names("0") == ["nvidiactl", "nvidia-uvm", "nvidia1"]
    assert machine.names("GPU-b")[-1] == "nvidia0"
    assert machine.shown(1, "1") == "GPU-bb"
    cpu = nodes.by_name(Device(name="cpu:0"), {SHOWN: ""}, dev=machine.dev, driver=machine.driver)
    assert cpu == {SHOWN: ""}


def test_a_part_of_a_gpu_gets_all_nodes_for_nobody_says_whose_part_it_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia2")
    (machine.dev / "nvidia-caps").mkdir()
    assert machine.names("MIG-77") == ["nvidiactl", "nvidia-uvm", "nvidia-caps", "nvidia0", "nvidia1", "nvidia2"]
    assert machine.shown(0, "MIG-77") == "MIG-77"


def test_where_a_container_has_some_of_the_gpus_they_are_counted_as_nvidia_smi_does(tmp_path: Path) -> None:
    """The driver tells a container of all that the machine has."""
    machine = Machine(tmp_path, "nvidiactl", "nvidia-uvm", "nvidia0", "nvidia2")
    assert (machine.names("0")[-1], machine.shown(0, "0")) == ("nvidia0", "GPU-bb")
    assert (machine.names("1")[-1], machine.shown(1, "1")) == ("nvidia2", "GPU-cc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every node of a folder")
def test_nodes_that_are_there_and_not_ours_to_use_do_not_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "nvidiactl", "nvidia0", "nvidia1", "nvidia2")
    (machine.dev / "nvidia1").chmod(0)
    assert (machine.names("0")[-1], machine.shown(0, "0")) == ("nvidia0", "GPU-bb")


def test_a_driver_that_does_not_tell_gpus_apart_leaves_all_nodes_and_the_number(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "nvidiactl", "nvidia0", "nvidia1", "nvidia2")
    asleep = machine.driver / "0000:02:00.0" / "information"
    asleep.write_text("GPU UUID: \t GPU-????????-????\nDevice Minor: \t 0\n")
    assert machine.names("1") == ["nvidiactl", "nvidia0", "nvidia1", "nvidia2"]
    assert machine.shown(1, "1") == "1"


@pytest.mark.parametrize("works", [True, False])
def test_the_node_that_only_cuda_needs_is_made_after_a_boot_or_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, works: bool
) -> None:
    machine = Machine(tmp_path, "nvidiactl", "nvidia0")
    tool = tmp_path / "bin" / "nvidia-modprobe"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{f'touch {machine.dev}/nvidia-uvm' if works else 'exit 1'}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    if works:
        nodes.wake(dev=machine.dev)
        assert machine.names("GPU-bb") == ["nvidiactl", "nvidia-uvm", "nvidia0"]
        return
    with pytest.raises(UserError, match=r"nvidia-uvm is not there, .*: run `sudo nvidia-modprobe -u -c=0`"):
        nodes.wake(dev=machine.dev)


def test_a_machine_without_the_driver_is_not_asked_for_its_nodes(tmp_path: Path) -> None:
    nodes.wake(dev=tmp_path)
    assert list(tmp_path.iterdir()) == []
