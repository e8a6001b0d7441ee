"""Spikes and oscillation of the training loss, read from the curve and bounded by a constraint."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import CurvePoint, Ending, Measurement, Outcome
from autoresearchd.judge import Conclude, Rules
from autoresearchd.judge.constraints import broken
from autoresearchd.judge.stability import loss_oscillation, loss_spike, reported
from tests.judge.lab import judged, program, run

STEPS = 100
BOUND = '[[constraint]]\nmetric = "loss_spike"\nmax = 0.5'
RELATIVE = '[[constraint]]\nmetric = "loss_oscillation"\nmax = 2.0\nrelative_to = "baseline"'


def losses(extra: Callable[[int], float] = lambda step: 0.0) -> list[float]:
    return [4.0 * math.exp(-step / 30) + 2.0 + extra(step) for step in range(STEPS)]


def trained(
    found: list[float], tree: str = "new", *, ending: Ending = Ending.FINISHED, said: dict[str, float] | None = None
) -> Measurement:
    curve = [CurvePoint(step=step, seconds=float(step), train_loss=loss) for step, loss in enumerate(found)]
    return run(tree, 0, 0.9, curve=curve, ending=ending, others=said)


def wobble(size: float) -> Callable[[int], float]:
    return lambda step: size * (-1) ** step


def hump(size: float) -> Callable[[int], float]:
    return lambda step: size if 60 <= step < 70 else 0.0


def test_a_loss_that_only_falls_has_no_spike() -> None:
    assert loss_spike(losses()) == 0.0


def test_a_spike_is_as_high_as_it_rose_and_one_unlucky_batch_is_none() -> None:
    assert loss_spike(losses(hump(3.0))) == pytest.approx(3.0, abs=0.2)
    one = losses(lambda step: 1.0 if step == 60 else 0.0)
    assert (loss_spike(one) or 0.0) < 0.25


def test_oscillation_grows_with_the_wobble_and_not_with_the_fall() -> None:
    calm, wild = loss_oscillation(losses(wobble(0.1))), loss_oscillation(losses(wobble(0.4)))
    assert calm is not None
    assert wild == pytest.approx(4 * calm, rel=0.05)
    assert (loss_oscillation(losses()) or 0.0) < 0.01


def test_a_program_may_bound_the_spikes_of_a_target_that_says_nothing_of_them() -> None:
    rules, base = Rules.of(program(BOUND)), [trained(losses(), "base")]
    assert broken(rules.constraints, runs=[trained(losses())], baseline_runs=base) == ""
    why = broken(rules.constraints, runs=[trained(losses(hump(3.0)))], baseline_runs=base)
    assert why.startswith("loss_spike is 2.9")


def test_oscillation_is_bounded_by_the_baselines_own() -> None:
    rules, base = Rules.of(program(RELATIVE)), [trained(losses(wobble(0.1)), "base")]
    assert broken(rules.constraints, runs=[trained(losses(wobble(0.15)))], baseline_runs=base) == ""
    assert "baseline" in broken(rules.constraints, runs=[trained(losses(wobble(0.4)))], baseline_runs=base)


def test_a_candidate_that_hides_its_curve_is_rejected_where_the_baseline_has_one() -> None:
    decision = judged([trained([])], baseline=[trained(losses(), "base")], rules=Rules.of(program(BOUND)))
    assert isinstance(decision, Conclude)
    assert decision.verdict.outcome is Outcome.REJECTED
    assert "loss_spike" in decision.verdict.why


def test_the_verdict_reports_the_number_that_it_was_bound_by() -> None:
    decision = judged(
        [trained(losses(hump(3.0)))], baseline=[trained(losses(), "base")], rules=Rules.of(program(BOUND))
    )
    assert isinstance(decision, Conclude)
    assert decision.verdict.metrics["loss_spike"] == pytest.approx(3.0, abs=0.2)


def test_what_the_run_says_itself_goes_before_its_curve() -> None:
    assert reported(trained(losses(hump(3.0)), said={"loss_spike": 0.1}), "loss_spike") == 0.1


@pytest.mark.parametrize("name", ["loss_spike", "loss_oscillation"])
def test_a_coarse_curve_and_a_run_that_failed_say_nothing(name: str) -> None:
    assert reported(trained(losses()[:10]), name) is None
    assert reported(trained(losses(), ending=Ending.CRASH), name) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=20, max_size=60))
def test_whatever_a_training_writes_gives_finite_figures(found: list[float]) -> None:
    for name in ("loss_spike", "loss_oscillation"):
        number = reported(trained(found), name)
        assert number is not None
        assert 0.0 <= number < math.inf
