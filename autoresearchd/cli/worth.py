"""The command that asks what each kept change is worth today."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, AsJson, ProgramFile, ledger_at, load
from autoresearchd.errors import UserError

commands = typer.Typer()


@commands.command()
def ablate(
    program: ProgramFile = DEFAULT_PROGRAM,
    listed: Annotated[bool, typer.Option("--list", help="Only show what is known, and train nothing.")] = False,
    parts: Annotated[bool, typer.Option("--parts", help="Then the single parts of each change as well.")] = False,
    experiments: Annotated[int | None, typer.Option(min=1, help="Take out at most this many.")] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Begin nothing new after this.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take each kept change out of best once, and measure what it is worth today; dead weight goes for good.

    A best that got smaller and is not worse by more than `accept.min_delta` is kept. The daemon does the same now and
    then, and when nobody else has an idea: `[propose.ablate]`.
    """
    from autoresearchd.report import worth_table
    from autoresearchd.report.worth import worth

    settings, path = load(program)
    if as_json and not listed:
        raise UserError("--json shows what is known: give --list with it")
    why = "" if listed else _session(program, experiments, hours, parts=parts)
    found = worth(ledger_at(path).concluded(), settings.metric.direction)
    if as_json:
        print(json.dumps(worth_table.as_json(found)))
    else:
        worth_table.table(found)
    if why.endswith("SIGINT"):
        sys.exit(130)


def _session(program: Path, experiments: int | None, hours: float | None, *, parts: bool) -> str:
    """Why it ended."""
    from autoresearchd import service
    from autoresearchd.report import live
    from autoresearchd.request import Request

    settings, path = load(program)
    if not any(entry.outcome == "keep" for entry in ledger_at(path).entries()):
        raise UserError("nothing was kept yet, so there is nothing to take out; `autoresearchd run` researches on")
    request = Request(program=program, experiments=experiments, hours=hours, only_ablations=True, parts=parts)
    with live.view(path, settings) as view:
        return service.run(request, view).why
