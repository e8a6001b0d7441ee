"""What pruning saves, and what it costs, on recorded curves: `python -m bench.prune`.

Trains nanogpt as it is and with one constant changed, to the end each time, then replays `judge.hopeless` over the
curves as they grew. Prints a table; the figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.experiment import (
    CurvePoint,
    Device,
    Direction,
    Ending,
    Environment,
    Measurement,
    Progress,
    RunSpec,
    TreeOid,
)
from autoresearchd.judge import hopeless
from autoresearchd.run.curve import Curve
from bench.spread import ROOT, Lab

CHANGES = ("MATRIX_LR=0.04", "HEAD_LR=0.006", "WARMUP=0.4", "MATRIX_LR=0.004", "EMBEDDING_LR=0.003",
           "LOGIT_SOFTCAP=2.0", "MATRIX_LR=0.4", "MLP_RATIO=1")  # fmt: skip
"""Two that help, two that start slowly, and four that harm in different ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One training to its end."""

    change: str
    val_bpb: float
    train_seconds: float
    curve: tuple[CurvePoint, ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prune", description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2, help="of each change; of what is there one more")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=330.0, help="begin no training after so long")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lab = Lab(folder=Path(temporary), threads=said.threads, steps=said.steps)
        shutil.copytree(ROOT / "nanogpt", lab.folder / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(lab.folder / "data")]
        subprocess.run(prepare, cwd=lab.folder, check=True, stdout=subprocess.DEVNULL)
        until = time.monotonic() + said.seconds
        best = [record(lab, "", seed) for seed in range(said.seeds + 1)]
        others = []
        for seed in range(said.seeds):
            others += [record(lab, change, seed) for change in CHANGES if time.monotonic() < until]
    report(best, others, said.steps)


def record(lab: Lab, change: str, seed: int) -> Recorded:
    run = lab.run(change, seed)
    curve = Curve(lab.folder / re.sub(r"\W+", "-", change or "as-is") / str(seed) / "out" / "metrics.jsonl")
    curve.read_all()
    return Recorded(change=change, val_bpb=run.val_bpb, train_seconds=run.train_seconds, curve=curve.points())


def report(best: list[Recorded], others: list[Recorded], steps: int) -> None:
    usual, noise = statistics.mean(run.val_bpb for run in best), statistics.stdev(run.val_bpb for run in best)
    print("| change | val_bpb, mean | gain / std of best | pruned | at (share of the steps) |\n|---|---|---|---|---|")
    stops = {id(run): stop(run.curve, best, steps) for run in others}
    for change in dict.fromkeys(run.change for run in others):
        runs = [run for run in others if run.change == change]
        found = [at for run in runs if (at := stops[id(run)]) is not None]
        value = statistics.mean(run.val_bpb for run in runs)
        where = ", ".join(f"{at:.2f}" for at in found)
        print(f"| {change} | {value:.4f} | {(usual - value) / noise:+.1f} | {len(found)} of {len(runs)} | {where} |")
    own = [stop(run.curve, [other for other in best if other is not run], steps) for run in best]
    harmless = [run for run in others if run.val_bpb <= usual + 2 * noise]
    false = sum(stops[id(run)] is not None for run in harmless)
    total = sum(run.train_seconds for run in others)
    saved = sum(run.train_seconds * (1 - at) for run in others if (at := stops[id(run)]) is not None)
    worse = len(others) - len(harmless)
    print(f"\nbest: {usual:.4f}, standard deviation {noise:.4f} over {len(best)} seeds; pruned by the other seeds: "
          f"{sum(at is not None for at in own)} of {len(own)}")  # fmt: skip
    print(f"false prunes: {false} of {len(harmless)} runs that ended within two standard deviations of best, or better")
    print(f"pruned of the {worse} that ended worse: {sum(at is not None for at in stops.values()) - false}")
    print(f"training time saved: {saved:.0f} of {total:.0f} s, {100 * saved / total:.0f} %")


def stop(curve: tuple[CurvePoint, ...], best: list[Recorded], steps: int) -> float | None:
    """The share of the budget at which a run with this curve would have been stopped."""
    device, environment = Device(name="cpu:0"), Environment("bench")
    spec = RunSpec(run="bench", tree=TreeOid("bench"), seed=0, device=device, environment=environment)
    theirs = [measurement(run) for run in best]
    for count, point in enumerate(curve, 1):
        live = Progress(spec=spec, started=0.0, fraction=point.step / steps, curve=curve[:count], step=point.step)
        if hopeless(live, theirs, direction=Direction.LOWER):
            return point.step / steps
    return None


def measurement(run: Recorded) -> Measurement:
    return Measurement(
        run="best",
        tree=TreeOid("best"),
        seed=0,
        environment=Environment("bench"),
        device="cpu:0",
        ending=Ending.FINISHED,
        curve=run.curve,
        started=0.0,
        train_seconds=run.train_seconds,
        wall_seconds=run.train_seconds,
    )


if __name__ == "__main__":
    main()
