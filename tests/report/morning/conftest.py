"""A lab on disk with a program file beside it, and what a night may leave in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoresearchd.experiment import Outcome
from tests.report.lab import Lab
from tests.report.nouns import EVIL

PROGRAM = """
[program]
name = "toy"
project = "project"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb=(\\S+)$'
"""
SCRIPT = "<script>alert(1)</script> | `rm` ``` " + EVIL


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Lab]:
    """A baseline, a keep, a clear failure, a near-miss and a crash; the words of all of them are hostile."""
    lab = Lab(tmp_path)
    (tmp_path / "program.toml").write_text(PROGRAM)
    with lab.ledger.hold():
        lab.baseline(1.5)
        better = lab.open(SCRIPT, f"RATE = 0.2\n# {SCRIPT}\n", proposer=SCRIPT, category=SCRIPT, rationale=SCRIPT)
        known = {"baseline": 1.5, "std_error": 0.01, "confidence": 0.995, "runs": 2, "train_seconds": 3600.0}
        lab.conclude(better, Outcome.KEEP, 1.4, why=SCRIPT, flag="far too good", **known)
        worse = lab.open("Untie the embedding", "RATE = 0.3\n", proposer="llm", cost_usd=0.25)
        lab.conclude(worse, Outcome.DISCARD, 1.9, baseline=1.4, std_error=0.01, runs=1, train_seconds=1800.0)
        close = lab.open("Softcap 15", "RATE = 0.4\n", proposer="llm", cost_usd=0.25)
        lab.conclude(close, Outcome.INCONCLUSIVE, 1.39, baseline=1.4, std_error=0.01, runs=4)
        lab.conclude(lab.open("Break it", "RATE = 1 / 0\n"), Outcome.CRASH, why="ZeroDivisionError")
        lab.open("Still open", "RATE = 0.5\n")
        yield lab


@pytest.fixture
def program(night: Lab) -> Path:
    """The program file of that lab."""
    return night.path.parent / "program.toml"
