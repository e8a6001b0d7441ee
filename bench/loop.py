"""What the daemon itself costs: `python -m bench.loop`.

Start-up of the commands, the time that a device waits between two trainings, and the whole time of an experiment whose
training does nothing. The real command on real git with fsync, in processes of their own; figures from its log.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

CONSTANTS = ("LEARNING_RATE = 0.01", "WEIGHT_DECAY = 0.1", "WARMUP = 0.05", "DEPTH = 8", "WIDTH = 256", "DROPOUT = 0.1")
TARGET = """import random, time
{constants}
time.sleep({seconds})
print("loss:", 1 + abs(LEARNING_RATE - 0.02) + random.gauss(0, 0.001))
"""
PROGRAM = """
[program]
name = "bench"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[devices]
use = "cpu"
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loop", description=__doc__)
    parser.add_argument("--experiments", type=int, default=60)
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(f"{'what':<52}{'median':>10}{'lowest':>10}{'highest':>10}  of")
        start_ups(Path(name), options.starts)
        overhead(Path(name) / "nothing", seconds=0.0, experiments=options.experiments)
        overhead(Path(name) / "second", seconds=1.5, experiments=max(8, options.experiments // 6))


def start_ups(folder: Path, count: int) -> None:
    """From typing a command to its end, or to the first training."""
    project = make_project(folder / "start", seconds=0.0)
    for arguments in (["--help"], ["status"], ["log"]):
        if arguments == ["status"]:
            daemon(project, "init")
            daemon(project, "run", "--experiments", "3")
        row(f"autoresearchd {' '.join(arguments)}, start to end", [timed(project, *arguments) for _ in range(count)])
    firsts = []
    for _ in range(count):
        began = time.time()
        log = daemon(project, "run", "--experiments", "1")
        firsts.append(moments(log, "run_started")[0] - began)
    row("autoresearchd run, start to first training", firsts)


def overhead(project: Path, *, seconds: float, experiments: int) -> None:
    """Gaps between the trainings of one device, and the whole per experiment."""
    make_project(project, seconds=seconds)
    daemon(project, "init")
    log = daemon(project, "run", "--experiments", str(experiments))
    starts, ends = moments(log, "run_started"), moments(log, "run_finished")
    gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    label = f"training of {seconds:g} s" if seconds else "training that does nothing"
    row(f"{label}: gap between two runs", gaps)
    trained = [end - start for start, end in zip(starts, ends, strict=True)]
    row(f"{label}: one run, process start to end", trained)
    opened = moments(log, "experiment_opened")
    whole = [later - earlier for earlier, later in itertools.pairwise(opened)]
    row(f"{label}: whole experiment", whole)
    busy = sum(trained) / (ends[-1] - starts[0])
    print(f"{label}: device busy {busy:.1%} of the wall time, {len(starts)} runs in {len(opened)} experiments")


def make_project(folder: Path, *, seconds: float, target: str = TARGET, program: str = PROGRAM) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(target.format(constants="\n".join(CONSTANTS), seconds=seconds))
    (folder / "program.toml").write_text(program)
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


def daemon(project: Path, *arguments: str) -> list[dict[str, str]]:
    """Run the command to its end; its log lines."""
    done = subprocess.run(
        [sys.executable, "-m", "autoresearchd", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": root}


def timed(project: Path, *arguments: str) -> float:
    began = time.perf_counter()
    daemon(project, *arguments)
    return time.perf_counter() - began


def moments(log: Sequence[dict[str, str]], event: str) -> list[float]:
    return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in log if line["event"] == event]


def row(what: str, seconds: Sequence[float]) -> None:
    figures = "".join(f"{1000 * value:>7.0f} ms" for value in (statistics.median(seconds), min(seconds), max(seconds)))
    print(f"{what:<52}{figures}  {len(seconds)}", flush=True)


if __name__ == "__main__":
    main()
