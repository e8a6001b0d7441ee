"""Finding devices, and what makes two runs comparable."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device
from autoresearchd.program import Program
from autoresearchd.run import device, discover, environment, nodes
from autoresearchd.run.device import cores, slug, threads
from autoresearchd.slots import Devices
from tests.run.room import program

CPU = Device(name="cpu:0", model="AMD EPYC 7B13")
GPU = Device(name="cuda:0", model="NVIDIA H200")


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that lists two devices."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\necho '0, GPU-aa11, 81559, NVIDIA H100 80GB HBM3'\necho '1, GPU-bb22, [N/A], NVIDIA H200'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_auto_is_every_gpu(two_gpus: Path) -> None:
    first, second = discover(Devices())
    assert (first.name, first.model, first.memory_mib, first.index) == ("cuda:0", "NVIDIA H100 80GB HBM3", 81559.0, 0)
    assert (second.name, second.memory_mib, second.index) == ("cuda:1", None, 1)


def test_gpus_are_numbered_as_a_run_will_see_them(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb,0")
    assert [(device.name, device.model) for device in discover(Devices())] == [
        ("cuda:0", "NVIDIA H200"),
        ("cuda:1", "NVIDIA H100 80GB HBM3"),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,7,0")
    assert [device.model for device in discover(Devices())] == ["NVIDIA H200"]


def test_auto_without_a_gpu_is_the_cpu_slots(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch)
    slots = discover(Devices(cpu_slots=2))
    assert [device.name for device in slots] == ["cpu:0", "cpu:1"]
    assert slots[0].model
    assert slots[0].model == slots[1].model
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    two_gpus.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2; exit 9\n")
    assert [device.name for device in discover(Devices())] == ["cpu:0"]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells of a GPU that is plugged in."""
    card = tmp_path / "pci" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    monkeypatch.setattr(device, "PCI", card.parent)
    return card


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("echo 'NVIDIA-SMI has failed' >&2; exit 9", "NVIDIA-SMI has failed"),
        ("echo 'No devices were found'", "No devices were found"),
        ("exit 1", "exit code 1"),
        ("kill -SEGV $$", "exit code -11"),
    ],
)
def test_a_gpu_whose_driver_fails_is_said_and_no_night_is_spent_on_the_cpu(
    two_gpus: Path, card: Path, fails: str, said: str
) -> None:
    two_gpus.write_text(f"#!/bin/sh\n{fails}\n")
    with pytest.raises(UserError, match=rf"nvidia-smi fails \({said}\): mend the driver, or say .*cpu"):
        discover(Devices())
    assert [found.name for found in discover(Devices(use="cpu"))] == ["cpu:0"]
    (card / "class").write_text("0x040300\n")  # the sound of a graphics card
    assert [found.name for found in discover(Devices())] == ["cpu:0"]


def test_one_gpu_that_has_fallen_off_the_bus_takes_no_other_with_it(two_gpus: Path) -> None:
    two_gpus.write_text(f"{two_gpus.read_text()}echo 'Unable to determine the device handle for GPU2: Lost'\nexit 15\n")
    assert [found.name for found in discover(Devices())] == ["cuda:0", "cuda:1"]


TORCH = """
import os
from types import SimpleNamespace
assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("MIG-77,MIG-78", "PCI_BUS_ID")
part = SimpleNamespace(name="NVIDIA H200 MIG 1g.18gb", total_memory=18 * 2**30)
cuda = SimpleNamespace(device_count=lambda: 1, get_device_properties=lambda number: part)
print("something that torch says")
"""


def test_parts_of_a_gpu_are_counted_as_cuda_does_by_a_process_that_ends(
    two_gpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA takes the first part only; and whoever asks it holds memory of the GPU until it ends."""
    for name, text in {"dev/nvidiactl": "", "modules/torch.py": TORCH}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(nodes, "DEV", tmp_path / "dev")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-77,MIG-78")
    (part,) = discover(Devices())
    assert (part.name, part.model, part.memory_mib) == ("cuda:0", "NVIDIA H200 MIG 1g.18gb", 18432.0)


def test_parts_of_a_gpu_that_nothing_can_use_are_said_and_no_night_is_spent_on_the_cpu(
    two_gpus: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"dev/nvidiactl": "", "modules/torch.py": "raise OSError('no CUDA')"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(nodes, "DEV", tmp_path / "dev")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-gone")
    with pytest.raises(UserError, match=r"torch finds none that it can use: mend the driver, or say .*cpu"):
        discover(Devices())


def test_cpu_means_cpu_even_beside_a_gpu(two_gpus: Path) -> None:
    assert [device.name for device in discover(Devices(use="cpu"))] == ["cpu:0"]


def test_named_devices_are_taken_in_their_order(two_gpus: Path) -> None:
    found = discover(Devices(use=("cuda:1", "cpu:0", "cuda:1")))
    assert [device.name for device in found] == ["cuda:1", "cpu:0"]


def test_a_device_that_is_not_there_is_named(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cuda:5 is not there .*has: cuda:0, cuda:1"):
        discover(Devices(use=("cuda:0", "cuda:5")))
    with pytest.raises(UserError, match=r"cpu:999 is not there"):
        discover(Devices(use=("cpu:999",)))
    no_gpu(monkeypatch)
    with pytest.raises(UserError, match=r"cuda:0 is not there .*none of its kind"):
        discover(Devices(use=("cuda:0",)))


def test_cores_are_shared_between_the_cpu_slots() -> None:
    assert threads(Devices(cpu_slots=1), CPU) == cores()
    assert threads(Devices(cpu_slots=256), CPU) == 1
    assert threads(Devices(cpu_slots=2, cpu_threads=3), CPU) == 3
    assert threads(Devices(use=("cuda:0",)), GPU) is None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz", "intel-xeon-gold-6330-2-00ghz"),
        ("", "device"),
    ],
)
def test_a_model_has_a_short_name(model: str, name: str) -> None:
    assert slug(model) == name


def test_an_environment_is_a_readable_label(tmp_path: Path) -> None:
    label = environment(program("seconds = 300.0"), GPU, folder=tmp_path, protected={})
    assert re.fullmatch(r"h200/torch[^/\s]+/300s/[0-9a-f]{8}", label)
    label = environment(program("cpu_steps = 150"), CPU, folder=tmp_path, protected={})
    assert re.fullmatch(rf"amd-epyc-7b13/torch[^/\s]+/150steps-{cores()}t/[0-9a-f]{{8}}", label)


def test_whatever_changes_what_a_number_means_changes_the_environment(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tokens.bin").write_bytes(b"12")

    def label(wanted: Program, protected: bytes = b"x", device: Device = CPU) -> str:
        return environment(wanted, device, folder=tmp_path, protected={"evaluate.py": protected})

    plain = program("data = 'data'")
    labels = [
        label(plain),
        label(plain, b"y"),
        label(plain, device=GPU),
        label(program("data = 'data'\nseconds = 10.0")),
        label(program("data = 'data'\ncpu_steps = 10")),
        label(program("data = 'data'", command="python train.py --depth 4")),
        label(program("data = 'data'", r"pattern = '(\d)'")),
        label(program("data = 'data'", "direction = 'higher'")),
        label(program("data = 'elsewhere'")),
        label(program()),
        label(program("data = 'data'", more="[devices]\ncpu_threads = 64")),
    ]
    (tmp_path / "data" / "tokens.bin").write_bytes(b"123")
    labels.append(label(plain))
    (tmp_path / "data" / "meta.json").write_text("{}")
    labels.append(label(plain))
    assert len(set(labels)) == len(labels)
    (tmp_path / "data" / "tokens.bin").write_bytes(b"1234")
    assert label(plain) == labels[-1], "meta.json says what the folder is"
    (tmp_path / "data" / "meta.json").write_text("{ }")
    assert label(plain) != labels[-1]
