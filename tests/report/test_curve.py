"""A curve in one line."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.report.curve import BLOCKS, LETTERS, sparkline
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
