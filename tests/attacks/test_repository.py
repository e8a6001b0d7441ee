"""A hostile project: its hooks, configuration and attributes run under stock git, and never under ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd.doctor import examine
from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger, project_state
from tests.support.projects import git, project

HOOKS = ("pre-commit", "post-commit", "post-checkout", "post-index-change", "reference-transaction", "update",
         "pre-receive", "post-receive", "pre-applypatch", "fsmonitor-watchman")  # fmt: skip
ATTRIBUTES = "* filter=evil diff=evil merge=evil text eol=crlf ident\nkept.py filter=x=y\n"
PROGRAMS = ("core.fsmonitor", "core.editor", "core.pager", "core.sshCommand", "core.askPass",
            "core.alternateRefsCommand", "gpg.program", "diff.external",
            "diff.evil.textconv", "diff.evil.command", "merge.evil.driver",
            "filter.evil.clean", "filter.evil.smudge", "filter.x=y.clean", "uploadpack.packObjectsHook",
            "remote.origin.uploadpack", "credential.helper", "alias.status", "alias.rev-parse")  # fmt: skip
"""Settings that git runs as programs, at one command or another."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A project that would run a program of its own at every turn; it writes its words into the file `ran`."""
    folder = project(tmp_path / "project", {"train.py": "RATE = 1\n", "kept.py": "A = 1\n"})
    evil = tmp_path / "evil"
    evil.write_text(f'#!/bin/sh\necho "$0 $@" >> {tmp_path}/ran\n')
    evil.chmod(0o755)
    for name in HOOKS:
        (folder / ".git" / "hooks" / name).symlink_to(evil)
    for key in PROGRAMS:
        git(folder, "config", key, f"!{evil}" if key.startswith("alias") else str(evil))
    for key, value in (("commit.gpgsign", "true"), ("filter.evil.required", "true")):
        git(folder, "config", key, value)
    git(folder, "config", "core.hooksPath", str(folder / ".git" / "hooks"))
    (folder / ".git" / "info" / "attributes").write_text(ATTRIBUTES)
    (folder / ".gitattributes").write_text(ATTRIBUTES)
    for name in ("train.py", "kept.py"):
        (folder / name).write_text("RATE = 2\n")  # so that git looks at it again
    (tmp_path / "ran").unlink(missing_ok=True)
    return folder


def look(folder: Path) -> None:
    assert project_state(folder).dirty == ("kept.py", "train.py")


def look_where_something_is_missing(folder: Path) -> None:
    """As in a partial clone, which fetches it by what its configuration says."""
    lose_the_tree(folder)
    with pytest.raises(UserError, match="project"):
        project_state(folder)


def lose_the_tree(folder: Path) -> None:
    for key, value in (
        ("core.repositoryformatversion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", str(folder)),
    ):
        git(folder, "config", key, value)
    tree = git(folder, "rev-parse", "HEAD^{tree}").strip()
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    (folder.parent / "ran").unlink(missing_ok=True)


def examine_it(folder: Path) -> None:
    assert {finding.name for finding in examine(folder / "program.toml")} >= {"git", "project"}


def make_a_lab(folder: Path) -> None:
    ledger = Ledger.init(folder / "experiments.git", project_path=folder)
    (folder / "out").mkdir()
    ledger.checkout(ledger.best().tree, folder / "out")
    assert (folder / "out" / "train.py").read_bytes() == b"RATE = 1\n"


def queue_ideas(folder: Path) -> None:
    ledger = Ledger.init(folder / "experiments.git", project_path=folder)
    patch = "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-RATE = 1\n+RATE = 3\n"
    ledger.submit_patch(patch.encode(), title="Faster")
    with pytest.raises(UserError, match="neither a file nor a branch"):
        ledger.submit_branch(folder, "--upload-pack=evil")
    for idea in ledger.ideas():
        assert idea.proposal is not None
        ledger.open_experiment(idea.proposal, now=1.0)
    ledger.pack()


@pytest.mark.parametrize("do", [look, look_where_something_is_missing, examine_it, make_a_lab, queue_ideas])
def test_nothing_of_a_projects_repository_is_ever_run(home: Path, do: Callable[[Path], None]) -> None:
    do(home)
    assert not (home.parent / "ran").exists(), (home.parent / "ran").read_text()


@pytest.mark.parametrize("command", [("status",), ("commit", "-qam", "x"), ("checkout", "-q", "-f", "HEAD")])
def test_with_stock_git_it_would_have_run(home: Path, command: tuple[str, ...]) -> None:
    stock_git(home, *command)
    assert (home.parent / "ran").exists()


def test_with_stock_git_a_missing_object_would_have_been_fetched_by_its_program(home: Path) -> None:
    lose_the_tree(home)
    stock_git(home, "ls-tree", "HEAD")
    assert (home.parent / "ran").exists()


def stock_git(folder: Path, *command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(
        ["git", "-C", str(folder), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=environment,
    )
