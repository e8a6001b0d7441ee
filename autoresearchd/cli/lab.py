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
DEFAULT_PROGRAM = Path("program.toml")


def load(program: Path) -> tuple[Program, Path]:
    """The program, and where its experiments.git is or will be."""
    from autoresearchd import program as border

    settings = border.load(program)
    return settings, program.resolve().parent / settings.program.experiments


def ledger_at(path: Path) -> Ledger:
    """The lab in `path`, opened; pygit2 is only imported by commands that read it."""
    from autoresearchd.ledger import Ledger

    return Ledger(path)
