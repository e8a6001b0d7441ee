"""What a service manager hears, on a real socket, and the one line that it shows."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.notify import WIDTH, line, take
from autoresearchd.status import DeviceStatus, Status

TRAINING = DeviceStatus(device="cuda:0", model="H200", experiment=42, phase="training", fraction=0.63, started=1.0)
STATUS = Status(
    now=100.0, pid=1, program="model", metric="val_bpb", direction="lower", state="training", best=1.0041,
    best_number=17, baseline=1.0256, verdicts={"keep": 5, "discard": 26, "baseline": 1}, devices=(TRAINING,),
    session_started=0.0,
)  # fmt: skip


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(0.2)
        yield ear


def heard(ear: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(ear.recv(4096).decode())
        except TimeoutError:
            return found


def test_the_line_says_what_trains_what_is_best_and_what_was_tried() -> None:
    assert line(STATUS) == "exp 0042 · training 63 % · best 1.0041 (−2.1 %) · 31 tried, 5 kept"


def test_an_idle_lab_says_its_state_and_why() -> None:
    idle = replace(STATUS, state="held", why="the disk is full\nREADY=1", devices=(), best=None)
    assert line(idle) == "held: the disk is full READY=1 · 31 tried, 5 kept"


def test_several_devices_are_counted_and_a_baseline_has_no_change() -> None:
    both = replace(STATUS, devices=(replace(TRAINING, experiment=None, fraction=None), TRAINING), best_number=0)
    assert line(both) == "baseline · training · 1 more training · best 1.0041 · 31 tried, 5 kept"


def test_a_lab_that_ends_after_its_runs_says_so_while_they_train() -> None:
    ending = replace(STATUS, state="ending", why="stopped by `autoresearchd stop --after-run`")
    assert line(ending) == "ending · exp 0042 · training 63 % · best 1.0041 (−2.1 %) · 31 tried, 5 kept"


@given(st.text(max_size=400), st.text(max_size=40))
def test_whatever_an_experiment_says_it_stays_one_line(why: str, phase: str) -> None:
    for devices in ((), (replace(TRAINING, phase=phase),)):
        said = line(replace(STATUS, why=why, devices=devices))
        assert said.isprintable()
        assert len(said) <= WIDTH


def test_a_manager_hears_ready_the_line_once_and_a_heartbeat_at_half_its_time(listener: socket.socket) -> None:
    manager = take({"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "10000000"})
    manager.ready()
    for now in (0.0, 1.0, 4.9, 5.0, 6.0):
        manager.alive(STATUS, now)
    manager.reloading()
    manager.stopping("stopped by\nSIGTERM")
    *said, reloading, stopping = heard(listener)
    assert said == ["READY=1", "WATCHDOG=1", f"STATUS={line(STATUS)}", "WATCHDOG=1"]
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert stopping == "STOPPING=1\nSTATUS=stopped by SIGTERM"


def test_a_manager_is_asked_for_patience_while_a_cluster_has_no_node(listener: socket.socket) -> None:
    manager = take({"NOTIFY_SOCKET": listener.getsockname()})
    manager.starting()
    (said,) = heard(listener)
    assert said.splitlines() == ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=waiting for a node of the cluster"]


def test_an_abstract_socket_is_spoken_to_as_well(tmp_path: Path) -> None:
    name = f"autoresearchd-test{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0" + name)
        ear.settimeout(0.2)
        take({"NOTIFY_SOCKET": "@" + name}).ready()
        assert heard(ear) == ["READY=1"]


def test_nothing_of_the_manager_is_left_for_children() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "7", "PATH": "/bin"}
    assert take(environment).listens
    assert environment == {"PATH": "/bin"}


def test_without_a_manager_nothing_is_said() -> None:
    manager = take({})
    manager.ready()
    manager.alive(STATUS, 0.0)
    assert not manager.listens


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manager = take({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    manager.ready()
    manager.alive(STATUS, 0.0)
    assert capsys.readouterr().out.count("service_manager_not_told") == 1


def test_another_process_is_watched_not_this_one(listener: socket.socket) -> None:
    manager = take({"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"})
    manager.alive(STATUS, 0.0)
    assert heard(listener) == [f"STATUS={line(STATUS)}"]
