"""`autoresearchd log`."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from autoresearchd.errors import UserError
from autoresearchd.experiment import Direction, Outcome
from autoresearchd.report.log import Row, as_json, experiment_of, moment, select, table
from autoresearchd.yardstick import Metric
from tests.report.lab import NOW, Lab
from tests.report.nouns import EVIL, METRIC, concluded, experiment


@pytest.fixture
def night(lab: Lab) -> Lab:
    """0000 baseline, 0001 kept, 0002 open, 0003 crashed, 0004 open."""
    lab.baseline(1.5)
    kept, waiting = lab.open("Raise the rate", "RATE = 0.2\n"), lab.open("Wait", "RATE = 0.3\n", proposer="patterns")
    crashed = lab.open("Raise it too far", "RATE = 1e9\n")
    lab.open("Wait as well", "RATE = 0.4\n")
    lab.conclude(kept, Outcome.KEEP, 1.4, baseline=1.5, std_error=0.01, runs=3)
    lab.conclude(crashed, Outcome.CRASH, why="loss is NaN")
    assert waiting.number == 2
    return lab


def _numbers(rows: tuple[Row, ...]) -> list[int]:
    return [experiment_of(row).number for row in rows]


def test_the_newest_come_last_and_open_ones_are_among_them(night: Lab) -> None:
    assert _numbers(select(night.ledger, newest=20)) == [0, 1, 2, 3, 4]
    assert _numbers(select(night.ledger, newest=3)) == [2, 3, 4]


def test_a_filter_looks_further_back_than_the_newest(night: Lab) -> None:
    assert _numbers(select(night.ledger, newest=1, verdict="keep")) == [1]
    assert _numbers(select(night.ledger, newest=9, verdict="open")) == [2, 4]
    assert _numbers(select(night.ledger, newest=9, proposer="patterns")) == [2]
    assert _numbers(select(night.ledger, newest=9, grep="RAISE")) == [1, 3]
    assert _numbers(select(night.ledger, newest=9, verdict="crash", grep="raise")) == [3]


def test_a_word_that_is_no_verdict_is_refused(lab: Lab) -> None:
    with pytest.raises(UserError, match="'kept'; known are open, baseline, keep"):
        select(lab.ledger, newest=20, verdict="kept")


def test_the_json_has_what_the_table_has(night: Lab) -> None:
    rows = as_json(select(night.ledger, newest=20), METRIC)
    kept, waiting, crashed = rows[1], rows[2], rows[3]
    assert (kept["verdict"], kept["metric"], kept["runs"], kept["title"]) == ("keep", 1.4, 3, "Raise the rate")
    assert kept["gain"] == pytest.approx(0.1)
    assert kept["commit"] == night.ledger.best().commit
    assert (waiting["verdict"], waiting["metric"], waiting["gain"]) == ("open", None, None)
    assert (crashed["verdict"], crashed["metric"], crashed["why"]) == ("crash", None, "loss is NaN")


def test_the_json_is_strict() -> None:
    rows = [concluded(1, Outcome.DISCARD, 1.4, 1.5, metrics={"spike": math.inf})]
    assert json.loads(json.dumps(as_json(rows, METRIC), allow_nan=False))[0]["metrics"] == {"spike": None}


def test_the_table_is_plain_and_whole_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    title = "a title longer than any terminal " * 8 + "end"
    rows = [
        concluded(41, Outcome.KEEP, 1.4, 1.5, std_error=0.01, runs=3, title=title),
        experiment(42, "Waiting"),
    ]
    table(rows, METRIC)
    head, kept, waiting = capsys.readouterr().out.splitlines()
    assert head.split() == ["no.", "verdict", "val_bpb", "gain", "±", "s.e.", "runs", "lines", "proposer", "title"]
    assert kept == f"0041  keep     1.40000  +0.100 ± 0.010     3  +3 -12  space     {title}"
    assert waiting == "0042  open           -               -     -  +3 -12  space     Waiting"


def test_where_higher_is_better_a_rise_is_a_gain(capsys: pytest.CaptureFixture[str]) -> None:
    table([concluded(1, Outcome.KEEP, 0.6, 0.5, std_error=0.01)], Metric(name="acc", direction=Direction.HIGHER))
    assert "+0.100 ± 0.010" in capsys.readouterr().out


def test_no_title_steers_the_terminal_or_the_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table([concluded(1, Outcome.KEEP, 0.6, 0.5, title=EVIL, proposer=EVIL)], METRIC)
    said = capsys.readouterr().out
    assert said.count("[bold red]not markup[/]") == 2
    assert not [char for char in said if not char.isprintable() and char != "\n"]


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    table([], METRIC)
    assert capsys.readouterr().out == "no experiment matches\n"


def test_on_a_narrow_terminal_no_figure_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr("autoresearchd.report.log.output", lambda: console)
    title = "Use a much wider MLP than before"
    table([concluded(12, Outcome.OUT_OF_MEMORY, 1.1234, 1.2, std_error=0.0021, runs=4, title=title)], METRIC)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "0012  out-of-memory  1.12340  +0.0766 ± 0.0021     4  +3 -12  Use" in said
    assert all(word in said for word in title.split())
    assert "…" not in said


def test_only_a_category_or_what_is_new_can_be_asked_for(lab: Lab) -> None:
    lab.baseline(1.5)
    lab.open("One", "RATE = 0.2\n", category="rate")
    lab.open("Two", "RATE = 0.3\n", category="depth")
    assert [experiment_of(row).title for row in select(lab.ledger, newest=9, category="depth")] == ["Two"]
    assert select(lab.ledger, newest=9, since=NOW + 1) == ()
    assert len(select(lab.ledger, newest=9, since=NOW)) == 3


@pytest.mark.parametrize(("text", "back"), [("90min", 5400), ("12h", 43_200), ("2d", 172_800), ("1.5 h", 5400)])
def test_a_while_ago_is_understood(text: str, back: int) -> None:
    assert moment(text, now=1e9) == 1e9 - back


def test_a_date_is_understood_by_the_machines_clock_and_nonsense_is_refused() -> None:
    assert moment("2026-11-20 22:00", now=0.0) - moment("2026-11-20", now=0.0) == 22 * 3600
    with pytest.raises(UserError, match="write 12h, 2d, 2026-11-20"):
        moment("yesterday", now=0.0)
