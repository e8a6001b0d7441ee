"""The tables and logs of other programs: read as they are, or refused as a whole with the line and column named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.errors import UserError
from autoresearchd.experiment import Direction, Outcome
from autoresearchd.foreign import Row, read

MAR8 = Path(__file__).parent / "data" / "autoresearch-mar8-results.tsv"
HEAD = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
FIRST = "baseline\t0.99\t44.0\tkeep\tbaseline\n"
CONFIG = '{"type":"config","name":"n","metricName":"val_bpb","metricUnit":"","bestDirection":"lower"}\n'
RUN = {"run": 1, "commit": "abc1234", "metric": 0.9, "metrics": {}, "status": "keep", "description": "d"}


def rows(text: str) -> tuple[Row, ...]:
    return read(text, metric="val_bpb", direction=Direction.LOWER)


def log(**changed: object) -> str:
    return CONFIG + json.dumps({**RUN, **changed}) + "\n"


def test_the_published_night_is_read_row_by_row() -> None:
    found = rows(MAR8.read_text())
    assert len(found) == 126
    assert sum(row.outcome is Outcome.KEPT_ELSEWHERE for row in found) == 23
    assert found[0] == Row(
        line=2,
        commit="baseline",
        outcome=Outcome.KEPT_ELSEWHERE,
        metric=0.9979,
        description="baseline",
        peak_memory_mib=44.0 * 1024,
    )
    (crash,) = [row for row in found if row.outcome is Outcome.CRASH]
    assert (crash.metric, crash.peak_memory_mib) == (None, None)
    assert [row.line for row in found] == list(range(2, 128))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing in it"),
        (HEAD, "a header and no experiment"),
        (HEAD.replace("val_bpb", "loss") + FIRST, "line 1, column 2 is 'loss', not the column 'val_bpb'"),
        ("status\tval_bpb\tmemory_gb\tcommit\tdescription\n" + FIRST, "line 1, column 1 is 'status'"),
        (HEAD + FIRST + "abc1234\t0.9\t44.0\tkeep\n", "line 3 has 4 columns, not the 5"),
        (HEAD + "abc1234\t0.9\t44.0\tkeep\ta\tb\n", "line 2 has 6 columns"),
        (HEAD + FIRST + "\n" + FIRST, "line 3 has 1 columns"),
        (HEAD + "keep\t0.9\t44.0\tabc1234\td\n", "line 2, column 4 is 'abc1234', not one of keep"),
        (HEAD + "abc1234\tNaN\t44.0\tkeep\td\n", "line 2, column 2 is 'NaN', not a finite number"),
        (HEAD + "abc1234\t-inf\t44.0\tkeep\td\n", "line 2, column 2 is '-inf'"),
        (HEAD + "abc1234\t1e300\t44.0\tkeep\td\n", "line 2, column 2 is '1e300'"),
        (HEAD + "abc1234\t0,9\t44.0\tkeep\td\n", "line 2, column 2 is '0,9', not a number"),
        (HEAD + "abc1234\t0.9\t-1\tkeep\td\n", "line 2, column 3 is '-1', not a number that is not negative"),
        (HEAD + "--upload-pack=x\t0.9\t44.0\tkeep\td\n", "line 2, column 1 is '--upload-pack=x', not a commit"),
        (HEAD + "abc1234\t0.9\t44.0\tkeep\ta\x1b[31mred\n", "line 2, column 5 is 'a\\x1b[31mred', not a text without"),
        (HEAD + "abc1234\t0.9\t44.0\tkeep\t" + "d" * 30_000 + "\n", "line 2 has 30022 characters"),
        (HEAD + FIRST * 20_001, "more than the 20000"),
        ("a table of somebody else's\n1\n", "line 1 has 1 columns"),
        (json.dumps(RUN), "line 1, type is None, not a first line"),
        (CONFIG + "{", "line 2 is no JSON"),
        (CONFIG + "[1]", "line 2 is no JSON object"),
        (CONFIG + "[" * 15_000, "line 2 is no JSON"),
        (CONFIG.replace("val_bpb", "loss") + json.dumps(RUN), "line 1, metricName is 'loss', not 'val_bpb'"),
        (CONFIG, "a header and no experiment"),
        (CONFIG.replace("lower", "higher") + json.dumps(RUN), "line 1, bestDirection is 'higher'"),
        (log(metric=float("nan")), "line 2, metric is 'NaN', not a number"),
        (log(metric=10**400), "line 2, metric is 1000"),
        (log(metric=True), "line 2, metric is True, not a number"),
        (log(metric=None), "line 2, metric is None"),
        (log(status="kept"), "line 2, status is 'kept', not one of keep"),
        (log(commit="HEAD~1"), "line 2, commit is 'HEAD~1'"),
        (log(description=7), "line 2, description is 7, not a text"),
        (log(metrics=[1]), "line 2, metrics is [1], not an object"),
        (log(metrics={"a": "1"}), "line 2, metrics.a is '1', not a number"),
        (log(timestamp=-5), "line 2, timestamp is -5, not a Unix time"),
    ],
)
def test_what_is_not_understood_is_one_sentence_that_names_the_place(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        rows(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_log_of_runs_is_read_with_its_other_numbers_and_times() -> None:
    kept, lost, checks = rows(
        log(metrics={"size_kib": 5}, timestamp=1_777_278_226_000)
        + json.dumps({**RUN, "status": "crash", "metric": 0, "timestamp": 1_777_278_300})
        + "\n"
        + json.dumps({**RUN, "status": "checks_failed", "metric": 0.8})
        + "\n"
    )
    assert (kept.commit, kept.metric, kept.metrics, kept.finished) == ("abc1234", 0.9, {"size_kib": 5.0}, 1_777_278_226)
    # What was not kept was never committed: the commit on its line is the one that it was tried on.
    assert (lost.outcome, lost.metric, lost.commit, lost.finished) == (Outcome.CRASH, None, "", 1_777_278_300)
    assert (checks.outcome, checks.metric) == (Outcome.REJECTED, None)


def test_segments_about_another_metric_are_left_out() -> None:
    other = CONFIG.replace("val_bpb", "seconds") + json.dumps({**RUN, "metric": 26.6}) + "\n"
    assert [row.line for row in rows(other + log() + other + log(metric=0.8))] == [4, 8]


def test_what_was_given_up_before_it_was_measured_has_no_number() -> None:
    (row,) = rows(HEAD + "abc1234\t0.000000\t0.0\tdiscard\taborted at step 600\n")
    assert (row.outcome, row.metric) == (Outcome.DISCARD, None)


def test_lines_may_end_as_windows_ends_them() -> None:
    assert len(rows((HEAD + FIRST).replace("\n", "\r\n"))) == 1


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), st.sampled_from((HEAD, HEAD + FIRST, CONFIG)))
def test_nothing_but_a_sentence_comes_of_any_text(text: str, head: str) -> None:
    try:
        found = rows(head + text)
    except UserError:
        return
    assert all(row.metric is None or abs(row.metric) < 1e100 for row in found)
