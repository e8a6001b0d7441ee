"""What lasts is said once in the log, and counted once in the status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from autoresearchd.memory import Memory
from autoresearchd.notices import Notices
from autoresearchd.world import Health, World
from tests.support.projects import lab
from tests.test_contention import ended, lab_with_one_open


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(lab(tmp_path / "project"))


def events(notices: Notices, *worlds: World) -> list[str]:
    with structlog.testing.capture_logs() as logs:
        for world in worlds:
            notices.look(world)
    return [entry["event"] for entry in logs]


def test_a_disturbed_run_is_said_and_counted_once(memory: Memory) -> None:
    model = lab_with_one_open()
    ended(model, speed=40.0, noise=5.0)
    world = model.world()
    assert events(Notices(memory), world, replace(world, now=world.now + 1.0)) == ["run_disturbed"]
    assert (memory.figures.disturbed, memory.figures.disturbed_why) == (1, "far slower than the same code before")


def test_why_nothing_is_started_is_said_when_it_begins_changes_and_ends(memory: Memory) -> None:
    well = lab_with_one_open().world()
    full, gone = (replace(well, health=Health(trouble=why)) for why in ("the disk is full", "git is gone"))
    assert events(Notices(memory), well, full, full, gone, well, well) == ["held", "held", "resumed"]
