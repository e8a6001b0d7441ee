"""What a run says of itself must be possible."""

from __future__ import annotations

import pytest

from autoresearchd.experiment import Ending, Environment, Measurement, TreeOid
from autoresearchd.judge.plausible import implausible


def run(*, train: float = 300.0, wall: float = 350.0, tokens: float | None = None) -> Measurement:
    return Measurement(
        run="r",
        tree=TreeOid("t"),
        seed=0,
        environment=Environment("e"),
        device="cuda:0",
        ending=Ending.FINISHED,
        metrics={} if tokens is None else {"tokens_per_second": tokens},
        started=0.0,
        train_seconds=train,
        wall_seconds=wall,
    )


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (run(train=400.0, wall=450.0), "300 s were given"),
        (run(wall=1000.0), "training may hide in it"),
        (run(train=1.0, wall=350.0 - 299.0 + 240.0), "training may hide in it"),
        (run(tokens=1e9), "it claims 1e+09 tokens/s"),
    ],
)
def test_a_run_that_lies_about_its_time_or_tokens_is_not_believed(candidate: Measurement, says: str) -> None:
    assert says in implausible(candidate, baseline_runs=[run(tokens=1e6)], train_seconds=300.0)


@pytest.mark.parametrize(
    "candidate", [run(), run(train=305.0, wall=480.0), run(train=20.0, wall=60.0), run(tokens=9e6)]
)
def test_slower_starts_and_faster_code_are_ordinary(candidate: Measurement) -> None:
    assert implausible(candidate, baseline_runs=[run(tokens=1e6)], train_seconds=300.0) == ""


def test_steps_have_no_clock_and_no_baseline_no_usual() -> None:
    assert implausible(run(train=9e3, wall=9e3), baseline_runs=[], train_seconds=None) == ""
