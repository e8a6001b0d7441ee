"""What trust costs an honest trainer: `python -m bench.sandbox`, as a share of a 300 s experiment.

Starts of a command, whole runs of a training that does nothing with an evaluation that does nothing, and nanogpt's
evaluation with its audit apart; all on the CPU of this machine. The last needs `python -m nanogpt.prepare`.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoresearchd.experiment import Device, Ending, Environment, RunSpec, TreeOid
from autoresearchd.limits import Mode
from autoresearchd.program import parse
from autoresearchd.report.lines import default_logging
from autoresearchd.run import Bench, LocalExecutor, sandbox

EXPERIMENT_SECONDS = 300.0
SAY = """import json, os
from pathlib import Path
said = {"run": os.environ["AUTORESEARCH_RUN"], "metrics": {"loss": 1.0}}
Path(os.environ["AUTORESEARCH_OUT"], "result.json").write_text(json.dumps(said))
"""
PROGRAM = """
[program]
name = "bench"
editable = ["*.py"]
[train]
command = "python -S train.py"
[metric]
name = "loss"
evaluate = "python -S train.py"
[sandbox]
mode = "{mode}"
"""
TIMED = """
import sys, time
from nanogpt import evaluate
spent = {}
def timed(name):
    whole = getattr(evaluate, name)
    def measured(*arguments, **named):
        began = time.perf_counter()
        try:
            return whole(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
    setattr(evaluate, name, measured)
for name in ("evaluate", "commit", "audit", "fingerprint"):
    timed(name)
code = evaluate.main()
print({name: round(seconds, 3) for name, seconds in spent.items()})
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    default_logging()
    modes = [mode for mode in ("none", "landlock", "bubblewrap") if not sandbox.broken(mode)]
    print(f"{'what':<44}{'median ms':>10}{'lowest':>9}{'highest':>9}{'% of 300 s':>12}")
    for mode in modes:
        report(f"one command, {mode}", [start(mode) for _ in range(options.starts)])
    for mode in modes:
        report(f"a run of two commands, {mode}", runs(mode, options.runs))
    audit()


def report(what: str, seconds: list[float]) -> None:
    middle = statistics.median(seconds)
    milliseconds = [1000 * value for value in (middle, min(seconds), max(seconds))]
    figures = f"{milliseconds[0]:>10.1f}{milliseconds[1]:>9.1f}{milliseconds[2]:>9.1f}"
    print(f"{what:<44}{figures}{100 * middle / EXPERIMENT_SECONDS:>12.3f}")


def start(mode: Mode) -> float:
    began = time.perf_counter()
    with sandbox.wrap(mode, ("/bin/true",), sandbox.Box(cwd=Path("/usr"))).opened() as (words, descriptors):
        subprocess.run(words, pass_fds=descriptors, input=b"\n", check=True)
    return time.perf_counter() - began


def runs(mode: Mode, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(
            program=parse(PROGRAM.format(mode=mode)),
            folder=folder,
            work=folder / "lab" / "runs",
            checkout=lambda _, place: (place / "train.py").write_text(SAY) and None,
        )
        executor = LocalExecutor(bench)
        try:
            return [one(executor, number) for number in range(count)]
        finally:
            executor.close()


def one(executor: LocalExecutor, number: int) -> float:
    spec = RunSpec(
        run=f"r{number}",
        tree=TreeOid("0" * 40),
        seed=0,
        device=Device(name="cpu:0"),
        environment=Environment("bench"),
    )
    began = time.perf_counter()
    executor.start(spec)
    while not (ended := executor.poll(time.time())):
        select.select([executor.fileno()], [], [], 1.0)
    assert ended[0].ending is Ending.FINISHED, ended[0]
    return time.perf_counter() - began


def audit() -> None:
    data = Path("data").absolute()
    if not (data / "val").is_dir():
        print("nanogpt's evaluation is left out: python -m nanogpt.prepare makes its data")
        return
    with tempfile.TemporaryDirectory() as name:
        order = {"RUN": "bench", "STEPS": "20", "DEVICE": "cpu", "OUT": f"{name}/train", "DATA": str(data / "train")}
        run([sys.executable, "-m", "nanogpt.train"], order)
        order |= {"OUT": f"{name}/evaluate", "MODEL": f"{name}/train", "DATA": str(data / "val")}
        print("nanogpt's evaluation, seconds:", run([sys.executable, "-c", TIMED], order).splitlines()[-1])


def run(argv: list[str], order: dict[str, str]) -> str:
    environment = {**os.environ, **{f"AUTORESEARCH_{key}": value for key, value in order.items()}}
    return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
