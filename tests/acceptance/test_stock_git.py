"""What a person does in the morning, with the stock git client only, on a target that knows nothing of us."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import command, foreign_project, patch_of
from tests.support.projects import fsck, git

EXPERIMENTS = 12


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after a night with a person's idea in it that is a real improvement."""
    folder = foreign_project(tmp_path_factory.mktemp("night") / "project")
    before = snapshot(folder)
    command(folder, "init")
    patch = patch_of(folder, "MATRIX_LR = 0.04", "MATRIX_LR = 0.08")
    command(folder, "propose", "-", "--title", "Double the learning rate of the matrices", given=patch)
    command(folder, "run", "--experiments", str(EXPERIMENTS))
    assert snapshot(folder) == before, "the user's checkout was touched"
    return folder


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    kept = [path for path in folder.rglob("*") if path.is_file() and "experiments.git" not in path.parts]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}


def test_the_kept_line_reads_as_a_paper_in_a_plain_clone(night: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(night / "experiments.git"), str(clone))
    lines = git(clone, "log", "origin/best", "--format=%h %(trailers:key=Metric,valueonly,separator=) %s").splitlines()
    kept = [line for line in lines if re.match(r"[0-9a-f]{7,} val_bpb=0\.9\d{5} \S", line)]
    assert len(kept) >= 2, lines
    assert any("Double the learning rate of the matrices" in line for line in kept)
    values = [float(re.search(r"val_bpb=(\S+)", line)[1]) for line in kept]  # type: ignore[index]
    assert values[0] < values[-1], "best is no better than the baseline"


def test_a_kept_commit_cherry_picks_into_the_project_that_has_moved_on(night: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    git(tmp_path, "clone", "-q", str(night), str(moved))
    (moved / "README.md").write_text("A project that has moved on.\n")
    git(moved, "commit", "-q", "-am", "Move on")
    git(moved, "fetch", "-q", str(night / "experiments.git"), "refs/heads/*:refs/remotes/lab/*")
    commit = git(moved, "log", "lab/best", "--format=%h", "--grep=Double the learning rate").strip()
    git(moved, "cherry-pick", commit)
    assert "MATRIX_LR = 0.08" in (moved / "train.py").read_text()
    assert git(moved, "show", "--stat", "--format=", "HEAD").count("|") == 1


def test_every_experiment_is_a_branch_of_one_commit_with_its_verdict(night: Path) -> None:
    lab = night / "experiments.git"
    branches = git(lab, "for-each-ref", "refs/heads/exp", "--format=%(refname)").split()
    assert len(branches) == EXPERIMENTS + 1
    for branch in branches:
        trailers = git(lab, "log", "-1", branch, "--format=%(trailers)")
        assert re.search(r"^Experiment: \d{4}$", trailers, re.MULTILINE)
        assert re.search(r"^Verdict: [a-z-]+$", trailers, re.MULTILINE)
        assert re.search(r"^Lines: \+\d+ -\d+$", trailers, re.MULTILINE)


def test_best_is_what_its_evidence_says_and_git_finds_nothing_to_complain_about(night: Path) -> None:
    ledger = Ledger(night / "experiments.git")
    assert ledger.verify() == ()
    assert fsck(ledger.path) == ""


def test_the_summary_block_of_a_script_that_knows_nothing_of_us_is_understood(night: Path) -> None:
    rows = json.loads(command(night, "log", "-n", "50", "--json").stdout)
    assert len(rows) == EXPERIMENTS + 1
    ledger = Ledger(night / "experiments.git")
    run = ledger.measurements(ledger.best().tree)[0]
    assert run.metrics["peak_memory_mib"] == 45060.2
    assert run.metrics["num_steps"] == 953
    assert run.train_seconds <= run.wall_seconds, "nobody trains for longer than the clock says"


def test_an_experiment_is_named_by_number_commit_or_branch(night: Path) -> None:
    lab = night / "experiments.git"
    branch = git(lab, "for-each-ref", "--format=%(refname:short)", "refs/heads/exp/0001-*").strip()
    shown = command(night, "show", "1", "--json").stdout
    for name in ("0001", branch, git(lab, "rev-parse", branch).strip()):
        assert command(night, "show", name, "--json").stdout == shown
    for name, words in (
        ("no-such-branch", "no commit or branch"),
        ("best~99", "no commit"),
        ("--all", "no such option"),
    ):
        wrong = command(night, "show", name, check=False)
        assert wrong.returncode == 2
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_log_show_and_status_say_what_happened(night: Path) -> None:
    assert "Double the learning rate" in command(night, "log").stdout
    assert "MATRIX_LR = 0.08" in command(night, "show", "1").stdout
    assert "no daemon is running" in command(night, "status").stdout
    assert json.loads(command(night, "status", "--json").stdout)["tried"] == EXPERIMENTS


def test_the_night_has_left_its_report_with_commands_that_bring_the_best_home(night: Path, tmp_path: Path) -> None:
    report = html.unescape((night / "experiments.git/autoresearchd/reports/latest.html").read_text())
    assert f"Of {EXPERIMENTS} changes tried" in report
    fetch = re.search(r"git fetch (.+) '\+refs/heads/\*:refs/remotes/lab/\*'", report)
    pick = re.search(r"git cherry-pick (\w+\.\.lab/best)", report)
    assert fetch
    assert pick
    moved = tmp_path / "moved"
    git(tmp_path, "clone", "-q", str(night), str(moved))
    git(moved, "fetch", "-q", fetch[1], "refs/heads/*:refs/remotes/lab/*")
    git(moved, "cherry-pick", pick[1])
    assert git(moved, "diff", "HEAD", "lab/best", "--stat") == ""
