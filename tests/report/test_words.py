"""Figures and other people's words."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Direction, Outcome
from autoresearchd.report.words import block, duration, figure, finite, gain_figure, gain_of, plain
from tests.report.nouns import EVIL, concluded


@given(st.text())
def test_nothing_that_a_terminal_obeys_survives_in_a_line(text: str) -> None:
    assert all(char.isprintable() for char in plain(text))


@given(st.text())
def test_nothing_but_line_ends_survives_in_a_block(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in block(text))


def test_an_escape_sequence_is_shown_as_its_escapes() -> None:
    assert plain("a\x1b[31mb") == r"a\x1b[31mb"
    assert r"\x9b31m" in plain(EVIL)
    assert r"\u202e" in plain(EVIL)


def test_a_line_stays_one_line() -> None:
    assert plain(" two\nlines\u2028and\ta tab ") == "two lines and a tab"


def test_ordinary_words_of_any_script_stay_as_they_are() -> None:
    assert plain("Größe 2σ → 学习率") == "Größe 2σ → 学习率"


def test_a_block_keeps_its_indentation() -> None:
    assert block("def f():\r\n\treturn 1\n") == "def f():\n    return 1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98421, "0.984210"),
        (1.234567, "1.23457"),
        (51234.56, "51234.6"),
        (3.2e-5, "3.2e-05"),
        (0.0, "0"),
        (0.99999999, "1.00000"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_a_metric_has_six_digits(value: float | None, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("gain", "error", "shown"),
    [
        (0.0123456, 0.00214, "+0.0123 ± 0.0021"),
        (-0.5, 0.25, "-0.50 ± 0.25"),
        (0.0123456, None, "+0.0123"),
        (0.0123456, 0.0, "+0.0123"),
        (None, 0.1, "-"),
        (1200.0, 300.0, "+1200 ± 300"),
    ],
)
def test_a_gain_is_shown_to_the_digits_of_its_error(gain: float | None, error: float | None, shown: str) -> None:
    assert gain_figure(gain, error) == shown


def test_a_gain_is_positive_where_the_metric_is_better_whichever_way_that_is() -> None:
    verdict = concluded(1, Outcome.KEEP, 1.25, 1.5).verdict
    assert gain_of(verdict, Direction.LOWER) == 0.25
    assert gain_of(verdict, Direction.HIGHER) == -0.25
    assert gain_of(concluded(1, Outcome.CRASH).verdict, Direction.LOWER) is None


def test_durations_read_like_a_clock() -> None:
    assert [duration(s) for s in (-1, 42, 200, 7500, 273600)] == ["0 s", "42 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"]


def test_numbers_that_are_none_become_null() -> None:
    data = finite({"a": math.nan, "b": [math.inf, 1.5], "c": ({"d": -math.inf},)})
    assert json.dumps(data, allow_nan=False) == '{"a": null, "b": [null, 1.5], "c": [{"d": null}]}'
