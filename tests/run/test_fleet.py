"""Devices by what their numbers may be compared with, and the environment that leads best."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Environment
from autoresearchd.program import Program
from autoresearchd.run.fleet import Fleet, fleet
from tests.run.room import program

OLD = Device(name="cuda:0", model="NVIDIA A100")
NEW = tuple(Device(name=f"cuda:{index}", model="NVIDIA H200", index=index) for index in (1, 2))
CPU = Device(name="cpu:0", model="AMD EPYC 7B13")


def sorted_out(folder: Path, *devices: Device, lead: str = "", files: tuple[bytes, ...] = ()) -> Fleet:
    return fleet(wanted(lead), devices, folder=folder, protected={}, editable=files)


def wanted(lead: str) -> Program:
    return program(more=f'[devices]\nlead = "{lead}"')


def test_devices_of_one_model_lead_together_and_all_others_screen(tmp_path: Path) -> None:
    found = sorted_out(tmp_path, OLD, *NEW)
    assert found.devices == (OLD,)
    assert list(found.screens.values()) == [NEW]
    assert found.environment not in found.screens


@pytest.mark.parametrize("lead", ["cuda:1", "*H200*", "h200", "nvidia h200"])
def test_program_toml_says_by_name_or_model_who_leads(tmp_path: Path, lead: str) -> None:
    found = sorted_out(tmp_path, OLD, *NEW, lead=lead)
    assert found.devices == NEW
    assert list(found.screens.values()) == [(OLD,)]


def test_a_leader_that_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"devices.lead is 'b300', .* cuda:0 \(NVIDIA A100\), cuda:1 \(NVIDIA H200\)"):
        sorted_out(tmp_path, OLD, NEW[0], lead="b300")


def test_what_was_measured_by_who_screens_is_measured_there_again(tmp_path: Path) -> None:
    found = sorted_out(tmp_path, OLD, *NEW)
    (screening,) = found.screens
    assert found.sharing(screening) == (screening, NEW)
    assert found.sharing(found.environment) == (found.environment, (OLD,))
    assert found.sharing(Environment("of another machine")) == (found.environment, (OLD,))


def test_a_cpu_slot_with_a_budget_in_seconds_counts_as_if_nothing_were_imported_ahead(tmp_path: Path) -> None:
    """Beside a GPU too, for which it is."""
    alone = sorted_out(tmp_path, CPU, files=(b"import torch\n",))
    beside = sorted_out(tmp_path, OLD, CPU, files=(b"import torch\n",))
    assert alone.ahead == ()
    assert beside.ahead != ()
    assert list(beside.screens) == [alone.environment]
