"""Small real projects in git, and the stock git client."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from autoresearchd.ledger import Ledger

PROGRAM = """
[program]
name = "toy"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
pattern = '^loss=(\\S+)$'
"""


def without(*proposers: str) -> str:
    """The lines of program.toml by which these say nothing."""
    return "".join(f"[propose.{name}]\nenabled = false\n" for name in proposers)


WITHOUT_IDEAS = without("space", "patterns", "refine", "retest", "combine")


def git(folder: Path, *arguments: str, check: bool = True, given: bytes | str = b"", **environment: str) -> str:
    """What the stock git client says; nobody's configuration is read."""
    return git_bytes(folder, *arguments, check=check, given=given, **environment).decode("utf-8", "surrogateescape")


def git_bytes(folder: Path, *arguments: str, check: bool = True, given: bytes | str = b"", **environment: str) -> bytes:
    """What the stock git client says, byte by byte; what it complains of as well where that is not checked."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"} | environment
    settings = ("user.name=P", "user.email=p@localhost", "init.defaultBranch=main", "protocol.file.allow=always")
    command = ["git", *(part for setting in settings for part in ("-c", setting)), "-C", str(folder), *arguments]
    given = given.encode() if isinstance(given, str) else given
    done = subprocess.run(command, check=False, input=given, capture_output=True, env=clean)
    if not check:
        return done.stdout + done.stderr
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode('utf-8', 'replace')}"
    return done.stdout


def write(folder: Path, files: Mapping[str, str], message: str = "Write files") -> None:
    """Put files into a checkout and commit them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def project(folder: Path, files: Mapping[str, str], *, program: str = PROGRAM) -> Path:
    """A project with one commit, and a program.toml beside it that is not committed; none where `program` is empty."""
    shutil.copytree(_project(tuple(files.items())), folder, dirs_exist_ok=True)
    if program:
        (folder / "program.toml").write_text(program)
    return folder


def lab(
    folder: Path, files: Mapping[str, str] | None = None, *, program: str = PROGRAM, path: Path | None = None
) -> Ledger:
    """A project and its fresh experiments.git, which is in it unless `path` says where else."""
    files, path = files or {"train.py": "RATE = 1\nDEPTH = 2\n"}, path or folder / "experiments.git"
    project(folder, files, program=program)
    return Ledger(Path(shutil.copytree(_experiments(tuple(files.items())), path)))


# Each is made once in a process, by a dozen git commands and more: tests get copies.


@cache
def _shelf() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="autoresearchd-tests-")


@cache
def _project(files: tuple[tuple[str, str], ...]) -> Path:
    folder = Path(mkdtemp(dir=_shelf().name)) / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    write(folder, dict(files), "Import")
    return folder


@cache
def _experiments(files: tuple[tuple[str, str], ...]) -> Path:
    path = Path(mkdtemp(dir=_shelf().name)) / "experiments.git"
    Ledger.init(path, project_path=_project(files))
    return path


def fsck(path: Path) -> str:
    """What `git fsck --strict` complains of; empty when the repository is clean."""
    said = git(path, "fsck", "--strict", "--full", "--no-dangling", "--no-progress", check=False)
    return "\n".join(line for line in said.splitlines() if not line.startswith("notice: HEAD"))
