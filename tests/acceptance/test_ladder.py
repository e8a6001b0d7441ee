"""The real daemon climbs a ladder of three rungs: only what gains on each is promoted, with its evidence."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command, events, foreign_lab, queue, start, stop
from tests.support.patience import until
from tests.support.projects import git

TARGET = '''"""`everywhere` helps on every rung, `early` on the first alone, and `late` hurts above it."""
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
[budget]
experiments = 3
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
    home = foreign_lab(folder / "home", train=TARGET, program=PROGRAM)
    for name in CHANGES:
        queue(home, f"Turn on {name}", f"\n{name} = 0", f"\n{name} = 1")
    return home


def titles(lab: Path, branch: str) -> list[str]:
    """What was kept on a branch, oldest first, without the baseline."""
    return [title for title in git(lab, "log", "--reverse", "--format=%s", branch).splitlines() if "Turn on" in title]


def known(lab: Path) -> dict[str, list[str]]:
    """The notes of what was kept, by title."""
    said = git(lab, "log", "--notes=ladder", "--format=%x01%s%n%N", "best")
    found = (part.strip().splitlines() for part in said.split("\x01") if "Turn on" in part)
    return {lines[0]: lines[1:] for lines in found}


def test_only_what_gains_on_every_rung_is_promoted_with_its_evidence(tmp_path: Path) -> None:
    home = lab_with_three_ideas(tmp_path)
    command(home, "run")
    lab = home / "experiments.git"
    assert sorted(titles(lab, "best")) == [f"Turn on {name}" for name in CHANGES], "all gain on the first rung"
    assert titles(lab, "promoted") == ["Turn on everywhere"]
    evidence = git(
        lab, "log", "-1", "--format=%(trailers:key=Scale-d2,valueonly)%(trailers:key=Scale-d3,valueonly)", "promoted"
    )
    on_d2, on_d3 = evidence.split("\n")[:2]
    assert re.fullmatch(r"val_bpb=0\.49\d+ \(Δ -0\.00\d+ \+-0\.00\d+, n=\d+\)", on_d2)
    assert on_d3.startswith("val_bpb=0.32")
    both = "--format=%an|%(trailers:key=Verdict,valueonly)"
    assert git(lab, "log", "-1", both, "promoted") == git(lab, "log", "-1", both, "best", "--grep=everywhere")
    notes = known(lab)
    assert [": holds: " in line for line in notes["Turn on everywhere"]] == [True, True]
    assert notes["Turn on early"][0].startswith("Scale-d2: does not hold: ")
    assert notes["Turn on late"][0].startswith("Scale-d2: does not hold: Δ +0.00")
    assert git(lab, "merge-base", "best", "promoted").strip() == git(lab, "rev-parse", "promoted~1").strip()
    assert "is sound" in command(home, "fsck").stdout
    said = command(home, "status").stdout
    assert "promoted 1 change: 000" in said
    assert re.search(r"d2 +do not \d{4}, \d{4}", said)
    table = command(home, "report", "--md").stdout
    assert re.search(r"everywhere \| \+0\.0\S+ ± \S+ \| holds: val\S+=0.49.* \| holds: val\S+=0.3.* \| yes \|", table)
    assert re.search(r"late \| \+0\.0\S+ ± \S+ \| does not hold: Δ \+0.00.* \| - \| no \|", table)
    shown = command(home, "show", "best").stdout
    assert re.search(r"on d2 +(holds|does not hold): Δ [+-]0\.00", shown)
    cover = command(home, "export", "--promoted", "--branch", "found").stdout
    assert "on d2: val_bpb=0.49" in cover
    assert titles(home, "HEAD..found") == ["Turn on everywhere"]
    assert "Scale-d3: val_bpb=" in git(home, "log", "-1", "--format=%B", "found")


def test_killed_on_any_rung_it_promotes_the_same(tmp_path: Path) -> None:
    home = lab_with_three_ideas(tmp_path)
    lab = home / "experiments.git"
    for event, count in (("standing_noted", 1), ("run_finished", 4), ("standing_noted", 2), ("run_started", 2)):
        daemon = start(home)
        wait_for_one_of(home, event, count)
        stop(daemon, signal.SIGKILL)
        (home / "daemon.jsonl").write_text("")
        assert not any("promoted" in finding.what for finding in Ledger(lab).verify())
    command(home, "run")
    assert titles(lab, "promoted") == ["Turn on everywhere"]
    assert len(titles(lab, "best")) == 3
    assert "is sound" in command(home, "fsck").stdout


def wait_for_one_of(home: Path, event: str, count: int) -> None:
    """Until so much was said, or the daemon has nothing left to do."""

    def is_said() -> bool:
        said = [entry.get("event") for entry in events(home)]
        return said.count(event) >= count or "daemon_stopped" in said

    until(is_said, said=lambda: events(home)[-5:])
