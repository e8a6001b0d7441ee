"""A device that fails where others do not is set aside, said, tried again and taken back; nobody's code is to blame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.experiment import Ending, Environment, Measurement, Outcome, RunSpec, TreeOid
from autoresearchd.fleet import FAILURES, aside
from autoresearchd.incident import Disturbance, Incident
from autoresearchd.ledger import Ledger
from autoresearchd.report.status import text
from tests.support.fakes import failed
from tests.support.night import Night
from tests.support.projects import lab

LOST = "RuntimeError: CUDA error: the device is lost"
BAD = "cpu:1"


def ended(number: int, device: str, ending: Ending = Ending.CRASH, *, tree: str = "", why: str = LOST) -> Measurement:
    return Measurement(
        run=f"r{number}",
        tree=TreeOid(tree or f"t{number}"),
        seed=0,
        environment=Environment("here"),
        device=device,
        ending=ending,
        started=100.0 * number,
        train_seconds=1.0,
        wall_seconds=1.0,
        why=why,
    )


ELSEWHERE = ended(9, "cpu:0", Ending.FINISHED, why="")
STREAK = [ended(number, BAD) for number in range(FAILURES)]


def test_a_device_that_fails_alike_with_different_code_while_others_train_is_set_aside() -> None:
    found = aside([*STREAK, ELSEWHERE])
    assert list(found) == [BAD]
    assert found[BAD].why == LOST
    assert found[BAD].runs == {"r0", "r1", "r2"}


@pytest.mark.parametrize(
    "runs",
    [
        [*STREAK[1:], ELSEWHERE],
        [*STREAK],
        [replace(ELSEWHERE, started=-1.0), *STREAK],
        [*(replace(run, tree=TreeOid("one")) for run in STREAK), ELSEWHERE],
        [*STREAK[:2], ended(3, BAD, why="ValueError: another"), ELSEWHERE],
        [*STREAK[:2], ended(3, BAD, Ending.UNSTABLE), ELSEWHERE],
        [*STREAK, ended(4, BAD, Ending.FINISHED, why=""), ELSEWHERE],
    ],
    ids=["too few", "no other device", "others only before", "one tree", "another failure", "the code's", "it works"],
)
def test_what_may_be_the_codes_fault_sets_no_device_aside(runs: list[Measurement]) -> None:
    assert aside(runs) == {}


def test_each_failed_try_doubles_the_rest() -> None:
    ends = [aside([*STREAK, ELSEWHERE, *(ended(10, BAD) for _ in range(more))])[BAD].until for more in (1, 2, 3)]
    assert [end - 1001.0 for end in ends] == [120.0, 240.0, 480.0]


class Broken(Night):
    """A night with three devices, one of which is lost until it is mended."""

    mended = False

    def result(self, spec: RunSpec, now: float) -> Measurement | None:
        if spec.device.name == BAD and not self.mended:
            return failed(spec, Ending.CRASH, LOST, now=now)
        return super().result(spec, now)

    def on_bad(self) -> list[RunSpec]:
        return [spec for spec in self.executor.started if spec.device.name == BAD]


def test_a_lost_device_is_said_and_tried_with_best_and_the_others_go_on(tmp_path: Path) -> None:
    night = Broken(lab(tmp_path / "project"), devices=3)
    night.steps(6)
    night.propose(*(2.0 + number for number in range(12)))
    night.steps(30)
    assert night.loop.status.devices[1].phase == "set aside"
    assert f"set aside: {LOST}, tried again in" in text(night.loop.status.to_json(), night.loop.status.pid)
    tries = night.on_bad()[FAILURES:]
    assert tries
    assert len(tries) < 6, "it is left alone between two tries"
    assert {spec.tree for spec in tries} == {night.ledger.best().tree}
    outcomes = [night.outcome(number) for number in range(1, 13)]
    assert outcomes.count(Outcome.DISCARD) >= 12 - FAILURES, "the others trained what there was"
    assert outcomes.count(Outcome.CRASH) <= FAILURES
    assert night.loop.status.state != "held"


def test_a_mended_device_is_taken_back(tmp_path: Path) -> None:
    night = Broken(lab(tmp_path / "project"), devices=3)
    night.steps(6)
    night.propose(*(2.0 + number for number in range(12)))
    night.steps(20)
    night.mended = True
    night.steps(120)
    assert night.loop.status.devices[1].phase == "idle"
    before = len(night.on_bad())
    night.propose(20.0, 21.0, 22.0)
    night.steps(3)
    assert len(night.on_bad()) > before


TAKEN = Incident(kind=Disturbance.FOREIGN, what="python (pid 4242, 70000 MiB) on cpu:1")
FULL = "OutOfMemoryError: CUDA out of memory"


class Shared(Night):
    """A night with two devices; on the second, somebody else's process holds the memory until it ends."""

    def __init__(self, *given: object, **named: object) -> None:
        self.gone = False
        super().__init__(*given, devices=2, **named)  # type: ignore[arg-type]

    def result(self, spec: RunSpec, now: float) -> Measurement | None:
        if spec.device.name == BAD and not self.gone:
            return replace(failed(spec, Ending.OUT_OF_MEMORY, FULL, now=now), incidents=(TAKEN,))
        return super().result(spec, now)


def test_memory_that_somebody_else_took_is_held_against_the_device_and_not_against_the_code(tmp_path: Path) -> None:
    night = Shared(lab(tmp_path / "project"))
    night.steps(6)
    night.propose(2.0, 3.0, 4.0)
    night.steps(20)
    assert [night.outcome(number) for number in (1, 2, 3)] == [Outcome.DISCARD] * 3
    (said,) = (device for device in night.loop.status.devices if device.device == BAD)
    assert said.phase == "set aside"
    assert said.why == f"{FULL} (python (pid 4242, 70000 MiB) on cpu:1)"
    night.gone = True
    night.steps(60)
    assert night.loop.status.devices[1].phase == "idle", "it was not taken back"


def test_the_record_of_a_run_keeps_what_was_seen_so_that_a_restart_blames_nobody_either(tmp_path: Path) -> None:
    ledger = lab(tmp_path / "project")
    night = Shared(ledger)
    night.steps(6)
    night.propose(2.0)
    night.hanging = True
    night.steps(2)
    (open_one,) = night.ledger.opened()
    (spec,) = (spec for spec in night.executor.live.values() if spec.tree == open_one.tree)
    for number in range(2):
        run = replace(spec, run=f"before-{number}", device=replace(spec.device, name=BAD))
        ledger.record(replace(failed(run, Ending.OUT_OF_MEMORY, FULL, now=night.now), incidents=(TAKEN,)))
    fresh = Ledger(ledger.path)
    assert [run.incidents for run in fresh.measurements(open_one.tree)] == [(TAKEN,), (TAKEN,)]
    again = Night(fresh)
    again.steps(10)
    assert again.outcome(open_one.number) is Outcome.DISCARD


def test_who_runs_out_of_memory_again_and_again_is_out_of_memory_whoever_has_the_rest(tmp_path: Path) -> None:
    night = Shared(lab(tmp_path / "project"))
    night.gone = True
    night.steps(6)
    night.propose(2.0)
    night.steps(1)
    (open_one,) = night.ledger.opened()
    for number in range(3):
        spec = replace(night.executor.started[0], run=f"r{number}", tree=open_one.tree, seed=0)
        night.ledger.record(replace(failed(spec, Ending.OUT_OF_MEMORY, FULL, now=night.now), incidents=(TAKEN,)))
    night.steps(10)
    assert night.outcome(open_one.number) is Outcome.OUT_OF_MEMORY
