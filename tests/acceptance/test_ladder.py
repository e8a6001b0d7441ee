"""The real daemon climbs a ladder of three rungs: only what also gains above the first is promoted, with its evidence."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.daemon import command, foreign_project, patch_of
from tests.support.projects import git

TARGET = '''"""Three changes of known effect: `everywhere` helps on every rung, `early` on the first, `late` hurts above it."""
import os
import random
import sys

early = 0

# keep apart
# keep apart

everywhere = 0

# keep apart
# keep apart

late = 0


depth = int(sys.argv[2]) if len(sys.argv) > 2 else 1
gain = everywhere + (early if depth == 1 else 0) + (late if depth == 1 else -late)
noise = random.Random(f"{os.environ['AUTORESEARCH_SEED']} {early} {everywhere} {late} {depth}").gauss(0, 0.0005)
print(f"val_bpb: {1.0 / depth - 0.005 * gain + noise:.6f}")
'''
PROGRAM = """
[program]
name = "ladder"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb:\\s+(\\S+)'
[accept]
max_repeats = 4
[devices]
use = "cpu"
[propose.null]
every = 0
[promote]
share = 0.5
[[scale]]
name = "d2"
args = "--depth 2"
[[scale]]
name = "d3"
args = "--depth 3"
"""
CHANGES = ("early", "everywhere", "late")


def lab_with_three_ideas(folder: Path) -> Path:
    """A project and its lab, in whose inbox the three changes wait."""
    home = foreign_project(folder / "home", train=TARGET, program=PROGRAM)
    command(home, "init")
    for name in CHANGES:
        patch = patch_of(home, f"\n{name} = 0", f"\n{name} = 1")
        command(home, "propose", "-", "--title", f"Turn on {name}", given=patch)
    return home


def test_only_what_gains_on_every_rung_is_promoted(tmp_path: Path) -> None:
    home = lab_with_three_ideas(tmp_path)
    command(home, "run", "--experiments", "3")
    lab = home / "experiments.git"
    assert git(lab, "log", "--format=%s", "best").count("Turn on") == 3, "all three gain on the first rung"
    assert git(lab, "log", "--format=%s", "promoted", "-1").strip() == "Turn on everywhere"
    assert git(lab, "log", "--format=%s", "promoted").count("Turn on") == 1
