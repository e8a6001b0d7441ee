"""Contention in the whole policy: what something else slowed down is trained again, and the verdict waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.archive import Archive
from autoresearchd.blame import calm, disturbed
from autoresearchd.equipment import far_devices
from autoresearchd.experiment import Device, Ending, Environment, Outcome, RunSpec
from autoresearchd.program import Program
from tests.support.fakes import finished
from tests.support.lab_model import PROGRAM, LabModel, tree_of
from tests.support.projects import lab

CPU = (Device(name="cpu:0", model="test"),)
CHANGED = tree_of(frozenset({1}))


def ended(lab: LabModel, *, speed: float, noise: float) -> None:
    """Every live run finishes at this speed; the lab goes on."""
    lab.now += 10
    for run in sorted(lab.live):
        tree = lab.live[run].tree
        lab.end_run(run, Ending.FINISHED, noise)
        last = lab.runs[tree][-1]
        lab.runs[tree][-1] = replace(last, metrics={**last.metrics, "tokens_per_second": speed})
    lab.step()


def lab_with_one_open(program: Program = PROGRAM) -> LabModel:
    lab = LabModel(devices=CPU, effects={1: 0.0}, program=program)
    lab.step()
    for noise in (0.0, 0.01, -0.01):
        ended(lab, speed=100.0, noise=noise)
    lab.propose(1)
    lab.step()
    return lab


def test_a_first_run_that_was_slowed_down_is_trained_again_and_only_the_second_counts() -> None:
    lab = lab_with_one_open()
    ended(lab, speed=40.0, noise=5.0)
    assert [(spec.tree, spec.seed) for spec in lab.live.values()] == [(CHANGED, 0)], "it was not repeated"
    assert [run.tree for run in disturbed(lab.world())] == [CHANGED]
    ended(lab, speed=100.0, noise=6.0)
    _, verdict = lab.concluded[1]
    assert (verdict.outcome, verdict.runs, verdict.metric) == (Outcome.DISCARD, 1, 16.0)


@pytest.mark.parametrize(("model", "slowed"), [("cuda:0", True), ("cpu:0", False)])
def test_noise_is_measured_without_slowed_runs_also_on_a_gpu_far_away(model: str, slowed: bool) -> None:
    train = PROGRAM.train.model_copy(update={"cpu_steps": 10})  # on a CPU a slow run does the same work
    (device,) = far_devices("slurm", 1, Device(name=model))
    specs = [
        RunSpec(run=f"{seed}", tree=CHANGED, seed=seed, device=device, environment=Environment("far"))
        for seed in range(3)
    ]
    runs = [finished(spec, "loss", 1.0, now=spec.seed) for spec in specs]
    speeds = [
        replace(run, metrics={**run.metrics, "tokens_per_second": speed})
        for run, speed in zip(runs, (100.0, 40.0, 100.0), strict=True)
    ]
    left = [run.seed for run in calm(speeds, PROGRAM.model_copy(update={"train": train}))]
    assert left == ([0, 2] if slowed else [0, 1, 2])


def test_code_that_is_slow_again_is_judged_by_both_runs() -> None:
    lab = lab_with_one_open()
    ended(lab, speed=40.0, noise=5.0)
    ended(lab, speed=41.0, noise=6.0)
    assert lab.concluded[1][1].runs == 2
    assert disturbed(lab.world()) == ()


def test_a_slowed_run_of_the_baseline_is_repeated() -> None:
    lab = LabModel(devices=CPU, effects={}, program=PROGRAM)
    lab.step()
    for speed, noise in ((100.0, 0.0), (30.0, 3.0), (100.0, 0.01)):
        ended(lab, speed=speed, noise=noise)
    assert 0 in lab.opened
    ended(lab, speed=100.0, noise=-0.01)
    assert lab.concluded[0][1].metric == 10.0
    assert lab.concluded[0][1].runs == 3


def test_a_budget_in_steps_knows_no_contention() -> None:
    steps = PROGRAM.model_copy(update={"train": PROGRAM.train.model_copy(update={"cpu_steps": 10})})
    lab = lab_with_one_open(steps)
    ended(lab, speed=40.0, noise=5.0)
    assert lab.concluded[1][1].outcome is Outcome.DISCARD


@pytest.mark.parametrize(("steps", "expected"), [(None, 0.01), (100, 2.5)])
def test_the_measured_noise_is_not_that_of_runs_which_something_slowed_down(
    tmp_path: Path, steps: int | None, expected: float
) -> None:
    ledger = lab(tmp_path / "project")
    baseline = ledger.open_baseline(now=1.0)
    for seed, (loss, speed) in enumerate(((1.0, 100.0), (1.01, 101.0), (0.99, 99.0), (6.0, 30.0))):
        spec = RunSpec(run=f"r{seed}", tree=baseline.tree, seed=seed, device=CPU[0], environment=Environment("here"))
        done = finished(spec, "loss", loss, now=10.0 + seed)
        ledger.record(replace(done, metrics={**done.metrics, "tokens_per_second": speed}))
    train = PROGRAM.train.model_copy(update={"cpu_steps": steps})
    program = PROGRAM.model_copy(update={"train": train})
    found = Archive(ledger).spread(Environment("here"), program, {})
    assert found.std_dev == pytest.approx(expected, rel=0.02)
