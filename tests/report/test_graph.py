"""`autoresearchd log --graph`."""

from __future__ import annotations

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.report.graph import table
from autoresearchd.report.log import select
from tests.report.lab import Lab
from tests.report.nouns import EVIL, METRIC


def shown(lab: Lab, capsys: pytest.CaptureFixture[str], newest: int = 20) -> list[str]:
    table(lab.ledger, select(lab.ledger, newest=newest), METRIC)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]


@pytest.fixture
def grown(lab: Lab) -> Lab:
    """Two tries on the baseline of which the second is kept, and two on that."""
    lab.baseline(1.5)
    lab.conclude(lab.open("Worse", "RATE = 0.3\n"), Outcome.DISCARD, 1.6, baseline=1.5, std_error=0.01)
    lab.conclude(lab.open("Better", "RATE = 0.2\n"), Outcome.KEEP, 1.4, baseline=1.5, std_error=0.01)
    lab.conclude(lab.open(EVIL, "RATE = 1 / 0\n"), Outcome.CRASH)
    lab.open("Still open", "RATE = 0.5\n")
    return lab


def test_every_experiment_hangs_on_the_best_that_it_was_made_from(
    grown: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(grown, capsys)
    assert [line.split()[:3] for line in said] == [
        ["●", "0000", "baseline"],
        ["└─", "0001", "discard"],
        ["●", "0002", "keep"],
        ["├─", "0003", "crash"],
        ["└─", "0004", "open"],
    ]
    assert "\x1b" not in "".join(said)


def test_a_step_is_shown_where_something_asked_for_grew_on_it(grown: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split()[1] for line in shown(grown, capsys, newest=1)] == ["0002", "0004"]


def test_nothing_found_is_said(grown: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    table(grown.ledger, (), METRIC)
    assert capsys.readouterr().out == "no experiment matches\n"
