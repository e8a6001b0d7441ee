"""Several numbers weighed into one: units do not matter, and nothing changes where nothing is weighed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.errors import ConfigError
from autoresearchd.experiment import Direction, Measurement, Outcome
from autoresearchd.judge import Conclude, Rules, composed, estimate, reference
from autoresearchd.judge.metric import value
from autoresearchd.program import parse
from autoresearchd.yardstick import Also, Metric
from tests.judge.lab import BASELINE, judged, run

SPEED = Also(name="speed", direction=Direction.HIGHER, weight=0.5)
METRIC = Metric(name="val_bpb", also=(SPEED,))
TEXT = """
[program]
name = "x"
editable = ["a.py"]
[train]
command = "true"
[metric]
name = "loss"
[[metric.also]]
name = "{name}"
direction = "{direction}"
weight = {weight}
"""


def measured(number: float, speed: float | None, *, tree: str = "new", seed: int = 0) -> Measurement:
    return run(tree, seed, number, others={} if speed is None else {"speed": speed})


BASE = [measured(1.0, 100.0, tree="base")]


def composite(found: Measurement, metric: Metric = METRIC, base: list[Measurement] = BASE) -> float | None:
    return value(composed([found], metric, reference(metric, base))[0], "composite")


def test_the_baselines_composite_is_its_metric() -> None:
    assert composite(BASE[0]) == 1.0


def test_a_gain_elsewhere_counts_by_its_share_and_its_weight() -> None:
    assert composite(measured(1.0, 110.0)) == pytest.approx(1.0 - 0.5 * 0.1)
    assert composite(measured(1.0, 90.0)) == pytest.approx(1.0 + 0.5 * 0.1)
    lower = Metric(name="val_bpb", also=(Also(name="speed", weight=0.5),))
    assert composite(measured(1.0, 110.0), lower) == pytest.approx(1.05)


def test_where_higher_is_better_a_gain_raises_the_composite() -> None:
    assert composite(measured(1.0, 110.0), Metric(name="val_bpb", direction=Direction.HIGHER, also=(SPEED,))) == (
        pytest.approx(1.05)
    )


@given(
    number=st.floats(0.1, 10), speed=st.floats(1, 1e4), own_unit=st.floats(1e-3, 1e3), other_unit=st.floats(1e-6, 1e6)
)
def test_units_do_not_matter(number: float, speed: float, own_unit: float, other_unit: float) -> None:
    base = [measured(own_unit, 100.0 * other_unit, tree="base")]
    found = composite(measured(number * own_unit, speed * other_unit), base=base)
    assert found == pytest.approx((composite(measured(number, speed)) or 0.0) * own_unit, rel=1e-9, abs=1e-9 * own_unit)


def test_with_nothing_to_weigh_the_runs_are_the_very_same() -> None:
    plain = Metric(name="val_bpb")
    assert composed(BASELINE, plain, reference(plain, BASELINE)) == tuple(BASELINE)
    assert (plain.compared, METRIC.compared) == ("val_bpb", "composite")


def test_a_run_that_leaves_out_a_number_has_no_composite_and_cannot_say_it_itself() -> None:
    liar = replace(measured(1.0, None), metrics={"val_bpb": 1.0, "composite": 0.0})
    assert composite(liar) is None


def test_a_baseline_that_never_said_a_number_is_stood_in_for_by_the_next_pool() -> None:
    later = [measured(0.9, 50.0, tree="best")]
    assert dict(reference(METRIC, [measured(1.0, None, tree="base")], later)) == {"val_bpb": 1.0, "speed": 50.0}


def test_repeats_of_the_baseline_do_not_move_what_shares_are_of() -> None:
    again = measured(5.0, 500.0, tree="base", seed=10_001)
    assert dict(reference(METRIC, [*BASE, again])) == {"val_bpb": 1.0, "speed": 100.0}


def test_a_change_that_is_only_faster_is_kept_for_its_speed_and_every_number_is_told() -> None:
    noise = (0.0, 0.01, -0.01, 0.005, -0.005, 0.002)
    base = [measured(1.0 + noise[seed], 100.0, tree="base", seed=seed) for seed in range(6)]
    scale = reference(METRIC, base)
    best = composed(base, METRIC, scale)
    rules = Rules(metric=METRIC.compared, max_repeats=4)
    runs: list[Measurement] = []
    for _ in range(12):
        decision = judged(
            composed(runs, METRIC, scale), best, baseline=best, rules=rules, spread=estimate([best], metric="composite")
        )
        if isinstance(decision, Conclude):
            break
        side, tree = (130.0, "new") if decision.side == "candidate" else (100.0, "base")
        made = measured(1.0 + noise[decision.seed % 6], side, tree=tree, seed=decision.seed)
        if tree == "new":
            runs.append(made)
        else:
            best = composed([*best, made], METRIC, scale)
    assert isinstance(decision, Conclude)
    assert decision.verdict.outcome is Outcome.KEEP
    assert decision.verdict.metric == pytest.approx(0.85, abs=0.02)
    assert decision.verdict.metrics["val_bpb"] == pytest.approx(1.0, abs=0.02)
    assert decision.verdict.metrics["speed"] == pytest.approx(130.0)


@pytest.mark.parametrize(
    ("name", "direction", "weight", "key"),
    [
        ("loss", "higher", 1.0, "metric"),
        ("composite", "higher", 1.0, "metric"),
        ("speed", "up", 1.0, "metric.also[0].direction"),
        ("speed", "higher", 0.0, "metric.also[0].weight"),
    ],
)
def test_a_weight_that_makes_no_sense_is_named(name: str, direction: str, weight: float, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(TEXT.format(name=name, direction=direction, weight=weight))
    assert caught.value.key == key
    assert parse(TEXT.format(name="speed", direction="higher", weight=2.0)).metric.also[0].weight == 2.0
