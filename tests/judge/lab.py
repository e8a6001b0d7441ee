"""Measurements and programs for the judge's tests, in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoresearchd.experiment import CurvePoint, Direction, Ending, Environment, Lines, Measurement, TreeOid
from autoresearchd.judge import Decision, Rules, Samples, Spread, decide
from autoresearchd.program import Program, parse

RULES = Rules(metric="val_bpb", direction=Direction.LOWER)
SPREAD = Spread(std_dev=0.01, degrees=40)
PLAIN = Lines(added=1, removed=1)


def run(
    tree: str,
    seed: int,
    number: float | None,
    *,
    ending: Ending = Ending.FINISHED,
    environment: str = "cpu",
    others: Mapping[str, float] | None = None,
    curve: Sequence[CurvePoint] = (),
    why: str = "",
    name: str = "",
) -> Measurement:
    said = {} if number is None else {"val_bpb": number}
    return Measurement(
        run=name or f"{tree}-{seed}-{environment}",
        tree=TreeOid(tree),
        seed=seed,
        environment=Environment(environment),
        device="cpu:0",
        ending=ending,
        metrics={**said, **(others or {})},
        curve=tuple(curve),
        started=1000.0 + seed,
        train_seconds=60.0,
        wall_seconds=70.0,
        why=why,
    )


BASELINE = [run("base", seed, 1.0 + offset) for seed, offset in enumerate((0.0, 0.01, -0.01, 0.005, -0.005, 0.0))]


def judged(
    candidate: Sequence[Measurement],
    best: Sequence[Measurement] = BASELINE,
    *,
    baseline: Sequence[Measurement] = BASELINE,
    rules: Rules = RULES,
    spread: Spread = SPREAD,
    lines: Lines = PLAIN,
) -> Decision:
    return decide(Samples(candidate=candidate, best=best, baseline=baseline), rules=rules, spread=spread, lines=lines)


def program(more: str = "") -> Program:
    return parse(
        f"""
[program]
name = "test"
editable = ["nanogpt/*.py"]
protected = ["nanogpt/evaluate.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
{more}
"""
    )
