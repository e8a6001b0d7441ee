"""`top` on a real terminal beside a real daemon: what its keys ask for happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import foreign_lab, start, stop, wait_for
from tests.report.test_top import terminal

TRAIN = '''"""The imported code is measured at once; whatever is changed in it trains for an hour."""
import time

RATE = 0.04
if RATE != 0.04:
    print("step 00001 | loss: 2.3", flush=True)
    time.sleep(3600)
print("val_bpb: 1.0")
'''


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A project whose first change is to be trained for an hour."""
    return foreign_lab(tmp_path / "project", train=TRAIN)


def test_the_experiment_that_trains_is_skipped_by_a_key(night: Path) -> None:
    daemon = start(night)
    try:
        first = wait_for(night, "experiment_opened")[0]["experiment"]
        while not (begun := [entry for entry in wait_for(night, "run_started") if entry["experiment"] == first]):
            assert daemon.poll() is None
        with terminal(sys.executable, "-m", "autoresearchd", "top", "--program", str(night / "program.toml")) as screen:
            screen.until(f"{first:04d}")
            screen.press("j")
            screen.press("s")
            screen.until(f"press s again to skip {first:04d}")
            screen.press("s")
            screen.until(f"{first:04d} is skipped as soon as the daemon looks")
            screen.until("skipped")
            screen.press("q")
        stopped = wait_for(night, "run_stopped")[0]
    finally:
        stop(daemon)
    assert (stopped["experiment"], stopped["run"]) == (first, begun[0]["run"])
    found = Ledger(night / "experiments.git").find(first)
    assert isinstance(found, Concluded)
    assert found.verdict.outcome is Outcome.SKIPPED
    assert found.verdict.why == "skipped by a person"
    assert found.verdict.runs == 0
