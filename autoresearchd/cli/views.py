"""The commands that look: what the daemon does, what it did, one experiment."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, AsJson, ProgramFile, Which, ledger_at, load, number_of, place_of
from autoresearchd.errors import UserError

commands = typer.Typer()


@commands.command()
def status(program: ProgramFile = DEFAULT_PROGRAM, as_json: AsJson = False) -> None:
    """What the daemon does now, and how far it is."""
    from autoresearchd import lock
    from autoresearchd.report import status as report

    path = place_of(program)
    if not path.is_dir():
        raise UserError(f"{path} does not exist; `autoresearchd init` makes it")
    holder = lock.holder(path)
    data, holder = (report.read(path), holder) if holder is not None else report.look(ledger_at(path))
    print(json.dumps(report.as_json(data, holder)) if as_json else report.text(data, holder))


@commands.command()
def log(
    program: ProgramFile = DEFAULT_PROGRAM,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Newest experiments to show.")] = 20,
    verdict: Annotated[str | None, typer.Option(help="Only this verdict.")] = None,
    proposer: Annotated[str | None, typer.Option(help="Only this proposer.")] = None,
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what was opened since: 12h, 2d, 2026-11-20.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only titles with this text.")] = None,
    graph: Annotated[bool, typer.Option("--graph", help="What grew on what: best as a trunk.")] = False,
    as_json: AsJson = False,
) -> None:
    """The experiments as a table, newest last."""
    from autoresearchd.report import log as report

    settings, path = load(program)
    ledger, from_then = ledger_at(path), report.moment(since, now=time.time()) if since else None
    wanted = {"verdict": verdict, "proposer": proposer, "category": category, "grep": grep}
    rows = report.select(ledger, newest=number, since=from_then, **wanted)
    if graph and not as_json:
        from autoresearchd.report import graph as drawing

        drawing.table(ledger, rows, settings.metric)
    elif as_json:
        print(json.dumps(report.as_json(rows, settings.metric)))
    else:
        report.table(rows, settings.metric)


@commands.command()
def show(which: Which, program: ProgramFile = DEFAULT_PROGRAM, as_json: AsJson = False) -> None:
    """One experiment: hypothesis, evidence, runs, curve and diff."""
    from autoresearchd.report import show as report

    settings, path = load(program)
    ledger = ledger_at(path)
    number = number_of(ledger, which)
    found = ledger.find(number)
    if found is None:
        raise UserError(report.absent(ledger, number))
    if as_json:
        print(json.dumps(report.as_json(ledger, found, settings.metric)))
    else:
        report.page(ledger, found, settings.metric)
