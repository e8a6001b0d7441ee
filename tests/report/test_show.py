"""`autoresearchd show`."""

from __future__ import annotations

import json

import pytest

from autoresearchd.experiment import Ending, Outcome
from autoresearchd.report.show import LONGEST_DIFF, as_json, page
from tests.report.lab import Lab
from tests.report.nouns import EVIL, METRIC


def test_a_kept_experiment_shows_why_it_was_kept(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.baseline(1.5)
    opened = lab.open("Raise the rate", "RATE = 0.2\n", reason="space paid best lately")
    for seed, metric in enumerate((1.39, 1.41)):
        lab.measure(opened.tree, metric, seed=seed)
    fields = {
        "baseline": 1.5,
        "std_error": 0.01,
        "confidence": 0.995,
        "runs": 2,
        "seeds": (0, 1),
        "why": "clearly better",
        "flag": "a gain of 0.1, its re-run gained 0.09",
    }
    found = lab.conclude(opened, Outcome.KEEP, 1.4, **fields)
    page(lab.ledger, found, METRIC)
    said = capsys.readouterr().out
    assert said.startswith("0001  keep  Raise the rate\n\nIt may help.\n")
    for words in (
        "clearly better",
        "a gain of 0.1, its re-run gained 0.09",
        "1.40000 (parent 1.50000)",
        "+0.100 ± 0.010",
        "0.9950 that it is an improvement",
        "2 runs, seeds 0, 1",
        "space paid best lately",
        "1.39000",
        "█▆▃▁ 2.0000 at step 3",
        "beside its parent, at equal training time\nthis    █",
        "-RATE = 0.1",
        "+RATE = 0.2",
        found.experiment.commit,
    ):
        assert words in said


def test_an_open_experiment_has_its_runs_and_no_verdict(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.baseline(1.5)
    opened = lab.open("Raise the rate", "RATE = 0.2\n")
    page(lab.ledger, opened, METRIC)
    assert "no verdict yet" in capsys.readouterr().out
    assert as_json(lab.ledger, opened, METRIC)["verdict"] == "open"


def test_a_crash_shows_the_end_of_its_log(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.baseline(1.5)
    opened = lab.open("Break it", "RATE = 1 / 0\n")
    tail = "Traceback\n" + "ZeroDivisionError \x1b[2Jdivision\n"
    lab.measure(opened.tree, None, ending=Ending.CRASH, log_tail=tail, why="ZeroDivisionError", curve=())
    page(lab.ledger, lab.conclude(opened, Outcome.CRASH, why="ZeroDivisionError"), METRIC)
    said = capsys.readouterr().out
    assert "end of the log" in said
    assert r"ZeroDivisionError \x1b[2Jdivision" in said


def test_the_json_has_the_runs_and_the_diff(lab: Lab) -> None:
    lab.baseline(1.5)
    opened = lab.open("Raise the rate", "RATE = 0.2\n")
    lab.measure(opened.tree, float("nan"))
    found = json.loads(json.dumps(as_json(lab.ledger, opened, METRIC), allow_nan=False))
    assert found["run_list"][0]["metrics"] in ({}, {"val_bpb": None})
    assert found["run_list"][0]["curve"][0] == [0, 0.0, 5.0]
    assert "+RATE = 0.2" in found["diff"]
    assert (found["number"], found["rationale"]) == (1, "It may help.")


def test_nothing_that_an_experiment_wrote_steers_the_terminal(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.baseline(1.5)
    opened = lab.open(EVIL, f"RATE = '{EVIL}'\n", rationale=EVIL, category="x", reason=EVIL)
    lab.measure(opened.tree, 1.5, ending=Ending.CRASH, log_tail=EVIL, why=EVIL)
    page(lab.ledger, lab.conclude(opened, Outcome.CRASH, why=EVIL), METRIC)
    said = capsys.readouterr().out
    assert said.count("not markup") >= 5
    assert not [char for char in said if not char.isprintable() and char != "\n"]


def test_an_endless_diff_is_cut_and_says_so(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.baseline(1.5)
    opened = lab.open("Rewrite it", "RATE = 0.2\n" * (LONGEST_DIFF + 500))
    page(lab.ledger, opened, METRIC)
    said = capsys.readouterr().out
    assert f"more lines: git show {opened.commit}" in said
    assert said.count("+RATE") <= LONGEST_DIFF
