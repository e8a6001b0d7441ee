"""Tails of Student's t against the tables of any textbook."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.judge.student import upper_tail


@pytest.mark.parametrize(
    ("t", "degrees", "tail"),
    [
        (6.313752, 1, 0.05),
        (63.65674, 1, 0.005),
        (9.924843, 2, 0.005),
        (4.032143, 5, 0.005),
        (2.763769, 10, 0.01),
        (2.457262, 30, 0.01),
        (2.326348, 10_000_000, 0.01),
        (0.0, 3, 0.5),
        (-2.763769, 10, 0.99),
    ],
)
def test_the_tail_is_the_tables(t: float, degrees: float, tail: float) -> None:
    assert upper_tail(t, degrees) == pytest.approx(tail, rel=1e-5)


@given(st.floats(-50, 50), st.integers(1, 10_000))
def test_the_two_tails_add_up_to_one(t: float, degrees: int) -> None:
    assert upper_tail(t, degrees) + upper_tail(-t, degrees) == pytest.approx(1.0)


@given(st.floats(0.01, 40), st.integers(1, 1000))
def test_less_knowledge_of_the_noise_is_less_certainty(t: float, degrees: int) -> None:
    assert upper_tail(t, degrees) >= upper_tail(t, degrees + 1)
