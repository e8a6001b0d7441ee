"""A curve in one line."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import CurvePoint
from autoresearchd.report.curve import BLOCKS, LETTERS, against, sparkline
from tests.report.nouns import curve


def test_a_falling_loss_falls_in_the_picture() -> None:
    assert sparkline(curve(8, 7, 6, 5, 4, 3, 2, 1)) == BLOCKS[::-1]


def test_a_terminal_without_blocks_gets_letters() -> None:
    assert sparkline(curve(1, 0), heights=LETTERS) == "@_"


def test_a_loss_that_is_no_number_is_marked() -> None:
    assert sparkline(curve(1, math.nan, 0)) == "█x▁"
    assert sparkline(curve(math.nan, math.inf)) == "xx"


def test_no_curve_is_no_picture() -> None:
    assert sparkline(()) == ""


@given(st.lists(st.floats(), max_size=200), st.integers(1, 80))
def test_every_curve_fits_its_width(losses: list[float], width: int) -> None:
    assert len(sparkline(curve(*losses), width=width)) == min(width, len(losses))


def test_two_curves_stand_under_each_other_at_equal_training_time() -> None:
    own = tuple(CurvePoint(step=s, seconds=float(s), train_loss=10.0 - s) for s in range(6))
    best = tuple(CurvePoint(step=s, seconds=2.0 * s, train_loss=10.0 - s) for s in range(6))
    upper, lower = against(own, best, width=10)
    assert len(lower) == 10
    assert len(upper) == 6
    assert upper[:5] != lower[:5]
    assert all(above <= below for above, below in zip(upper, lower, strict=False)), "the faster one is lower"


def test_a_curve_that_is_not_finite_is_marked_beside_the_other() -> None:
    upper, lower = against(curve(math.nan, math.nan), curve(2.0, 1.0), width=4)
    assert set(upper) == {"x"}
    assert set(lower) <= set(BLOCKS)
