"""A night on nanogpt itself: real trainings on a CPU, real evaluation and audit, the real command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import nanogpt
from autoresearchd.experiment import Concluded, Outcome
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command
from tests.nanogpt.fixtures import make_data
from tests.support.projects import git, write

PROGRAM = """
[program]
name = "nanogpt"
editable = ["nanogpt/model.py", "nanogpt/optim.py", "nanogpt/train.py"]
[train]
command = "python -m nanogpt.train --depth 1"
cpu_steps = 20
data = "data/train"
[metric]
name = "val_bpb"
evaluate = "python -m nanogpt.evaluate"
data = "data/val"
audit = "data/audit"
[devices]
use = "cpu"
cpu_slots = 2
cpu_threads = 1
"""
TIMID = {"MATRIX_LR": ("0.02", "0.0002"), "EMBEDDING_LR": ("0.1", "0.001"), "HEAD_LR": ("0.002", "0.00002")}
"""The project starts with a hundredth of nanogpt's learning rates: undoing that is an improvement beyond any noise."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab in which the one idea that was pushed is a real improvement."""
    folder = tmp_path_factory.mktemp("nanogpt") / "project"
    make_data(folder)
    shutil.copytree(Path(nanogpt.__file__).parent, folder / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("data\ntexts\nexperiments.git\n")
    optim = folder / "nanogpt" / "optim.py"
    right = optim.read_text()
    optim.write_text(_timid(right))
    git(folder, "init", "-q")
    write(folder, {"README.md": "A small model.\n"}, "Import")
    (folder / "program.toml").write_text(PROGRAM)
    command(folder, "init")
    optim.write_text(right)
    patch = git(folder, "diff")
    git(folder, "checkout", "-q", ".")
    command(folder, "propose", "-", "--title", "Learn a hundred times faster", given=patch)
    command(folder, "run", "--experiments", "1")
    return folder


def _timid(text: str) -> str:
    for name, (usual, slow) in TIMID.items():
        assert f"{name} = {usual} " in text
        text = text.replace(f"{name} = {usual} ", f"{name} = {slow} ")
    return text


def kept(night: Path) -> Concluded:
    found = Ledger(night / "experiments.git").find(1)
    assert isinstance(found, Concluded)
    return found


def test_a_real_improvement_is_kept_and_is_what_best_holds(night: Path) -> None:
    found = kept(night)
    assert found.verdict.outcome is Outcome.KEEP, found.verdict.why
    assert found.verdict.runs >= 2, "kept by one run"
    assert found.verdict.metric is not None
    assert found.verdict.baseline is not None
    assert found.verdict.metric < found.verdict.baseline
    assert Ledger(night / "experiments.git").best().tree == found.experiment.tree
    assert _value(night, "Metric") == pytest.approx(found.verdict.metric, abs=1e-6)


def _value(night: Path, key: str) -> float:
    text = git(night / "experiments.git", "log", "-1", "best", f"--format=%(trailers:key={key},valueonly)")
    said = re.fullmatch(r"val_bpb=(\S+)\s*", text)
    assert said is not None, text
    return float(said[1])


def test_the_new_best_was_audited_once_on_data_that_decided_nothing(night: Path) -> None:
    audits = json.loads(command(night, "status", "--json").stdout)["audits"]
    assert [audit["number"] for audit in audits] == [0, 1]
    first, last = audits
    assert last["audit"] < first["audit"], "the audit does not see the improvement"
    assert last["audit"] != last["value"], "the audit is the validation by another name"
    assert "audited" in command(night, "status").stdout
    runs = Ledger(night / "experiments.git").measurements(kept(night).experiment.tree)
    assert sum(run.audited for run in runs) == 1


def test_what_was_kept_is_measured_again_within_its_stated_error(night: Path) -> None:
    found = kept(night)
    said = command(night, "reproduce", found.experiment.commit).stdout
    assert said.count(" on record, ") == found.verdict.runs
    assert said.splitlines()[-1] == "it holds"
