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
from autoresearchd.propose.ablate import Ablate
from autoresearchd.propose.combine import Combine
from autoresearchd.propose.llm import digest
from autoresearchd.propose.patterns import Patterns
from autoresearchd.propose.portfolio import build
from autoresearchd.propose.retest import Retest
from tests.ledger.lab import FILES, METRIC, discarded, kept, new_ledger, with_baseline
from tests.support.damage import harm
from tests.support.projects import PROGRAM, git

TRAIN = FILES["train.py"]

TOML = PROGRAM.replace('name = "loss"', f'name = "{METRIC}"')
FASTER = """
[[propose.patterns.custom]]
name = "faster"
path = "train.py"
find = "RATE = "
replace = "RATE = 2 * "
"""


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


@pytest.mark.parametrize(
    ("proposer", "expected"),
    [(Retest(), "Retest 0002: "), (Combine(), "Combine 0002 and 0003: ")],
    ids=["retest", "combine"],
)
def test_a_near_miss_that_the_disk_lost_is_passed_over_for_the_next_and_that_is_said_once(
    tmp_path: Path, proposer: Retest | Combine, expected: str
) -> None:
    lab = new_ledger(tmp_path)
    with_baseline(lab)
    lost = discarded(lab, TRAIN.replace("RATE = 0.1", "RATE = 0.2")).experiment
    discarded(lab, TRAIN.replace("WIDTH = 8", "WIDTH = 9"))
    discarded(lab, "DATA = 2\n", path="data.py")
    kept(lab, TRAIN.replace("DEPTH = 4", "DEPTH = 5"))
    harm(lab.path, lost.tree, None)
    reader = Ledger(lab.path)
    with capture_logs() as logs:
        for _ in range(2):
            found = asyncio.run(proposer.propose(context_of(reader, parse(TOML), ())))
            assert found is not None
            assert found.title.startswith(expected)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["tree_unreadable"]


@pytest.mark.parametrize("proposer", [Ablate(when_due=False), Patterns()], ids=["ablate", "patterns"])
def test_a_step_of_best_that_the_disk_lost_ends_nobodys_ideas(tmp_path: Path, proposer: Ablate | Patterns) -> None:
    lab = new_ledger(tmp_path)
    with_baseline(lab)
    steps = [kept(lab, f"STEP = {number}\n", path=f"step{number}.py") for number in range(4)]
    harm(lab.path, steps[0].experiment.tree, None)
    program = parse(TOML.replace('["train.py"]', '["*.py"]') + FASTER)
    found = asyncio.run(proposer.propose(context_of(Ledger(lab.path), program, ())))
    assert found is not None
    assert found.proposer == proposer.name


def test_a_model_is_told_that_the_change_cannot_be_shown(lab: Ledger) -> None:
    lost = discarded(lab, "RATE = 3.0\nDEPTH = 2\n").experiment
    harm(lab.path, git(lab.path, "rev-parse", f"{lost.tree}:train.py").strip(), None)
    context = context_of(Ledger(lab.path), parse(TOML), ())
    assert "the disk has lost its files" in digest.digest(context)
