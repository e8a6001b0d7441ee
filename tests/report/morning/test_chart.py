"""Where things are in the report's pictures."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import Outcome
from autoresearchd.report.morning.chart import TICKS, intervals, staircase, ticks, visible
from autoresearchd.report.morning.document import Document
from autoresearchd.report.morning.pages import as_json, html, markdown
from tests.report.nouns import concluded
from tests.report.test_facts import kept, told


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    assert 1 <= len(found) <= 2 * TICKS + 1


def test_the_staircase_goes_down_where_best_went_down_and_reaches_the_end() -> None:
    drawn = staircase(told(kept(1, 0, 1.8, 2.0), concluded(2, Outcome.CRASH)))
    assert drawn is not None
    start, rest = drawn.best.split("H", 1)
    top = float(start.split()[1])
    across, down = rest.split("V")
    assert float(across) == 500.0
    assert float(down.split("H")[0]) > top
    assert drawn.best.endswith("H1000")
    assert drawn.failed.count("M") == 1


def test_a_wild_try_does_not_flatten_the_picture_and_is_counted() -> None:
    found = told(kept(1, 0, 1.8, 2.0), concluded(2, Outcome.DISCARD, 900.0, 1.8))
    span = visible(found)
    assert span is not None
    assert span[1] < 3.0
    drawn = staircase(found)
    assert drawn is not None
    assert drawn.outside == 1
    assert "M833.3 0h0" in drawn.dots["other"]


def test_before_the_first_number_there_is_no_picture() -> None:
    assert staircase(told()) is not None
    from autoresearchd.report.facts import Source, facts
    from tests.report.test_facts import LOSS

    assert staircase(facts(Source(now=0.0, program=LOSS, concluded=[]))) is None


def test_intervals_share_one_scale_with_nothing_on_it() -> None:
    found = intervals(told(kept(1, 0, 1.8, 2.0), kept(2, 1, 1.75, 1.8)).line)
    assert found[0] is None
    first, second = found[1], found[2]
    assert first is not None
    assert second is not None
    assert first.zero == second.zero == 0.0
    assert first.high == pytest.approx(100.0)
    assert second.low < second.gain < second.high < first.gain


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=50)
@given(
    tries=st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0, allow_infinity=False)), max_size=6),
    outcomes=st.lists(st.sampled_from([Outcome.KEEP, Outcome.DISCARD, Outcome.INCONCLUSIVE]), min_size=6, max_size=6),
)
def test_whatever_a_run_says_about_itself_there_is_a_report(
    tries: list[tuple[float, float, float]], outcomes: list[Outcome]
) -> None:
    rows = [
        concluded(number, outcome, metric, baseline, std_error=error, train_seconds=error, proposer="llm")
        for number, (outcome, (metric, baseline, error)) in enumerate(zip(outcomes, tries, strict=False), 1)
    ]
    document = Document(facts=told(*rows), fetch="git fetch", pick_all="", changes=())
    assert "</html>" in html(document)
    assert "Gains by change" in markdown(document)
    json.dumps(as_json(document), allow_nan=False)
