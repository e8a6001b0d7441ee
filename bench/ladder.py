"""A ladder of three depths on nanogpt, on a CPU: `python -m bench.ladder`.

The daemon itself, on a nanogpt with three handicaps and an inbox of three changes that take them away: one at every
depth, one at the first depth alone, and one at the first depth that makes it worse above. Prints what was kept, what is
known on each rung, and what was promoted; exit code 1 unless that is the first change alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from autoresearchd.ledger import Ledger
from bench.spread import ROOT

HANDICAPS = {
    "MATRIX_LR": ("everywhere", "(1.0, 1.0, 1.0)"),
    "EMBEDDING_LR": ("at the first depth alone", "(1.0, 0.1, 0.1)"),
    "HEAD_LR": ("at the first depth, and less above it", "(1.0, 0.02, 0.02)"),
}
"""For each constant: what the change does, and its factors at the three depths; without the change all are 0.1."""
PROGRAM = """
[program]
name = "ladder of nanogpt"
editable = ["nanogpt/train.py"]
protected = ["nanogpt/answer.py", "nanogpt/apart.py", "nanogpt/contract.py", "nanogpt/data.py", "nanogpt/evaluate.py"]
[train]
command = "python -m nanogpt.train --depth 1"
cpu_steps = {steps}
data = "data/train"
[metric]
name = "val_bpb"
evaluate = "python -m nanogpt.evaluate"
data = "data/val"
[accept]
max_repeats = 4
[budget]
experiments = 3
[propose.null]
every = 0
[devices]
use = "cpu"
cpu_slots = {slots}
cpu_threads = 1
[[scale]]
name = "depth-2"
args = "--depth 2"
cpu_steps = {half}
[[scale]]
name = "depth-3"
args = "--depth 3"
cpu_steps = {quarter}
"""


def handicapped(text: str) -> str:
    """train.py with a tenth of three learning rates at every depth, each on a line of its own."""
    lines = "".join(f"    optim.{name} *= (0.1, 0.1, 0.1)[depth - 1]\n    # apart\n    # apart\n" for name in HANDICAPS)
    place = "    depth = read_depth(order)\n"
    assert place in text
    return text.replace(place, f"{place}{lines}")


def command(folder: Path, *words: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def git(folder: Path, *words: str) -> str:
    setup = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    return subprocess.run(["git", *setup, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def lab(folder: Path, *, steps: int, slots: int) -> Path:
    """A project with data, a lab and three ideas in its inbox."""
    home = folder / "home"
    shutil.copytree(ROOT / "nanogpt", home / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
    train = home / "nanogpt" / "train.py"
    train.write_text(handicapped(train.read_text()))
    git(folder, "init", "-q", str(home))
    git(home, "add", "-A")
    git(home, "commit", "-q", "-m", "Handicap nanogpt")
    library = Path(sysconfig.get_path("stdlib"))
    text = [str(path) for path in sorted(library.glob("[a-d]*.py"))]
    command(home, "nanogpt.prepare", *text, "--held-out", "0.1", "--out", "data")
    (home / "program.toml").write_text(PROGRAM.format(steps=steps, half=steps // 2, quarter=steps // 4, slots=slots))
    command(home, "autoresearchd", "init")
    for name, (what, factors) in HANDICAPS.items():
        before = train.read_text()
        train.write_text(before.replace(f"optim.{name} *= (0.1, 0.1, 0.1)", f"optim.{name} *= {factors}"))
        patch = git(home, "diff")
        train.write_text(before)
        command(home, "autoresearchd", "propose", "-", "--title", f"Raise {name} {what}", given=patch)
    return home


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="at the first depth; half and a quarter of them above it")
    parser.add_argument("--slots", type=int, default=2)
    asked = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as temporary:
        home = lab(Path(temporary), steps=asked.steps, slots=asked.slots)
        started = time.monotonic()
        command(home, "autoresearchd", "run")
        place = home / "experiments.git"
        runs = git(place, "rev-list", "--count", "refs/autoresearch/runs").strip()
        print(f"{runs} runs in {time.monotonic() - started:.0f} s\n")
        print(git(place, "log", "--notes=ladder", "--author=autoresearchd@localhost", "--format=%s%n%N", "best"))
        print(command(home, "autoresearchd", "status"))
        ledger = Ledger(place)
        line = [row.experiment.commit for row in ledger.concluded() if row.experiment.is_baseline]
        titles = [ledger.promotion.record(commit).title for commit in ledger.promotion.line(line[0]) or ()]
        print(git(place, "log", "-1", "--format=%B", "promoted"))
    print("promoted:", titles)
    sys.exit(0 if titles == ["Raise MATRIX_LR everywhere"] else 1)


if __name__ == "__main__":
    main()
