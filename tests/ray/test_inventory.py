"""What a cluster looks like from here: to `doctor`, where a socket stands for its head, and to those who judge."""

from __future__ import annotations

import socket

import pytest

from autoresearchd import inventory
from autoresearchd.equipment import far_devices
from autoresearchd.experiment import Device
from autoresearchd.program import parse
from tests.ray.labs import PROGRAM


def found(address: str) -> inventory.Finding:
    pytest.importorskip("ray")
    (finding,) = inventory.devices(parse(f'{PROGRAM}[ray]\naddress = "{address}"\n'))
    return finding


def test_doctor_says_whether_the_head_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert found(address).state == "ok"
    assert found(address).state == "missing"
    assert "ray start --head" in found(address).mend


def test_doctor_leaves_the_cluster_of_this_machine_to_ray_status() -> None:
    assert "`ray status`" in found("auto").what


def test_a_gpu_of_another_machine_is_a_gpu_to_those_who_judge() -> None:
    gpu, cpu = Device(name="cuda:0", model="NVIDIA H200"), Device(name="cpu:0", model="EPYC")
    assert [device.is_cuda for device in far_devices("ray", 2, gpu)] == [True, True]
    assert [device.is_cuda for device in far_devices("ray", 1, cpu)] == [False]
