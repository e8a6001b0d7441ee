"""What the disk has lost of one experiment costs nobody's ideas."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.context import context_of
from autoresearchd.ledger import Ledger
from autoresearchd.program import parse
from autoresearchd.propose.llm import digest
from autoresearchd.propose.portfolio import build
from tests.ledger.lab import METRIC, discarded, kept, new_ledger, with_baseline
from tests.support.damage import harm
from tests.support.projects import PROGRAM, git, without

# Two carry what was tried to best: they fail where that is lost, and rest.
TOML = PROGRAM.replace('name = "loss"', f'name = "{METRIC}"') + without("retest", "combine")


@pytest.fixture
def lab(tmp_path: Path) -> Ledger:
    """Three experiments, and constants to search over."""
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    kept(ledger, "RATE = 2.0\nDEPTH = 2\n")
    return ledger


@pytest.mark.parametrize("what", ["the tree", "a file of it"])
@pytest.mark.parametrize("damage", [None, b"torn"])
def test_ideas_go_on_where_the_disk_lost_what_was_tried_and_that_is_said_once(
    lab: Ledger, what: str, damage: bytes | None
) -> None:
    lost = discarded(lab, "RATE = 3.0\nDEPTH = 2\n").experiment
    name = lost.tree if what == "the tree" else f"{lost.tree}:train.py"
    harm(lab.path, git(lab.path, "rev-parse", name).strip(), damage)
    program, reader = parse(TOML), Ledger(lab.path)
    portfolio = build(program)
    with capture_logs() as logs:
        first = asyncio.run(portfolio.propose(context_of(reader, program, ())))
        assert first is not None
        second = asyncio.run(portfolio.propose(context_of(reader, program, (first,))))
    assert second is not None
    assert second.edits != first.edits
    said = Counter(entry["event"] for entry in logs if entry["log_level"] == "error")
    # By who knows what was tried, and by who searches over constants.
    assert said == {"tree_unreadable": 2}
    assert portfolio.failing == {}


def test_a_model_is_told_that_the_change_cannot_be_shown(lab: Ledger) -> None:
    lost = discarded(lab, "RATE = 3.0\nDEPTH = 2\n").experiment
    harm(lab.path, git(lab.path, "rev-parse", f"{lost.tree}:train.py").strip(), None)
    context = context_of(Ledger(lab.path), parse(TOML), ())
    assert "the disk has lost its files" in digest.digest(context)
