"""The audit of best: one run more that tells, and decides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoresearchd.audit import due, trend, word
from autoresearchd.experiment import Concluded, Device, Direction, Ending, Outcome
from autoresearchd.program import Program
from autoresearchd.status import AuditStatus
from autoresearchd.world import Orders
from tests.support.lab_model import AUDITED, PROGRAM, LabModel, tree_of

SIGMA = 0.01
CPU = tuple(Device(name=f"cpu:{index}", model="test", index=index) for index in range(2))


def every(keeps: int) -> Program:
    return AUDITED.model_copy(update={"accept": AUDITED.accept.model_copy(update={"audit_every": keeps})})


def night(program: Program, *, audit: float | None = 10.0, devices: int = 1, wins: int = 1) -> LabModel:
    """A baseline and so many clear wins, one after the other; every run ends well, every audit gives `audit`."""
    lab = LabModel(devices=CPU[:devices], effects=dict.fromkeys(range(5), 20 * SIGMA), program=program, remaining=wins)
    for round in range(80):
        lab.now += 10
        if not lab.opened and lab.concluded and not lab.ready and lab.remaining:
            lab.propose(len(lab.line) - 1)
        lab.step()
        for run in sorted(lab.live):
            lab.end_run(run, Ending.FINISHED, SIGMA * ((round * 7919) % 5 - 2), audit=audit)
        if lab.finished:
            return lab
    raise AssertionError("the night never ended")


def audited(lab: LabModel) -> dict[str, int]:
    return {tree: count for tree, runs in lab.runs.items() if (count := sum(run.audited for run in runs))}


@pytest.mark.parametrize("devices", [1, 2])
def test_the_baseline_and_every_new_best_are_audited_once(devices: int) -> None:
    lab = night(AUDITED, devices=devices, wins=3)
    assert len(lab.line) == 5, "the baseline and three keeps"
    assert audited(lab) == {tree_of(lab.holds[commit]): 1 for commit in lab.line[1:]}


def test_the_audit_of_a_baseline_costs_no_run_of_its_own() -> None:
    assert len(night(AUDITED, wins=0).runs["imported"]) == len(night(PROGRAM, wins=0).runs["imported"])  # type: ignore[index]


def test_the_last_best_of_a_night_is_audited_before_the_daemon_is_done() -> None:
    lab = night(AUDITED)
    assert audited(lab)[tree_of(lab.holds[lab.line[-1]])] == 1


def test_the_audits_run_is_one_that_best_was_not_selected_by() -> None:
    lab = night(AUDITED)
    runs = lab.runs[tree_of(lab.holds[lab.line[-1]])]
    (own,) = [run for run in runs if run.audited]
    assert own.seed not in lab.concluded[1][1].seeds
    assert own.seed > max(lab.concluded[1][1].seeds)


@pytest.mark.parametrize(("keeps", "expected"), [(0, set()), (2, {"imported", "1+2"})])
def test_audits_are_as_rare_as_the_program_says(keeps: int, expected: set[str]) -> None:
    assert set(audited(night(every(keeps), wins=2))) == expected


@pytest.mark.parametrize("audit", [None, -1000.0, 1000.0])
def test_no_verdict_depends_on_what_an_audit_says_or_whether_it_works(audit: float | None) -> None:
    lab, usual = night(AUDITED, audit=audit), night(AUDITED)
    assert [line[1].outcome for line in lab.concluded.values()] == [Outcome.BASELINE, Outcome.KEEP]
    assert lab.concluded[1][1].metric == pytest.approx(usual.concluded[1][1].metric, abs=3 * SIGMA)


def test_an_audit_that_never_works_is_given_up() -> None:
    assert set(audited(night(AUDITED, audit=None)).values()) == {2}


def test_a_person_who_stops_the_daemon_waits_for_no_audit() -> None:
    lab = night(AUDITED)
    world = replace(lab.world(), runs={}, orders=Orders(closing="SIGTERM"))
    assert due(world)
    lab.closing, lab.finished = "SIGTERM", False
    lab.runs.clear()
    lab.step()
    assert lab.finished


def points(*pairs: tuple[float, float]) -> tuple[AuditStatus, ...]:
    return tuple(AuditStatus(number=index, value=value, audit=audit) for index, (value, audit) in enumerate(pairs))


@pytest.mark.parametrize(
    ("audits", "expected"),
    [
        ((), ""),
        (points((1.0, 1.1)), ""),
        (points((1.0, 1.1), (0.9, 1.0)), ""),
        (points((1.0, 1.1), (0.9, 1.1)), "overfitting"),
        (points((1.0, 1.1), (0.95, 1.05), (0.9, 1.2)), "overfitting"),
        (points((1.0, 1.1), (0.995, 1.2)), ""),
    ],
)
def test_one_plain_word_says_that_best_is_better_only_where_it_was_chosen(
    audits: tuple[AuditStatus, ...], expected: str
) -> None:
    assert word(audits, direction=Direction.LOWER, noise=0.01) == expected


def test_the_trend_pairs_both_numbers_of_the_same_training() -> None:
    lab = night(AUDITED, audit=3.0)
    line = [
        (
            Concluded(experiment=lab.concluded[number][0], verdict=lab.concluded[number][1]),
            lab.runs[lab.concluded[number][0].tree],
        )
        for number in (0, 1)
    ]
    found = trend(line, metric="loss", environment=lab.world().environment)
    assert [(point.number, point.audit) for point in found] == [(0, 3.0), (1, 3.0)]
    for point, (_, runs) in zip(found, line, strict=True):
        assert point.value == next(run.metrics["loss"] for run in runs if run.audited)
