"""A gain beyond the sanity bound: run again on a fresh seed, audited, and flagged whether it comes again or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import Device, Ending, Lines, Outcome, Verdict
from autoresearchd.judge.seeds import BLOCK
from autoresearchd.program import Program
from autoresearchd.trailers import Record, parse, render
from tests.support.lab_model import AUDITED, LabModel, tree_of

SIGMA = 0.01
NOISE = (0.0, 1.0, -1.0, 0.5, -0.5)
CPU = (Device(name="cpu:0", model="test"),)
Gain = Callable[[int], float]


def accepting(**settings: float) -> Program:
    return AUDITED.model_copy(update={"accept": AUDITED.accept.model_copy(update=settings)})


def night(*gains: Gain, program: Program = AUDITED) -> LabModel:
    """Changes tried one after the other, each of which gains so many standard deviations, by the seed of the run."""
    lab = LabModel(devices=CPU, effects=dict.fromkeys(range(len(gains)), 0.0), program=program, remaining=len(gains))
    for tick in range(200):
        lab.now += 10
        if not lab.opened and lab.concluded and not lab.ready and lab.remaining:
            lab.propose(len(lab.concluded) - 1)
        lab.step()
        for run, spec in sorted(lab.live.items()):
            changes = [] if spec.tree == "imported" else [int(change) for change in spec.tree.split("+")]
            gained = sum(gains[change](spec.seed) for change in changes)
            lab.end_run(run, Ending.FINISHED, SIGMA * (NOISE[tick % len(NOISE)] - gained), audit=7.0)
        if lab.finished:
            return lab
    raise AssertionError("the night never ended")


def always(sigmas: float) -> Gain:
    return lambda seed: sigmas


def while_it_counts(sigmas: float) -> Gain:
    """A trick that knows the seeds that decide, or luck of which there is none like it."""
    return lambda seed: sigmas if seed < 2 * BLOCK else 0.0


def verdicts(lab: LabModel) -> list[Verdict]:
    return [lab.concluded[number][1] for number in sorted(lab.concluded)][1:]


def test_an_ordinary_gain_is_kept_without_a_word() -> None:
    (found,) = verdicts(night(always(10)))
    assert (found.outcome, found.flag) == (Outcome.KEEP, "")


def test_a_gain_that_is_hard_to_believe_is_run_again_with_the_audit_data_and_kept_with_a_flag() -> None:
    lab = night(always(100))
    (found,) = verdicts(lab)
    assert found.outcome is Outcome.KEEP
    assert found.flag.startswith("a gain of 1, beyond the 0.")
    (again,) = [run for run in lab.runs[tree_of(frozenset({0}))] if run.audited]
    assert again.seed in found.seeds
    assert again.seed >= 2 * BLOCK
    assert found.metrics["audit_loss"] == 7.0


def test_one_that_does_not_come_again_is_not_kept_and_says_why() -> None:
    (found,) = verdicts(night(while_it_counts(100)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.why.startswith("too good, and not again")
    assert "its re-run gained " in found.flag


def test_with_the_bound_off_it_would_have_been_kept() -> None:
    lab = night(while_it_counts(100), program=accepting(sane_gain=1e9))
    assert [found.outcome for found in verdicts(lab)] == [Outcome.KEEP]


def test_after_a_large_gain_that_came_again_one_like_it_is_ordinary() -> None:
    first, second = verdicts(night(always(100), always(150)))
    assert (first.outcome, second.outcome) == (Outcome.KEEP, Outcome.KEEP)
    assert first.flag
    assert not second.flag


@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_however_few_repeats_are_allowed_there_is_one_to_confirm_it(repeats: int) -> None:
    (found,) = verdicts(night(always(100), program=accepting(max_repeats=repeats)))
    assert found.flag
    assert max(found.seeds) >= 2 * BLOCK


def test_who_wants_no_audits_gets_none_here_either() -> None:
    lab = night(always(100), program=accepting(audit_every=0))
    assert verdicts(lab)[0].flag
    assert not any(run.audited for runs in lab.runs.values() for run in runs)


@settings(max_examples=30, deadline=None)
@given(st.floats(4, 1e4), st.floats(0, 1e4), st.floats(2, 1e3))
def test_nothing_is_kept_beyond_the_bound_without_a_flag_and_a_run_that_shows_half_of_it(
    judged: float, again: float, bound: float
) -> None:
    lab = night(lambda seed: judged if seed < 2 * BLOCK else again, program=accepting(sane_gain=bound))
    (found,) = verdicts(lab)
    if found.outcome is Outcome.KEEP and judged > 3 * bound:
        assert found.flag
        assert again >= judged / 3
    if judged < bound / 3:
        assert not found.flag


def test_the_flag_is_a_trailer_of_the_commit() -> None:
    (found,) = verdicts(night(always(100)))
    record = Record(
        number=1, title="x", rationale="", proposer="p", category="c", lines=Lines(added=0, removed=0), verdict=found
    )
    assert f"\nFlag: {found.flag}\n" in render(record)
    read = parse(render(record)).verdict
    assert read is not None
    assert read.flag == found.flag
