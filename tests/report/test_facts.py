"""The facts that every view shares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoresearchd.experiment import CommitOid, Concluded, Environment, Gain, Outcome
from autoresearchd.judge import Spread
from autoresearchd.program import parse
from autoresearchd.report.facts import Facts, Source, facts
from autoresearchd.report.scales import Scaled
from autoresearchd.standing import Standing
from autoresearchd.status import LlmStatus
from tests.report.nouns import concluded, experiment, status
from tests.support.projects import PROGRAM

LOSS = parse(PROGRAM)


def commit(number: int) -> CommitOid:
    return CommitOid(f"{number:040x}")


def kept(number: int, parent: int, metric: float, baseline: float, **fields: object) -> Concluded:
    defaults = {"std_error": 0.01, "confidence": 0.999, "runs": 4, "train_seconds": 3600.0}
    return concluded(number, Outcome.KEEP, metric, baseline, parent=commit(parent), **(defaults | fields))


def told(*tried: Concluded, **fields: object) -> Facts:
    baseline = concluded(0, Outcome.BASELINE, 2.0, train_seconds=1800.0)
    return facts(Source(now=1.0, program=LOSS, concluded=[baseline, *tried], **fields))  # type: ignore[arg-type]


def test_the_staircase_follows_the_line_of_best_and_never_goes_back() -> None:
    found = told(kept(2, 3, 1.7, 1.8), kept(3, 0, 1.8, 2.0))
    assert [row.number for row in found.line] == [0, 3, 2]
    assert [(step.number, step.metric) for step in found.steps] == [(0, 2.0), (3, 1.8), (3, 1.7)]


def test_every_experiment_knows_the_best_that_it_was_made_from() -> None:
    found = told(kept(1, 0, 1.8, 2.0), concluded(2, Outcome.DISCARD, 1.9, 1.8, parent=commit(1)))
    assert [row.parent for row in found.rows] == [None, 0, 1]


def test_each_kept_change_has_its_gain_on_every_rung_and_whether_it_is_promoted() -> None:
    ladder = parse(PROGRAM + '[[scale]]\nname = "d8"\n[[scale]]\nname = "d12"\n')
    rows = [concluded(0, Outcome.BASELINE, 2.0), kept(1, 0, 1.8, 2.0), kept(2, 1, 1.7, 1.8), kept(3, 2, 1.6, 1.7)]
    falls = Standing(scale="d8", holds=False, environment=Environment("e"), evidence="Δ +0.010000 +-0.002000, n=6")
    scaled = (
        Scaled(number=1, title="first", promoted=commit(9), trailers={"d8": "loss=1.5 (Δ -0.1 +-0.01, n=4)"}),
        Scaled(number=2, title="second", standings={"d8": falls}),
        Scaled(number=3, title="third"),
    )
    found = facts(Source(now=1.0, program=ladder, concluded=rows, scales=scaled))
    assert found.rungs == ("d8", "d12")
    first, second, third = found.scales
    assert (first.gain, first.promoted) == (pytest.approx(0.2), True)
    assert first.rungs == {"d8": "holds: loss=1.5 (Δ -0.1 +-0.01, n=4)"}
    assert (second.rungs, second.promoted) == ({"d8": "does not hold: Δ +0.010000 +-0.002000, n=6"}, False)
    assert (third.rungs, third.std_error) == ({}, 0.01)


def test_an_open_experiment_is_a_row_that_counts_for_nothing() -> None:
    found = told(opened=[experiment(1)])
    assert [row.verdict for row in found.rows] == ["baseline", "open"]
    assert found.tried == 0
    assert found.categories == ()


def test_a_gain_has_its_confidence_interval() -> None:
    row = told(kept(1, 0, 1.8, 2.0)).line[1]
    assert row.interval == pytest.approx((0.2 - 0.0196, 0.2 + 0.0196))


def test_a_proposer_is_measured_by_what_its_keeps_gained_for_an_hour_and_a_dollar() -> None:
    found = told(
        kept(1, 0, 1.8, 2.0, proposer="llm"),
        concluded(2, Outcome.CRASH, proposer="llm", train_seconds=3600.0),
        concluded(3, Outcome.DISCARD, 2.5, 1.8, proposer="space", train_seconds=60.0),
    )
    first, second = found.proposers
    assert (first.name, first.tried, first.kept, first.failed) == ("llm", 2, 1, 1)
    assert first.gain_per_hour == pytest.approx(0.1)
    assert first.gain_per_usd is None
    assert (second.name, second.gain) == ("space", 0.0)


def test_an_argued_change_that_clearly_hurt_is_worth_knowing_and_a_number_that_was_turned_is_not() -> None:
    found = told(
        concluded(1, Outcome.DISCARD, 2.5, 2.0, std_error=0.01, proposer="llm"),
        concluded(2, Outcome.DISCARD, 2.9, 2.0, std_error=0.01, proposer="person"),
        concluded(3, Outcome.DISCARD, 2.9, 2.0, std_error=0.01, proposer="space"),
        concluded(4, Outcome.DISCARD, 2.01, 2.0, std_error=0.01, proposer="llm"),
        concluded(5, Outcome.CRASH, proposer="llm"),
    )
    assert [row.number for row in found.hurt] == [2, 1]


def test_a_kept_change_that_is_missed_when_it_is_taken_out_is_no_failure() -> None:
    assert told(concluded(1, Outcome.DISCARD, 2.5, 2.0, std_error=0.01, proposer="ablate")).hurt == ()


def test_gains_that_do_not_add_up_are_seen() -> None:
    found = told(kept(1, 0, 1.8, 2.0), kept(2, 1, 1.7, 1.9)).additivity
    assert found is not None
    assert (found.steps, found.total) == pytest.approx((0.4, 0.3))
    assert found.share == pytest.approx(0.75)
    assert found.std_error == pytest.approx(0.01 * 2**0.5)


def test_one_keep_has_nothing_to_add_up_with() -> None:
    assert told(kept(1, 0, 1.8, 2.0)).additivity is None


def test_what_nearly_won_is_suggested_once_and_not_after_it_was_kept() -> None:
    found = told(
        concluded(1, Outcome.INCONCLUSIVE, 1.99, 2.0, std_error=0.01, title="Softcap"),
        concluded(2, Outcome.DISCARD, 1.98, 2.0, std_error=0.01, title="Softcap"),
        concluded(3, Outcome.DISCARD, 1.95, 2.0, std_error=0.1, title="Longer"),
        concluded(4, Outcome.DISCARD, 1.9, 2.0, std_error=0.01, title="Wider"),
        kept(5, 0, 1.8, 2.0, title="Wider"),
        concluded(6, Outcome.DISCARD, 2.2, 2.0, std_error=0.1, title="Worse"),
    )
    assert [each.number for each in found.suggestions] == [2, 3]


def test_what_measured_better_once_something_was_taken_out_did_not_come_near_a_keep() -> None:
    found = told(
        concluded(1, Outcome.DISCARD, 1.99, 2.0, std_error=0.01, title="Take out 0001: x", proposer="ablate"),
        concluded(2, Outcome.INCONCLUSIVE, 2.01, 2.0, std_error=0.01, title="Worse"),
    )
    assert found.suggestions == ()


def test_the_best_of_a_title_that_was_tried_often_is_suggested_however_badly_the_others_went() -> None:
    again = [concluded(n, Outcome.DISCARD, 1.99, 2.0, std_error=0.1, title="Softcap") for n in range(1, 4)]
    others = [concluded(n, Outcome.DISCARD, 1.9, 2.0, std_error=0.1, title=f"Try {n}") for n in range(4, 10)]
    best = concluded(10, Outcome.INCONCLUSIVE, 1.8, 2.0, std_error=0.1, title="Softcap")
    assert [each.number for each in told(*again, *others, best).suggestions] == [10, 4, 5, 6, 7]


def test_what_a_daemon_spent_on_another_day_is_not_spent_today() -> None:
    midnight = 20_000 * 86_400.0
    said = status(now=midnight - 1, llm=LlmStatus(model="m", state="ready", spent_today=0.5, spent_total=2.0))
    for now, today in ((midnight - 0.5, 0.5), (midnight + 0.5, None), (midnight + 3 * 86_400, None)):
        spend = facts(Source(now=now, program=LOSS, concluded=[], status=said)).spend
        assert (spend.today_usd, spend.total_usd) == (today, 2.0)


def test_noise_audits_and_the_status_are_passed_on() -> None:
    found = told(spread=Spread(std_dev=0.01, degrees=9), status=status(busy_share=0.9), is_running=True)
    assert (found.noise.std_dev, found.noise.degrees) == (0.01, 9)
    assert found.devices.busy_share == 0.9
    assert found.devices.session_seconds == 600.0
    assert found.is_running


def test_a_lab_that_measured_nothing_has_facts_too() -> None:
    found = facts(Source(now=1.0, program=LOSS, concluded=[]))
    assert found.best is None
    assert found.steps == ()
    assert found.sentence == "Nothing was measured yet, not even the baseline."


def test_the_last_day_is_told_apart_from_the_whole() -> None:
    old = kept(1, 0, 1.8, 2.0)
    fresh = [kept(2, 1, 1.7, 1.8), concluded(3, Outcome.CRASH)]
    later = old.experiment.opened + 86_400 + 0.5
    found = facts(Source(now=later, program=LOSS, concluded=[concluded(0, Outcome.BASELINE, 2.0), old, *fresh]))
    assert found.tried == 3
    assert found.lately.sentence == "In the last 24 hours 2 tried, 1 kept (+0.100), 1 failed."
    much_later = facts(Source(now=later + 1e6, program=LOSS, concluded=[concluded(0, Outcome.BASELINE, 2.0), old]))
    assert much_later.lately.sentence == "Nothing was tried in the last 24 hours."


def test_wins_found_side_by_side_say_whether_they_added_up() -> None:
    second = kept(2, 1, 1.7, 1.8, together=Gain(value=0.1, std_error=0.01))
    moved = replace(second, experiment=replace(second.experiment, alone=Gain(value=0.1, std_error=0.01)))
    assert told(kept(1, 0, 1.8, 2.0), moved).side_by_side.startswith("1 win found beside a faster one: 1 added up")
    assert told(kept(1, 0, 1.8, 2.0)).side_by_side == ""
