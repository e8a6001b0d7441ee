"""Whoever looks for improvements sees the number that the judge compares, also where several are weighed."""

from __future__ import annotations

from pathlib import Path

from autoresearchd.context import context_of
from autoresearchd.experiment import Direction, Ending, Environment, Measurement, Outcome, TreeOid, Verdict
from autoresearchd.program import parse
from autoresearchd.propose._observations import Observations
from autoresearchd.yardstick import Also, Metric
from tests.support.fakes import proposal
from tests.support.projects import PROGRAM, lab

WEIGHED = PROGRAM + '[[metric.also]]\nname = "speed"\ndirection = "higher"\nweight = 1.0\n'


def run(tree: TreeOid, seed: int, loss: float, speed: float) -> Measurement:
    return Measurement(
        run=f"{tree}-{seed}",
        tree=tree,
        seed=seed,
        environment=Environment("cpu"),
        device="cpu:0",
        ending=Ending.FINISHED,
        metrics={"loss": loss, "speed": speed},
        started=float(seed),
        train_seconds=1.0,
        wall_seconds=1.0,
    )


def gains(folder: Path, program: str) -> list[float | None]:
    """What a search believes that the baseline and a change gained that is a little worse and twice as fast."""
    ledger = lab(folder / "project")
    baseline = ledger.open_baseline(now=1.0)
    ledger.record(run(baseline.tree, 0, 2.0, 100.0))
    verdict = Verdict(outcome=Outcome.BASELINE, environment=Environment("cpu"))
    ledger.conclude(baseline, verdict, metric="loss", now=2.0)
    faster = ledger.open_experiment(proposal(ledger.best().commit, "RATE = 3\nDEPTH = 2\n"), now=3.0)
    ledger.record(run(faster.tree, 0, 2.2, 200.0))
    verdict = Verdict(outcome=Outcome.DISCARD, environment=Environment("cpu"))
    ledger.conclude(faster, verdict, metric="loss", now=4.0)
    view = Observations().read(context_of(ledger, parse(program), ()))
    return [round(one.gain, 6) if one.gain is not None else None for one in view.observations]


def test_a_search_sees_the_gain_of_the_metric_where_nothing_else_counts(tmp_path: Path) -> None:
    assert gains(tmp_path, PROGRAM) == [0.0, -0.2]


def test_a_search_sees_the_gain_that_is_judged_where_several_numbers_count(tmp_path: Path) -> None:
    """Twice the speed is a gain of 100 %, worth 2.0 of a loss of 2.0; the loss itself is worse by 0.2."""
    assert gains(tmp_path, WEIGHED) == [0.0, 1.8]


def test_who_proposes_is_told_what_is_compared() -> None:
    plain = Metric(name="loss")
    assert plain.words == "loss, lower is better"
    also = Also(name="speed", direction=Direction.HIGHER, weight=0.5)
    assert plain.model_copy(update={"also": (also,)}).words == (
        "loss, lower is better; compared is the composite of it and speed (higher is better, weight 0.5)"
    )
