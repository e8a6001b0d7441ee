"""The weights of best outlive their run: real trainings of a real daemon."""

from __future__ import annotations

from pathlib import Path

from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import PROGRAM, command, foreign_lab, queue

TARGET = """
import os
from pathlib import Path
RATE = 0.5
Path(os.environ["AUTORESEARCH_OUT"], "model.txt").write_text(f"weights at {RATE}")
print(f"val_bpb: {1 - RATE + int(os.environ['AUTORESEARCH_SEED']) % 3 * 1e-4}")
"""
QUIET = "[propose.null]\nevery = 1\n"


def test_what_the_newest_training_of_best_left_stays_and_that_of_the_others_goes(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    foreign_lab(folder, train=TARGET, program=PROGRAM + QUIET)
    for rate in ("0.9", "0.1"):
        queue(folder, f"Set {rate}", "RATE = 0.5", f"RATE = {rate}")
    command(folder, "run", "--experiments", "3")
    ledger, kept = Ledger(folder / "experiments.git"), folder / "experiments.git/autoresearchd/checkpoints"
    assert ledger.best().number in (1, 2)
    assert (kept / "best" / "model.txt").read_text() == "weights at 0.9"
    assert sorted(path.name for path in kept.iterdir()) == sorted([ledger.best().tree, "best"])

    program = folder / "program.toml"
    program.write_text(program.read_text() + "[service]\ncheckpoints_mib = 0\n")
    command(folder, "run", "--experiments", "1")
    assert list(kept.iterdir()) == []
