"""How much the number moves with the seed, and how much with a good change: `python -m bench.spread`.

Trains and evaluates nanogpt as the daemon does, each run a process of its own, with several seeds, as it is and with
one constant changed. Prints a table; the figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ("MATRIX_LR=0.04", "HEAD_LR=0.006", "CONTEXT=16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    val_bpb: float
    wall_seconds: float
    """Of training and evaluation, start-up included."""
    train_seconds: float
    cpu_seconds: float
    """Of both processes; what a busy machine changes least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Where the runs happen."""

    folder: Path
    threads: int
    steps: int

    def run(self, changes: str, seed: int) -> Run:
        """Train and evaluate a copy of nanogpt with `NAME=value` changes, several divided by spaces."""
        code = self.folder / re.sub(r"\W+", "-", changes or "as-is") / str(seed)
        shutil.copytree(self.folder / "nanogpt", code / "nanogpt")
        for change in changes.split():
            change_constant(code / "nanogpt", change)
        started = time.perf_counter()
        cpu = self._command("train", code, seed, data="train", out="out")
        cpu += self._command("evaluate", code, seed, data="val", out="evaluation")
        wall = time.perf_counter() - started
        return Run(
            val_bpb=metrics(code / "evaluation")["val_bpb"],
            wall_seconds=wall,
            train_seconds=metrics(code / "out")["train_seconds"],
            cpu_seconds=cpu,
        )

    def _command(self, module: str, code: Path, seed: int, *, data: str, out: str) -> float:
        """Run one of the two commands; the CPU seconds it took. Raises: CalledProcessError."""
        environment = {
            **os.environ,
            "AUTORESEARCH_DEVICE": "cpu:0",
            "AUTORESEARCH_THREADS": str(self.threads),
            "AUTORESEARCH_STEPS": str(self.steps),
            "AUTORESEARCH_SEED": str(seed),
            "AUTORESEARCH_DATA": str(self.folder / "data" / data),
            "AUTORESEARCH_OUT": str(code / out),
            "AUTORESEARCH_MODEL": str(code / "out"),
        }
        command = [sys.executable, "-m", f"nanogpt.{module}"]
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return usage.ru_utime + usage.ru_stime


def change_constant(package: Path, change: str) -> None:
    """Rewrite the one line that defines the constant; a wrong name is an error."""
    name, value = change.split("=", 1)
    for path in package.glob("*.py"):
        text, count = re.subn(rf"(?m)^({name}\b[^=\n]*= )[^#\n]*?(?=\s+#|$)", rf"\g<1>{value}", path.read_text())
        if count:
            path.write_text(text)
            return
    sys.exit(f"nanogpt has no constant {name}")


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "result.json").read_text())["metrics"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.spread", description=__doc__)
    parser.add_argument("changes", nargs="*", default=CHANGES, help="NAME=value, several in one argument by spaces")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=1, help="runs at once; wall times mean less then")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(said.parallel) as pool:
        lab = Lab(folder=Path(temporary), threads=said.threads, steps=said.steps)
        shutil.copytree(ROOT / "nanogpt", lab.folder / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(lab.folder / "data")]
        subprocess.run(prepare, cwd=lab.folder, check=True, stdout=subprocess.DEVNULL)
        print("| change | n | val_bpb | std over seeds | std error | gain | gain / std | wall s | training s | CPU s |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        baseline: list[float] = []
        for changes in ("", *said.changes):
            runs = list(pool.map(lambda seed, changes=changes: lab.run(changes, seed), range(said.seeds)))
            values = [run.val_bpb for run in runs]
            baseline = baseline or values
            print(row(changes, runs, baseline), flush=True)


def row(changes: str, runs: list[Run], baseline: list[float]) -> str:
    values = [run.val_bpb for run in runs]
    spread, usual = statistics.stdev(values), statistics.stdev(baseline)
    gain = statistics.mean(baseline) - statistics.mean(values)
    wall = statistics.median(run.wall_seconds for run in runs)
    train = statistics.median(run.train_seconds for run in runs)
    cpu = statistics.median(run.cpu_seconds for run in runs)
    cells = [changes.replace("|", r"\|") or "as it is", str(len(runs)), f"{statistics.mean(values):.4f}"]
    cells += [f"{spread:.4f}", f"{spread / len(runs) ** 0.5:.4f}", f"{gain:+.4f}", f"{gain / usual:+.1f}"]
    return "| " + " | ".join([*cells, f"{wall:.1f}", f"{train:.1f}", f"{cpu:.1f}"]) + " |"


if __name__ == "__main__":
    main()
