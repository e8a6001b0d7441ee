"""What of a saved program.toml comes into force while the daemon runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from autoresearchd.errors import UserError
from autoresearchd.program import parse
from autoresearchd.reload import Difference, differences, identity, refuse_another_lab, refuse_fixed
from tests.support.projects import PROGRAM

OLD = parse(PROGRAM)


def changed(text: str) -> tuple[Difference, ...]:
    return differences(OLD, parse(text))


def refusal(found: tuple[Difference, ...]) -> str:
    """Why a saved program is not in force; empty where it is."""
    try:
        refuse_fixed(found)
    except UserError as error:
        return str(error)
    return ""


def test_a_program_that_says_the_same_in_other_words_differs_in_nothing() -> None:
    assert changed(f"# a remark\n{PROGRAM}\n[accept]\nmax_repeats = {OLD.accept.max_repeats}\n") == ()


def test_each_setting_is_named_with_its_old_and_its_new_value() -> None:
    text = PROGRAM + "[accept]\nmax_repeats = 5\n[propose.space.constants.RATE]\nlow = 0.1\n[budget]\nhours = 8\n"
    found = changed(text)
    assert Difference(key="accept.max_repeats", old=OLD.accept.max_repeats, new=5) in found
    assert Difference(key="budget.hours", old=None, new=8.0) in found
    assert Difference(key="propose.space.constants.RATE.low", old=None, new=0.1) in found
    assert refusal(found) == ""


def test_what_a_metric_should_reach_may_change_and_what_it_is_may_not() -> None:
    assert refusal(changed(PROGRAM.replace("[metric]", "[metric]\ntarget = 0.1"))) == ""
    why = refusal(changed(PROGRAM.replace('name = "loss"', 'name = "speed"')))
    assert re.match(r"metric.name cannot change in a lab: .* a new experiments.git", why)


@pytest.mark.parametrize("table", ['[report]\nat = "06:30"\n', "[export]\nsign_off = true\n"])
def test_what_the_morning_looks_like_may_change_at_night(table: str) -> None:
    found = changed(PROGRAM + table)
    assert len(found) == 1
    assert refusal(found) == ""


@pytest.mark.parametrize("table", ["[sandbox]\ncpus = 1\n", "[devices]\ncpu_slots = 7\n"])
def test_what_was_set_up_at_the_start_changes_with_the_next_one(table: str) -> None:
    why = refusal(changed(PROGRAM + table))
    assert re.fullmatch(r"(sandbox.cpus|devices.cpu_slots) changes at a new start of the daemon", why)


def test_two_of_them_change_with_it() -> None:
    why = refusal(changed(PROGRAM + "[service]\nmetrics_port = 9000\n[sandbox]\ncpus = 1\n"))
    assert why == "sandbox.cpus, service.metrics_port change at a new start of the daemon"


def test_one_fixed_setting_keeps_all_the_others_out() -> None:
    text = PROGRAM.replace("[train]", "[train]\nseconds = 7.0") + "[accept]\nmax_repeats = 5\n[sandbox]\ncpus = 1\n"
    said = refusal(changed(text))
    assert said.index("train.seconds cannot change in a lab") < said.index("; sandbox.cpus changes at a new start")
    assert "accept" not in said


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("[metric]\ndirection = 'higher'", "metric.direction"),
        ("[metric]\nevaluate = 'python evaluate.py'", "metric.evaluate"),
        ("[train]\nseconds = 7.0", "train.seconds"),
        ("[[metric.also]]\nname = 'speed'\nweight = 0.5\n[metric]", "metric.also"),
    ],
)
def test_another_start_goes_on_only_by_what_the_lab_was_measured_by(line: str, key: str) -> None:
    old = PROGRAM.replace("pattern = '^loss=(\\S+)$'\n", "")
    table = "[train]" if line.startswith("[train]") else "[metric]"
    with pytest.raises(UserError, match=rf"^the lab was measured with {key} = .* a new experiments.git"):
        refuse_another_lab(identity(parse(old)), parse(old.replace(table, line)))


def is_same_lab(known: Mapping[str, Any], text: str) -> bool:
    try:
        refuse_another_lab(known, parse(text))
    except UserError:
        return False
    return True


def test_another_start_may_find_the_same_things_elsewhere_and_decide_by_other_limits() -> None:
    more = "[train]\ndata = 'elsewhere'\n", "[metric]\ntarget = 0.1\n"
    text = PROGRAM.replace("[train]\n", more[0]).replace("[metric]\n", more[1]) + "[accept]\nmax_repeats = 5\n"
    assert is_same_lab(identity(OLD), text)


def test_a_setting_that_the_lab_knows_nothing_of_is_no_other_lab() -> None:
    known = {key: value for key, value in identity(OLD).items() if key != "train.cpu_steps"}
    assert is_same_lab(known, PROGRAM.replace("[train]", "[train]\ncpu_steps = 7"))
