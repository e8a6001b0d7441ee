"""Money is counted once, by day, over any number of restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.propose.llm.conversation import Meter
from autoresearchd.propose.llm.prices import DEAREST, KNOWN, NOT_LISTED, Usage, is_known, rates
from autoresearchd.propose.llm.purse import DAY, Purse
from autoresearchd.thinkers import Llm, Prices
from tests.propose.fakes import FakeLab

NOW = 20_000 * DAY + 3600.0


def experiment(number: int, usd: float | None, *, opened: float = NOW, attempts: int = 0) -> Concluded:
    the_lab = FakeLab({"a.py": "1"})
    line = the_lab.try_files({"a.py": f"{number + 2}"}, Outcome.DISCARD, 1.0, proposer="llm")
    own = replace(line.experiment, number=number, cost_usd=usd, opened=opened, fix_attempts=attempts)
    return replace(line, experiment=own)


def test_a_proposal_that_became_an_experiment_is_counted_once(tmp_path: Path) -> None:
    purse = Purse(tmp_path / "spend.jsonl")
    purse.pay("a", 0.25, NOW)
    purse.pay("a", 0.125, NOW)
    purse.end("a", "proposed", NOW, proposed=True)
    assert purse.spent(NOW).total == 0.375  # it waits for a device
    purse.look([experiment(1, purse.cost("a"))], ())
    assert purse.spent(NOW).total == 0.375


def test_a_full_disk_stops_the_next_call_and_loses_no_proposal_that_is_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "spend.jsonl"
    path.parent.mkdir()
    purse = Purse(path)
    purse.pay("a", 0.25, NOW)
    path.parent.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        purse.pay("b", 0.25, NOW)
    purse.end("a", "proposed", NOW, proposed=True)
    assert purse.spent(NOW).total == 0.5
    again = Purse(tmp_path / "away" / "spend.jsonl")
    again.look([experiment(1, 0.25)], ())
    assert again.spent(NOW).total == 0.5  # twice what git and the file know, and never less


def test_what_never_became_an_experiment_is_counted_too(tmp_path: Path) -> None:
    purse = Purse(tmp_path / "spend.jsonl")
    purse.pay("a", 0.25, NOW)
    purse.end("a", "refused", NOW, proposed=False)
    purse.pay("b", 0.25, NOW)  # the daemon was killed in the middle of this one
    again = Purse(tmp_path / "spend.jsonl")
    again.look([experiment(1, 0.25)], ())
    assert again.spent(NOW).total == 0.75


def test_a_correction_is_counted_once_on_the_day_it_was_thought_of(tmp_path: Path) -> None:
    purse = Purse(tmp_path / "spend.jsonl")
    for talk, usd, mends in (("a", 0.25, None), ("b", 0.5, (1, 1)), ("c", 0.125, (1, 1))):
        purse.pay(talk, usd, NOW if mends is None else NOW + DAY)
        purse.end(talk, "proposed", NOW, proposed=True, mends=mends)  # b was lost with the daemon that asked for it
    for known in ([], [experiment(1, 0.25)], [experiment(1, 0.375, attempts=1)]):
        again = Purse(tmp_path / "spend.jsonl")
        again.look(known, ())
        assert (again.spent(NOW + DAY).today, again.spent(NOW).total) == (0.625, 0.875)


def test_the_file_may_be_lost_and_git_still_knows(tmp_path: Path) -> None:
    purse = Purse(tmp_path / "gone" / "spend.jsonl")
    purse.look([experiment(1, 0.5), experiment(2, None), experiment(3, 0.25, opened=NOW - DAY)], ())
    assert (purse.spent(NOW).today, purse.spent(NOW).total) == (0.5, 0.75)


def test_a_torn_last_line_loses_one_call_at_the_most(tmp_path: Path) -> None:
    path = tmp_path / "spend.jsonl"
    purse = Purse(path)
    for name in "abc":
        purse.pay(name, 0.25, NOW)
    path.write_bytes(path.read_bytes()[:-5])
    again = Purse(path)
    assert again.spent(NOW).total == 0.5
    again.pay("d", 0.25, NOW)
    assert Purse(path).spent(NOW).total == 0.75


def test_the_day_begins_at_midnight() -> None:
    purse, settings = Purse(), Llm(usd_per_day=1.0)
    purse.pay("a", 1.0, NOW)
    why, until = purse.objection(settings, None, 0.1, NOW)
    assert why == "$1.00 of $1.00 are spent today"
    assert until == 20_001 * DAY
    assert purse.objection(settings, None, 0.1, until) == ("", None)


def test_the_whole_budget_ends_for_good() -> None:
    purse = Purse()
    purse.pay("a", 1.0, NOW)
    assert purse.objection(Llm(usd_total=1.0), None, 0.1, NOW) == ("$1.00 of $1.00 are spent in all", None)
    assert purse.objection(Llm(), 1.0, 0.1, NOW)[0]
    assert not purse.objection(Llm(), None, 0.1, NOW)[0]


def test_what_is_held_back_cannot_be_spent_twice() -> None:
    purse, settings = Purse(), Llm(usd_per_day=1.0)
    purse.reserve("a", 0.7)
    assert purse.objection(settings, None, 0.7, NOW)[0]
    assert not purse.objection(settings, None, 0.7, NOW, held=False)[0]  # and nobody is told that it is spent
    purse.reserve("a", 0.0)
    assert not purse.objection(settings, None, 0.7, NOW)[0]


@given(
    talks=st.lists(
        st.tuples(st.lists(st.integers(1, 50), min_size=1, max_size=3), st.sampled_from(["filed", "waits", "lost"])),
        max_size=12,
    )
)
def test_every_cent_is_counted_exactly_once(talks: list[tuple[list[int], str]]) -> None:
    purse, filed = Purse(), []
    for number, (cents, fate) in enumerate(talks):
        for cent in cents:
            purse.pay(str(number), cent / 100, NOW)
        purse.end(str(number), fate, NOW, proposed=fate != "lost")
        if fate == "filed":
            filed.append(experiment(number + 1, purse.cost(str(number))))
    purse.look(filed, ())
    assert abs(purse.spent(NOW).total - sum(sum(cents) for cents, _ in talks) / 100) < 1e-6


def test_prices_are_the_programs_then_the_tables_then_the_dearest() -> None:
    assert rates(Llm(model="claude-opus-5-5")) == KNOWN["claude-opus-5-5"]
    assert rates(Llm(model="claude-sonnet-4-5-20250929")) == KNOWN["claude-sonnet-4"]
    assert rates(Llm(model="qwen")) == DEAREST
    assert rates(Llm(model="claude-opus-4-1-20250805")).output == 75.0
    assert rates(Llm(model="claude-opus-4-8")).output == 25.0
    assert not is_known(Llm(model="qwen"))
    own = Llm(model="qwen", prices=Prices(input=1.0, output=2.0))
    assert is_known(own)
    assert (rates(own).input, rates(own).output, rates(own).cache_write) == (1.0, 2.0, 1.25)


def test_a_model_with_a_date_in_its_name_has_the_price_of_the_model_and_not_of_a_later_one() -> None:
    assert rates(Llm(model="claude-fable-5-20261001")) == KNOWN["claude-fable-5"]
    assert is_known(Llm(model="claude-mythos-5-20261001"))
    assert not is_known(Llm(model="claude-fable-5-2-20270101"))


def test_every_model_that_the_sdk_names_has_a_price_or_is_said_to_have_none() -> None:
    from anthropic.types import ModelParam

    names = [name for arm in get_args(ModelParam) for name in get_args(arm)]
    assert len(names) > 10
    assert {name for name in names if not is_known(Llm(model=name))} == set(NOT_LISTED)
    assert rates(Llm(model="claude-fable-5-2")) == DEAREST


@pytest.mark.parametrize(("read", "usd"), [(99_000, 0.0015), (99_001, 0.0075)])
def test_a_short_prompt_has_the_price_of_short_prompts_however_much_of_it_was_cached(read: int, usd: float) -> None:
    call = Usage(input=1_000, cached=read, output=820)
    assert call.usd(rates(Llm(model="claude-haiku-5-5"))) == pytest.approx(usd, rel=1e-4)


def test_a_conversation_of_short_prompts_is_no_long_prompt() -> None:
    meter = Meter(rates=rates(Llm(model="claude-haiku-5-5")), pay=lambda _: None, afford=lambda _: True)
    for _ in range(3):
        meter.note(Usage(input=50_000))
    assert meter.usd == pytest.approx(0.015)


def test_a_price_in_the_program_holds_for_long_prompts_as_well() -> None:
    own = rates(Llm(model="claude-haiku-5-5", prices=Prices(output=3.0)))
    assert (own.output, own.at(200_000).output, own.at(200_000).input) == (3.0, 3.0, 0.5)


def test_a_million_of_each_costs_the_list_price() -> None:
    used = Usage(input=10**6, output=10**6, cached=10**6, cache_write=10**6, cache_write_hour=10**6)
    assert abs(used.usd(KNOWN["claude-sonnet-5-5"]) - (2 + 10 + 0.1 + 2.5 + 4)) < 1e-9
