"""What runs on each rung count for: numbers of two rungs never mix."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device
from autoresearchd.program import Program
from autoresearchd.run.fleet import Fleet, fleet
from tests.run.room import program

CPU = (Device(name="cpu:0", model="test"),)


def sorted_fleet(ladder: str, folder: Path) -> Fleet:
    wanted: Program = program("cpu_steps = 20", more=ladder)
    return fleet(wanted, CPU, folder=folder, protected={}, editable=())


def test_each_rung_is_an_environment_of_its_own(tmp_path: Path) -> None:
    found = sorted_fleet('[[scale]]\nname = "d2"\nargs = "--depth 2"\n[[scale]]\nname = "d3"\ncpu_steps = 40', tmp_path)
    assert list(found.scales) == ["d2", "d3"], "in the order of program.toml"
    assert len({found.environment, *found.scales.values()}) == 3
    assert "40steps" in found.scales["d3"]


def test_a_rung_that_trains_as_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\[\[scale\]\] 'd2' trains as \[train\] does.*give it `args`"):
        sorted_fleet('[[scale]]\nname = "d2"\nmemory_mib = 1', tmp_path)
