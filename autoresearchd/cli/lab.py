"""What every command shares: the arguments they all take, and the lab that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoresearchd.ledger import Ledger
    from autoresearchd.program import Program

ProgramFile = Annotated[Path, typer.Option("--program", "-p", help="The program file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]
Which = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its number, or a commit or branch of the lab.")]
DEFAULT_PROGRAM = Path("program.toml")
LONGEST_NUMBER = 6
"""Longer rows of digits are commits."""
BEST_NAMES = ("best", "heads/best", "refs/heads/best")


def load(program: Path) -> tuple[Program, Path]:
    """The program, and where its experiments.git is or will be."""
    from autoresearchd import program as border

    settings = border.load(program)
    return settings, program.resolve().parent / settings.program.experiments


def place_of(program: Path) -> Path:
    """Where the lab is, also while program.toml has a mistake: looking and stopping must not depend on that."""
    from autoresearchd.errors import UserError

    try:
        return load(program)[1]
    except UserError:
        lab = program.resolve().parent / _named(program)
        if not lab.is_dir():
            raise
        return lab


def _named(program: Path) -> str:
    """The experiments.git that a program file names, as far as it can be read."""
    import tomli

    from autoresearchd.program import Subject

    try:
        found = tomli.loads(program.read_text("utf-8"))["program"]["experiments"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None  # the caller says what is wrong with it, or finds the lab where it is by default
    return found if isinstance(found, str) else str(Subject.model_fields["experiments"].default)


def ledger_at(path: Path) -> Ledger:
    """The lab in `path`, opened; pygit2 is only imported by commands that read it."""
    from autoresearchd.ledger import Ledger

    return Ledger(path)


def number_of(ledger: Ledger, which: str) -> int:
    """The experiment that a person means.

    Raises: UserError when nothing here is called so, or it is a best that no evidence leads to.
    """
    from autoresearchd.errors import UserError
    from autoresearchd.ledger.repository import GitFailed, git

    if which.isascii() and which.isdigit() and len(which) <= LONGEST_NUMBER:
        return int(which)
    if which in BEST_NAMES:
        ledger.refuse_unbacked()
    show = ("show", "--no-patch", "--format=%(trailers:key=Experiment,valueonly)")
    try:
        said = git(ledger.path, *show, "--end-of-options", f"{which}^{{commit}}").decode("ascii", "replace").strip()
    except GitFailed:
        raise UserError(
            f"{which!r} is no number, and no commit or branch of {ledger.path}; `autoresearchd log` lists them"
        ) from None
    if not said.isdigit():
        raise UserError(f"{which!r} is no experiment's commit: it has no Experiment trailer; see `autoresearchd log`")
    return int(said)
