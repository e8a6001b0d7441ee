"""One value a seed; what is not a finite number of a finished run is no number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Ending
from autoresearchd.judge import value
from autoresearchd.judge.metric import by_seed, mean, means
from tests.judge.lab import run


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e200, -1e308, None])
def test_what_is_no_finite_number_is_no_value(number: float | None) -> None:
    assert value(run("t", 0, number), "val_bpb") is None


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.FINISHED])
def test_a_run_that_did_not_finish_has_no_value(ending: Ending) -> None:
    assert value(run("t", 0, 1.0, ending=ending), "val_bpb") is None


@given(st.floats(-1e90, 1e90), st.integers(1, 40))
def test_the_mean_of_equal_numbers_is_that_number(number: float, count: int) -> None:
    assert mean([number] * count) == number, "a script that repeats itself would gain by rounding"


def test_two_runs_with_one_seed_are_one_observation() -> None:
    assert by_seed([run("t", 1, 1.0), run("t", 0, 3.0), run("t", 1, 2.0)], "val_bpb") == {0: 3.0, 1: 1.5}


def test_other_numbers_are_averaged_over_the_runs_that_said_them() -> None:
    runs = [run("t", 0, 1.0, others={"mfu": 0.2}), run("t", 1, 2.0, others={"mfu": 0.4}), run("t", 2, 3.0)]
    assert means(runs) == {"val_bpb": 2.0, "mfu": pytest.approx(0.3)}
