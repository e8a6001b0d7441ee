"""The morning after: kept experiments go into the real project with their evidence, and are measured again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.reproduce import Pair, Reproduction
from tests.acceptance.daemon import PROGRAM, command, foreign_lab, queue, start, stop, wait_for
from tests.support.projects import WITHOUT_IDEAS, fsck, git

TRAIN = '''"""A training whose noise is its seed's."""
import os
import random

MATRIX_LR = 0.04


def rate():
    return MATRIX_LR


WEIGHT_DECAY = 0.2


def main():
    noise = random.Random(int(os.environ["AUTORESEARCH_SEED"])).gauss(0, 0.0005)
    print(f"val_bpb: {0.95 + abs(rate() - 0.08) + abs(WEIGHT_DECAY - 0.1) + noise:.6f}")


main()
'''
LR, DECAY = "Double the learning rate", "Halve the weight decay"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose lab has kept two ideas."""
    folder = foreign_lab(tmp_path_factory.mktemp("night") / "project", train=TRAIN, program=PROGRAM + WITHOUT_IDEAS)
    for title, old, new in ((LR, "LR = 0.04", "LR = 0.08"), (DECAY, "DECAY = 0.2", "DECAY = 0.1")):
        queue(folder, title, old, new)
        command(folder, "run", "--experiments", "1")
    return folder


@pytest.fixture
def moved(night: Path, tmp_path: Path) -> Path:
    """A copy of the project, lab and all, that has gone on meanwhile."""
    folder = tmp_path / "project"
    shutil.copytree(night, folder)
    (folder / "README.md").write_text("It has moved on.\n")
    git(folder, "commit", "-q", "-am", "Move on")
    return folder


def branch(folder: Path, name: str) -> list[str]:
    return git(folder, "log", "--reverse", "--format=%s", f"main..{name}").splitlines()


def test_the_kept_line_becomes_a_branch_of_the_project_and_nothing_else_changes(moved: Path) -> None:
    (moved / "README.md").write_text("Not committed.\n")
    before = git(moved, "status", "--porcelain"), git(moved, "rev-parse", "HEAD")
    done = command(moved, "export", "--branch", "found")
    assert branch(moved, "found") == [LR, DECAY]
    shown = git(moved, "show", "found:train.py") + git(moved, "show", "found:README.md")
    assert "LR = 0.08" in shown
    assert "DECAY = 0.1" in shown
    assert "It has moved on." in shown
    assert "Verdict: keep" in git(moved, "log", "-1", "--format=%(trailers)", "found")
    assert "2 measured improvements of val_bpb" in done.stdout
    assert (git(moved, "status", "--porcelain"), git(moved, "rev-parse", "HEAD")) == before
    assert git(moved, "branch", "--format=%(refname:short)").split() == ["found", "main"]
    assert fsck(moved / ".git") == ""


def test_patches_apply_with_git_am_and_bring_their_evidence(moved: Path, tmp_path: Path) -> None:
    command(moved, "export", "--patches", str(tmp_path / "patches"))
    patches = sorted((tmp_path / "patches").glob("*.patch"))
    assert len(patches) == 2
    git(moved, "checkout", "-q", "-b", "tried")
    git(moved, "am", "-q", *map(str, patches))
    assert branch(moved, "tried") == [LR, DECAY]
    assert "val_bpb=" in git(moved, "log", "-1", "--format=%(trailers:key=Metric,valueonly)")
    cover = (tmp_path / "patches" / "0000-cover.txt").read_text()
    assert LR in cover
    assert "autoresearchd reproduce" in cover


def test_where_not_all_can_be_written_no_patch_is_left_that_somebody_may_apply(moved: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "patches" / "0000-cover.txt"
    in_the_way.mkdir(parents=True)
    done = command(moved, "export", "--patches", str(tmp_path / "patches"), check=False)
    assert done.returncode == 2
    assert "cannot be written (0000-cover.txt: Is a directory); name another folder" in done.stderr
    assert list((tmp_path / "patches").iterdir()) == [in_the_way]


SMUGGLED = """diff --git a/evil.py b/evil.py
new file mode 100644
index 0000000000000000000000000000000000000000..0cfbf08886fca9a91cb753ec8734c84fcbe52c9f
GIT binary patch
literal 2
JcmXpoWB>pF00961

literal 0
HcmV?d00001

Index: evil.py
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
"""


def test_words_of_a_commit_never_travel_as_a_part_of_its_patch(moved: Path, tmp_path: Path) -> None:
    idea = tmp_path / "idea"
    git(tmp_path, "clone", "-q", "-b", "best", str(moved / "experiments.git"), str(idea))
    source = (idea / "train.py").read_text()
    (idea / "train.py").write_text(source.replace("abs(rate() - 0.08)", "0.5 * abs(rate() - 0.08) - 0.2"))
    git(idea, "commit", "-q", "-am", f"Halve a loss\n\n{SMUGGLED}")
    git(idea, "push", "-q", "origin", "HEAD:refs/heads/idea/halve")
    command(moved, "run", "--experiments", "1")
    command(moved, "export", "--patches", str(tmp_path / "patches"))
    git(moved, "checkout", "-q", "-b", "tried")
    git(moved, "am", "-q", *map(str, sorted((tmp_path / "patches").glob("*.patch"))))
    assert branch(moved, "tried")[-1] == "Halve a loss"
    assert not (moved / "evil.py").exists()
    assert "Verdict: keep" in git(moved, "log", "-1", "--format=%(trailers)", "tried")


def test_one_of_them_can_be_taken_alone(moved: Path) -> None:
    assert command(moved, "export", "2", "--patches", "one").stdout.endswith("\n1 patch in one\n")
    command(moved, "export", "2", "--branch", "decay")
    assert branch(moved, "decay") == [DECAY]
    assert "LR = 0.04" in git(moved, "show", "decay:train.py")


def test_squashed_it_is_one_commit_that_says_what_it_is_made_of(moved: Path) -> None:
    command(moved, "export", "--branch", "found", "--squash")
    assert len(branch(moved, "found")) == 1
    message = git(moved, "log", "-1", "--format=%B", "found")
    assert message.startswith("foreign: 2 measured improvements of val_bpb, ")
    assert LR in message
    assert DECAY in message


def test_the_authors_name_and_sign_off_are_the_programs(moved: Path) -> None:
    program = moved / "program.toml"
    program.write_text(program.read_text() + '[export]\nauthor = "Ada L <ada@example.org>"\nsign_off = true\n')
    command(moved, "export", "--branch", "found")
    assert git(moved, "log", "-2", "--format=%an <%ae> %cn", "found").split("\n")[0] == "Ada L <ada@example.org> Ada L"
    trailers = git(moved, "log", "-1", "--format=%(trailers)", "found")
    assert trailers.rstrip().endswith("Signed-off-by: Ada L <ada@example.org>")
    assert "Verdict: keep" in trailers


def refused(folder: Path, *arguments: str) -> str:
    done = command(folder, *arguments, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("{")]) == 1  # others are the log's
    return done.stderr


def test_what_conflicts_is_named_and_nothing_is_written(moved: Path) -> None:
    (moved / "train.py").write_text(TRAIN.replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.05"))
    git(moved, "commit", "-q", "-am", "Change the same line")
    assert LR in refused(moved, "export", "--branch", "found")
    assert "found" not in git(moved, "branch")
    command(moved, "export", "2", "--branch", "found")


def test_what_is_there_already_is_said(moved: Path) -> None:
    (moved / "train.py").write_text(TRAIN.replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.08"))
    git(moved, "commit", "-q", "-am", "Found it ourselves")
    done = command(moved, "export", "--branch", "found")
    assert branch(moved, "found") == [DECAY]
    assert "0001 changes nothing" in done.stdout


def test_a_branch_that_is_there_is_never_moved(moved: Path) -> None:
    git(moved, "branch", "mine")
    before = git(moved, "rev-parse", "mine")
    assert "'mine' already" in refused(moved, "export", "--branch", "mine")
    assert "'main' already" in refused(moved, "export", "--branch", "main")
    assert git(moved, "rev-parse", "mine") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--branch", "x", "--onto", "nowhere"), "'nowhere' is no commit"),
        (("--branch", "--upload-pack=touch x"), "is no name for a branch"),
        (("--branch", "x", "--clone", "/nowhere"), "no commit of a git repository at /nowhere"),
        (("7", "--branch", "x"), "0007 is not on best"),
        (("0", "--branch", "x"), "0000 is not on best"),
        ((), "--patches FOLDER"),
    ],
)
def test_a_mistake_is_one_sentence(night: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(night, "export", *arguments)


def test_the_projects_hooks_do_not_run(moved: Path) -> None:
    for name in ("post-checkout", "reference-transaction", "post-merge", "pre-auto-gc"):
        hook = moved / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {moved}/ran\n")
        hook.chmod(0o755)
    command(moved, "export", "--branch", "found")
    assert not (moved / "ran").exists()


def test_a_kept_commit_is_measured_again_and_holds(night: Path) -> None:
    said = command(night, "reproduce", "1").stdout
    assert said.count(" on record, ") == said.count(" trains on ") >= 1
    assert "mean difference +0.000000" in said
    assert "it holds" in said


def test_on_another_machine_it_says_that_the_numbers_cannot_be_compared(moved: Path) -> None:
    program = moved / "program.toml"
    program.write_text(program.read_text().replace("[train]\n", "[train]\nseconds = 77.0\n"))
    assert "not comparable" in refused(moved, "reproduce", "1")


def test_what_was_never_measured_cannot_be_reproduced(night: Path) -> None:
    assert "there is no experiment 0009 in" in refused(night, "reproduce", "9")


def test_reproducing_writes_nothing_into_the_lab(moved: Path) -> None:
    before = git(moved / "experiments.git", "for-each-ref")
    command(moved, "reproduce", "2")
    assert git(moved / "experiments.git", "for-each-ref") == before


PAIRS = tuple(Pair(seed=seed, recorded=1.0 + seed / 100, now=1.01 + seed / 100) for seed in range(4))
REPEATED = Reproduction(number=1, metric="loss", pairs=PAIRS, std_error=0.006)


def test_a_mean_further_off_than_two_standard_errors_does_not_hold() -> None:
    assert REPEATED.holds
    assert not replace(REPEATED, std_error=0.004).holds


def test_a_seed_without_a_number_does_not_hold() -> None:
    crashed = Pair(seed=9, recorded=1.0, now=None, why="crash")
    assert not replace(REPEATED, pairs=(*PAIRS, crashed)).holds


def test_the_daemon_is_asked_to_leave_the_devices_first(moved: Path) -> None:
    daemon = start(moved)
    wait_for(moved, "daemon_started")
    try:
        assert f"pid {daemon.pid}" in refused(moved, "reproduce", "1")
    finally:
        stop(daemon)
