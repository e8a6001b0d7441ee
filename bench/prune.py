"""What pruning saves, and what it costs, on recorded curves: `python -m bench.prune`.

The curves are nanogpt's own, as it is and with one constant changed, each trained to the end on a CPU: `--record`
trains those that the file does not have yet. `judge.hopeless` is replayed over them as they grew. Prints a table; the
figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
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
from autoresearchd.judge.curves import LAG
from autoresearchd.run.curve import Curve
from bench.spread import ROOT, Lab

RECORDED = ROOT / "bench" / "data" / "curves.jsonl"
SEEDS_OF_BEST = 6
LAGS = (0.5, 0.7, 0.8, 0.9)
CHANGES = {
    "MATRIX_LR": "0.004 0.01 0.04 0.08 0.4", "HEAD_LR": "0.0005 0.001 0.004 0.006 0.02",
    "EMBEDDING_LR": "0.003 0.03 0.3 1.0", "WARMUP": "0.1 0.2 0.4 0.6", "WARMDOWN": "0.0 0.1 0.5 0.7 0.9",
    "FINAL_LR": "0.0 0.3", "MOMENTUM": "0.8 0.9 0.98", "NESTEROV": "False", "NEWTON_SCHULZ_STEPS": "1 3",
    "MATRIX_DECAY": "0.1", "ADAM_DECAY": "0.1", "GRADIENT_CLIP": "0.1 1.0", "LOGIT_SOFTCAP": "2.0 5.0 30.0",
    "EMBEDDING_STD": "0.1 0.3 3.0", "INIT_SCALE": "0.3 0.5 2.0 4.0", "MLP_RATIO": "1 2", "HEAD_DIM": "16",
    "ACTIVATION": '"gelu" "silu"', "NORM": '"layer"', "QK_NORM": "False", "ATTENTION_SCALE": "0.5 2.0",
    "ROPE_BASE": "100.0 1000.0", "ATTENTION_PATTERN": '"L"', "WINDOW_FRACTION": "0.1 0.5", "ASPECT": "32",
    "CONTEXT": "16 64", "BATCH_TOKENS": "2**6",
}  # fmt: skip
"""Every constant of nanogpt that makes sense to vary, to either side: what a wide search would propose on its first
night. Chosen before any of it was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One training to its end."""

    change: str
    """`NAME=value`; empty for the code as it is."""
    seed: int
    steps: int
    val_bpb: float
    train_seconds: float
    curve: tuple[CurvePoint, ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prune", description=__doc__)
    parser.add_argument("--record", action="store_true", help="train what is missing, one after the other")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no training after so long")
    parser.add_argument("--file", type=Path, default=RECORDED)
    said = parser.parse_args()
    if said.record:
        record(said.file, steps=said.steps, threads=said.threads, until=time.monotonic() + said.seconds)
    best, others = divided(load(said.file))
    report(best, replayed(best, others))


def wanted() -> list[tuple[str, int]]:
    """(change, seed) of every training, mixed, so that a recording that was cut short is a fair sample of all."""
    changes = [(f"{name}={value}", 0) for name, values in CHANGES.items() for value in values.split()]
    return [*(("", seed) for seed in range(SEEDS_OF_BEST)), *random.Random(0).sample(changes, len(changes))]


def record(file: Path, *, steps: int, threads: int, until: float) -> None:
    """Train what the file does not have yet; each line is whole before the next training begins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    there = {(run.change, run.seed) for run in load(file)} if file.exists() else set()
    with tempfile.TemporaryDirectory() as temporary, file.open("a") as stream:
        lab = Lab(folder=Path(temporary), threads=threads, steps=steps)
        shutil.copytree(ROOT / "nanogpt", lab.folder / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(lab.folder / "data")]
        subprocess.run(prepare, cwd=lab.folder, check=True, stdout=subprocess.DEVNULL)
        for change, seed in (each for each in wanted() if each not in there):
            if time.monotonic() > until:
                return
            try:
                stream.write(_line(trained(lab, change, seed)))
            except subprocess.CalledProcessError as ended:
                print(f"{change}: the training ended with code {ended.returncode}, it has no place in the replay")
            stream.flush()


def trained(lab: Lab, change: str, seed: int) -> Recorded:
    run = lab.run(change, seed)
    curve = Curve(lab.folder / re.sub(r"\W+", "-", change or "as-is") / str(seed) / "out" / "metrics.jsonl")
    curve.read_all()
    return Recorded(change=change, seed=seed, steps=lab.steps, val_bpb=run.val_bpb, train_seconds=run.train_seconds,
                    curve=curve.points())  # fmt: skip


def _line(run: Recorded) -> str:
    points = [[point.step, round(point.seconds, 2), round(point.train_loss, 4)] for point in run.curve]
    values = {"change": run.change, "seed": run.seed, "steps": run.steps, "val_bpb": round(run.val_bpb, 5)}
    return json.dumps({**values, "train_seconds": round(run.train_seconds, 2), "curve": points}) + "\n"


def load(file: Path) -> list[Recorded]:
    return list(_loaded(file))


def _loaded(file: Path) -> Iterator[Recorded]:
    for line in file.read_text().splitlines():
        said = json.loads(line)
        curve = (CurvePoint(step=step, seconds=seconds, train_loss=loss) for step, seconds, loss in said.pop("curve"))
        yield Recorded(curve=tuple(curve), **said)


def divided(runs: Sequence[Recorded]) -> tuple[list[Recorded], list[Recorded]]:
    """Best's own trainings, and those of changes."""
    return [run for run in runs if not run.change], [run for run in runs if run.change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What pruning would have done to one training."""

    run: Recorded
    gain: float
    """On the mean of best's own, in standard deviations of one of them."""
    at: float | None
    """The share of the budget after which it would have been stopped."""


def replayed(best: Sequence[Recorded], others: Sequence[Recorded]) -> list[Replay]:
    """The others, from the best end to the worst."""
    usual, noise = statistics.mean(run.val_bpb for run in best), statistics.stdev(run.val_bpb for run in best)
    found = [Replay(run=run, gain=(usual - run.val_bpb) / noise, at=stop(run, best)) for run in others]
    return sorted(found, key=lambda replay: -replay.gain)


def report(best: Sequence[Recorded], replays: Sequence[Replay]) -> None:
    numbers = [run.val_bpb for run in best]
    print(f"best: {statistics.mean(numbers):.4f}, standard deviation {statistics.stdev(numbers):.4f} over {len(best)}")
    print("\n| change | val_bpb | gain / std of best | stopped at (share of the steps) |\n|---|---|---|---|")
    for replay in replays:
        where = "never" if replay.at is None else f"{replay.at:.2f}"
        print(f"| {replay.run.change} | {replay.run.val_bpb:.4f} | {replay.gain:+.1f} | {where} |")
    print()
    for words, least in (("better than best's mean", 0.0), ("better, or worse by less than two std", -2.0)):
        print(
            f"false prunes, of those that ended {words}: {share(replay for replay in replays if replay.gain > least)}"
        )
    print(f"pruned of those that ended worse by two std or more: {share(r for r in replays if r.gain <= -2.0)}")
    own = [stop(run, [other for other in best if other is not run]) for run in best]
    print(f"best's own runs, each against the others: {sum(at is not None for at in own)} of {len(own)}")
    print(f"steps saved: {100 * saved(replays):.0f} %")
    patience(best, [replay.run for replay in replays])


def patience(best: Sequence[Recorded], others: Sequence[Recorded]) -> None:
    """What another LAG would do, for every choice of so many of best's runs as a lab may know when it prunes."""
    usual, noise = statistics.mean(run.val_bpb for run in best), statistics.stdev(run.val_bpb for run in best)
    harmful = {run.change for run in others if run.val_bpb > usual + 2.0 * noise}
    print("\n| best's runs known | lag | false prunes | best's own pruned | harmful pruned | steps saved |")
    print("|---|---|---|---|---|---|")
    for known, lag in itertools.product((2, 3, len(best)), LAGS):
        own, good, bad = list[float | None](), list[float | None](), list[float | None]()
        for chosen in itertools.combinations(best, known):
            own += [stop(run, chosen, lag) for run in best if run not in chosen]
            for run in others:
                (bad if run.change in harmful else good).append(stop(run, chosen, lag))
        steps = statistics.mean(0.0 if at is None else 1.0 - at for at in (*good, *bad))
        cells = [f"{sum(at is not None for at in group)} of {len(group)}" for group in (good, own, bad)]
        print(f"| {known} | {lag} | {' | '.join(cells)} | {100 * steps:.1f} % |")


def share(replays: Iterable[Replay]) -> str:
    """`3 of 40`, and how large the rate may be with 95 % where it is 0 (Clopper & Pearson 1934)."""
    every = list(replays)
    pruned = sum(replay.at is not None for replay in every)
    bound = f" (95 %: up to {100 * (1 - 0.05 ** (1 / len(every))):.0f} %)" if every and not pruned else ""
    return f"{pruned} of {len(every)}{bound}"


def saved(replays: Sequence[Replay]) -> float:
    """The share of all steps that would not have been trained; a shared machine's seconds compare nothing."""
    return statistics.mean(0.0 if replay.at is None else 1.0 - replay.at for replay in replays)


def stop(run: Recorded, best: Sequence[Recorded], lag: float = LAG) -> float | None:
    """The share of the budget at which a run with this curve would have been stopped."""
    device, environment = Device(name="cpu:0"), Environment("bench")
    spec = RunSpec(run="bench", tree=TreeOid("bench"), seed=run.seed, device=device, environment=environment)
    theirs = [_measurement(each) for each in best]
    for count, point in enumerate(run.curve, 1):
        share = point.step / run.steps
        live = Progress(spec=spec, started=0.0, fraction=share, curve=run.curve[:count], step=point.step)
        if hopeless(live, theirs, direction=Direction.LOWER, lag=lag):
            return share
    return None


def _measurement(run: Recorded) -> Measurement:
    return Measurement(run=f"best-{run.seed}", tree=TreeOid("best"), seed=run.seed, environment=Environment("bench"),
                       device="cpu:0", ending=Ending.FINISHED, curve=run.curve, started=0.0,
                       train_seconds=run.train_seconds, wall_seconds=run.train_seconds)  # fmt: skip


if __name__ == "__main__":
    main()
