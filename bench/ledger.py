"""What the ledger costs as it grows, beside stock git reading the same: `python -m bench.ledger`.

Makes labs of synthetic experiments, times each act on each, prints a table and leaves nothing behind. The figures of
record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from autoresearchd.experiment import Ending, Environment, Experiment, Measurement, Outcome, Verdict
from autoresearchd.ledger import Ledger, refs
from autoresearchd.ledger.repository import open_repository
from autoresearchd.proposal import Edit, Proposal
from bench.synthetic import METRIC, NOW, make

T = TypeVar("T")

FORMAT = "%H %T%n%(trailers:only)"
READING = {
    "log": "git log --all, the same trailers",
    "refs": "git for-each-ref",
    "open": "open, in a fresh process",
    "start": "open, start of Python and imports included",
    "typed": "open and read every experiment, typed",
    "command": "autoresearchd log -n 20, the whole command",
}
WRITING = {
    "refresh": ("refresh, one new experiment by another handle", "<= 20"),
    "new": ("open one more experiment", ""),
    "record": ("record one measurement", "<= 4"),
    "discard": ("conclude as discard", ""),
    "keep": ("conclude as keep", ""),
    "move": ("move best (compare-and-swap, reflog)", "<= 2"),
    "spread": ("find the repeated runs, first time", ""),
    "spread again": ("find the repeated runs, one more recorded", ""),
    "pack": ("pack what is new", ""),
    "fsync": ("one fsync of 4 kB on this disk, for comparison", ""),
}
OPEN = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
from autoresearchd.ledger import Ledger
imported = time.perf_counter()
ledger = Ledger(Path(sys.argv[1]))
opened = time.perf_counter()
count = sum(1 for _ in ledger.concluded()) if len(sys.argv) > 2 else len(ledger.entries())
print(opened - imported, time.perf_counter() - imported, count)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One act, timed several times, in milliseconds."""

    act: str
    times: Sequence[float]
    target: str = ""

    def __str__(self) -> str:
        spread = f"{min(self.times):.1f} – {max(self.times):.1f}"
        return f"{self.act:<58} {statistics.median(self.times):>9.1f} {spread:>20} {len(self.times):>4}  {self.target}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=20, help="of the quick acts; the slow ones are done 5 times")
    parser.add_argument(
        "--folder", type=Path, default=None, help="the disk to use; the system's temporary folder if not given"
    )
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-ledger-", dir=arguments.folder) as folder:
            begun = time.perf_counter()
            path = make(Path(folder), size)
            print(f"\n{size:,} experiments (made in {time.perf_counter() - begun:.0f} s)")
            print(f"{'':<58} {'median ms':>9} {'range':>20} {'n':>4}  target")
            for row in [*_reading(path, 5), *_writing(path, arguments.repeats)]:
                print(row, flush=True)


def _reading(path: Path, repeats: int) -> list[Row]:
    times: dict[str, list[float]] = {act: [] for act in READING}
    program = str(path.parent / "program.toml")
    for _ in range(repeats):  # in turns, so that a busy machine is equally unkind to all
        for act, command in {
            "log": ("git", "-C", str(path), "log", "--all", f"--format={FORMAT}"),
            "refs": ("git", "-C", str(path), "for-each-ref"),
            "start": (sys.executable, "-c", OPEN, str(path)),
            "typed": (sys.executable, "-c", OPEN, str(path), "typed"),
            "command": (sys.executable, "-m", "autoresearchd", "log", "-n", "20", "--program", program),
        }.items():
            begun = time.perf_counter()
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            times[act].append(1e3 * (time.perf_counter() - begun))
            if act == "start":
                times["open"].append(1e3 * float(said.split()[0]))
            if act == "typed":
                times[act][-1] = 1e3 * float(said.split()[1])
    bound = f"<= {1.3 * statistics.median(times['log']):.0f} (1.3 x git log)"
    return [Row(act=READING[act], times=times[act], target=bound if act == "open" else "") for act in READING]


def _writing(path: Path, repeats: int) -> list[Row]:
    lab = Lab(path)
    for serial in range(repeats):
        lab.work(serial)
    lab.timed("pack", lab.ledger.pack)
    return [Row(act=act, times=lab.times[key], target=target) for key, (act, target) in WRITING.items()]


class Lab:
    """A lab that is being written to, and how long each act took in it."""

    def __init__(self, path: Path) -> None:
        self.ledger, self.reader, self.repo = Ledger(path), Ledger(path), open_repository(path)
        self.times: dict[str, list[float]] = {key: [] for key in WRITING}
        self.timed("spread", self.ledger.repeated)
        self.times["spread again"].clear()

    def work(self, serial: int) -> None:
        """An experiment that is discarded, and one that is kept."""
        experiment = self.timed("new", partial(self._open, serial))
        self.timed("refresh", self.reader.refresh)
        self.timed("record", partial(self.ledger.record, _measurement(experiment, 1)))
        self.timed("spread again", self.ledger.repeated)
        self.timed("discard", partial(self._conclude, experiment, Outcome.DISCARD))
        better = self._open(serial + 1_000_000)
        self.ledger.record(_measurement(better, 1))
        self.timed("keep", partial(self._conclude, better, Outcome.KEEP))
        new, old = self.ledger.best().commit, better.parent
        refs.move(self.repo, refs.BEST, old, expected=new, why="back")
        self.timed("move", partial(refs.move, self.repo, refs.BEST, new, expected=old, why="forth"))
        self._fsync()

    def timed(self, key: str, act: Callable[[], T]) -> T:
        """Do it, and note how long it took."""
        begun = time.perf_counter()
        found = act()
        self.times[key].append(1e3 * (time.perf_counter() - begun))
        return found

    def _open(self, serial: int) -> Experiment:
        proposal = Proposal(
            parent=self.ledger.best().commit,
            edits=(Edit(path="train.py", content=f"RATE = 1.{serial}\n".encode()),),
            title=f"Raise MATRIX_LR to {serial}",
            rationale="A higher rate was better twice before.",
            category="learning-rate",
            proposer="space",
        )
        return self.ledger.open_experiment(proposal, now=NOW)

    def _conclude(self, experiment: Experiment, outcome: Outcome) -> None:
        verdict = Verdict(outcome=outcome, metric=0.98, baseline=1.0, runs=1, seeds=(1,))
        self.ledger.conclude(experiment, verdict, metric=METRIC, now=NOW)

    def _fsync(self) -> None:
        file = self.ledger.path / "synced"
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, bytes(4096))
            self.timed("fsync", partial(os.fsync, descriptor))
        finally:
            os.close(descriptor)
            file.unlink()


def _measurement(experiment: Experiment, seed: int) -> Measurement:
    return Measurement(
        run=f"{experiment.tree}-{seed}",
        tree=experiment.tree,
        seed=seed,
        environment=Environment("NVIDIA-H100-80GB-HBM3-4f2c9a"),
        device="cuda:0",
        ending=Ending.FINISHED,
        metrics={METRIC: 0.98},
        started=NOW,
        train_seconds=300.0,
        wall_seconds=310.0,
        log_tail="step 1000\n" * 200,
    )


if __name__ == "__main__":
    main()
