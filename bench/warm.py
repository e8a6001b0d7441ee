"""What a warm start saves: `python -m bench.warm`, nanogpt on one CPU slot, with and without `[devices] warm`.

The gap is from the end of one run (its evaluation included) to the first step of the next; beside it what a run takes
apart from its steps. The real executor and sandbox.
"""

from __future__ import annotations

import argparse
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from autoresearchd.experiment import Device, Ending, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.program import parse
from autoresearchd.report.lines import default_logging
from autoresearchd.run import Bench, LocalExecutor, modules_ahead

ROOT = Path(__file__).resolve().parent.parent
TIMED = """import sys, time
from nanogpt import train
whole = train.run_steps
def run_steps(*given):
    print(f"first step: {time.time()}", flush=True)
    return whole(*given)
train.run_steps = run_steps
sys.exit(train.main())
"""
PROGRAM = """
[program]
name = "warm"
editable = ["nanogpt/train.py"]
[train]
command = "python timed.py"
cpu_steps = {steps}
data = "data/train"
[metric]
name = "val_bpb"
evaluate = "python -m nanogpt.evaluate"
data = "data/val"
[devices]
use = "cpu"
warm = {warm}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.warm", description=__doc__)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    default_logging()
    print("| start | gap: median | lowest | highest | of | a run without its steps: median | lowest | highest |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(folder / "data")]
        subprocess.run(prepare, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        report(folder, options.runs, options.steps)


def report(folder: Path, runs: int, steps: int) -> None:
    for warm in (True, False):
        gaps, rests = measure(folder, runs, steps, warm=warm)
        print(f"| {'warm' if warm else 'plain'} | {row(gaps)} | {len(gaps)} | {row(rests)} |", flush=True)


def row(seconds: Sequence[float]) -> str:
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    return " | ".join(f"{figure:.2f} s" for figure in figures)


def measure(folder: Path, count: int, steps: int, *, warm: bool) -> tuple[list[float], list[float]]:
    """Gaps between runs, and what runs took beside their steps; the first run, which nothing is ready for, left out."""
    program, device = parse(PROGRAM.format(steps=steps, warm=str(warm).lower())), Device(name="cpu:0")
    ahead = modules_ahead(program, device, [(ROOT / "nanogpt/train.py").read_bytes()])
    gaps, rests, ended = [], [], 0.0
    work = folder / str(warm) / "runs"
    executor = LocalExecutor(Bench(program=program, folder=folder, work=work, checkout=checkout, ahead=ahead))
    try:
        for number in range(count + 1):
            done = run(executor, number, device)
            first = float(re.findall(r"first step: (\S+)", done.log_tail)[0])
            if number:
                gaps.append(first - ended)
                rests.append(done.wall_seconds - done.train_seconds)
            ended = done.started + done.wall_seconds
    finally:
        executor.close()
    return gaps, rests


def checkout(_tree: TreeOid, place: Path) -> None:
    shutil.copytree(ROOT / "nanogpt", place / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "timed.py").write_text(TIMED)


def run(executor: LocalExecutor, number: int, device: Device) -> Measurement:
    spec = RunSpec(run=f"r{number}", tree=TreeOid("0" * 40), seed=number, device=device, environment=Environment("b"))
    executor.start(spec)
    while not (ended := executor.poll(time.time())):
        select.select([executor.fileno()], [], [], 1.0)
    assert ended[0].ending is Ending.FINISHED, ended[0]
    return ended[0]


if __name__ == "__main__":
    main()
