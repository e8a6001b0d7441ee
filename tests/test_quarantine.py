"""Devices are set aside by how their runs ended; nothing else of these is kept, however long the daemon lives."""

from __future__ import annotations

import pickle
from dataclasses import replace

from autoresearchd.experiment import CurvePoint, Device, Ending, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.quarantine import MOST_ENDED, Quarantine
from tests.support.fakes import failed, finished

GOOD, BAD = Device(name="cpu:0"), Device(name="cpu:1")
OLD, NEW = TreeOid("old"), TreeOid("new")


def spec(number: int, device: Device, tree: TreeOid) -> RunSpec:
    return RunSpec(run=f"r{number}", tree=tree, seed=number, device=device, environment=Environment("here"))


def fails(number: int, tree: TreeOid, why: str = "the device is lost") -> Measurement:
    return failed(spec(number, BAD, tree), Ending.CRASH, why, now=100.0 + number)


def trains(number: int) -> Measurement:
    return finished(spec(number, GOOD, NEW), "loss", 1.0, now=100.0 + number)


def broken() -> Quarantine:
    """A device has failed three times alike, while another one trained."""
    quarantine = Quarantine()
    for run in (fails(1, OLD), fails(2, NEW), fails(3, OLD), trains(4)):
        quarantine.note(run)
    return quarantine


def test_a_device_that_alone_fails_is_set_aside_and_its_runs_blame_no_code() -> None:
    quarantine = broken()
    assert list(quarantine.devices) == ["cpu:1"]
    assert quarantine.excused({OLD, NEW}) == {"r1", "r2", "r3"}


def test_a_device_that_works_again_is_taken_back_and_what_it_failed_stays_excused() -> None:
    quarantine = broken()
    quarantine.note(finished(spec(5, BAD, NEW), "loss", 1.0, now=200.0))
    assert quarantine.devices == {}
    assert quarantine.excused({OLD, NEW}) == {"r1", "r2", "r3"}


def test_of_trees_that_matter_no_more_it_is_forgotten() -> None:
    quarantine = broken()
    assert quarantine.excused({NEW}) == {"r2"}
    assert quarantine.excused({OLD, NEW}) == {"r2"}


def test_weeks_of_long_curves_and_logs_take_no_room() -> None:
    quarantine = Quarantine()
    curve = tuple(CurvePoint(step=step, seconds=1.0, train_loss=1.0) for step in range(512))
    for number in range(2 * MOST_ENDED):
        quarantine.note(replace(trains(number), curve=curve, log_tail=64 * 1024 * "x"))
    assert len(pickle.dumps(quarantine)) < MOST_ENDED * 1000
