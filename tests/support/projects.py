"""Small real projects in git, and the stock git client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """What the stock git client says; nobody's configuration is read."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    names = ("-c", "user.name=P", "-c", "user.email=p@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", str(folder), *names, *arguments], check=check, capture_output=True, text=True, env=environment
    )
    return done.stdout


def project(folder: Path, files: dict[str, str], *, program: str = PROGRAM) -> Path:
    """A project with one commit and a program.toml beside it, which is not committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Import")
    (folder / "program.toml").write_text(program)
    return folder


def lab(folder: Path, files: dict[str, str] | None = None) -> Ledger:
    """A project and its fresh experiments.git."""
    home = project(folder, files or {"train.py": "RATE = 1\nDEPTH = 2\n"})
    return Ledger.init(folder / "experiments.git", project_path=home)


def fsck(path: Path) -> str:
    """What `git fsck --strict` complains about; empty when the repository is clean."""
    done = subprocess.run(
        ["git", "-C", str(path), "fsck", "--strict", "--no-dangling", "--no-progress"], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
