"""The command that brings a memory along: what another program has tried."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, ProgramFile, ledger_at, load
from autoresearchd.report.words import counted

commands = typer.Typer()


@commands.command(name="import")
def bring_in(
    file: Annotated[
        Path | None, typer.Argument(help="A results.tsv or an autoresearch.jsonl; none reads the branch's results.tsv.")
    ] = None,
    program: ProgramFile = DEFAULT_PROGRAM,
    clone: Annotated[Path | None, typer.Option("--from", help="A clone that has the commits; only read.")] = None,
    branch: Annotated[str | None, typer.Option(help="The branch of the clone on which what was kept lies.")] = None,
    name: Annotated[str | None, typer.Option(help="What the records are called; default: after the file.")] = None,
    metric: Annotated[str | None, typer.Option(help="What the file calls the program's metric.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Queue all that was kept there, as one idea on best.")] = False,
) -> None:
    """Remember what karpathy/autoresearch or pi-autoresearch has tried: records for views and proposers.

    `best` stays where it is, and nothing here is compared with their numbers; repeated, it adds what is new.
    """
    from autoresearchd import importing

    settings, path = load(program)
    source = importing.Source(file=file, clone=clone, branch=branch, name=name, metric=metric)
    done = importing.bring_in(settings, ledger_at(path), source, queue=queue)
    if done.added:
        first, last = (row.experiment.number for row in (done.added[0], done.added[-1]))
        size = f"{counted(len(done.added), 'experiment')} of {done.name} as {first:04d} to {last:04d}"
        print(f"imported {size}: {done.kept} kept there, {done.with_code} with their code")
    else:
        print(f"all {done.already} experiments of {done.name} are here already; nothing was added")
    if done.queued:
        print(f"queued as {done.queued}")
