"""The commands of the morning: the report, and the lab on a whole screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, AsJson, ProgramFile, ledger_at, load
from autoresearchd.errors import UserError

if TYPE_CHECKING:
    from autoresearchd.report.facts import Facts

commands = typer.Typer()


@commands.command()
def report(
    program: ProgramFile = DEFAULT_PROGRAM,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; `-` for stdout. Default: report.html.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--md", help="Markdown, on stdout.")] = False,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Only the picture, as a .png, .svg or .pdf file.")] = None,
    file: Annotated[bool, typer.Option("--file", help="Where [report] says, and run its hook.")] = False,
) -> None:
    """What the lab found, as one HTML file that needs no other and no network."""
    from autoresearchd.report.morning import filing, pages

    if sum((as_markdown, as_json, plot is not None, file)) > 1 or (output and (plot or file)):
        raise UserError("--md, --json, --plot and --file exclude each other, and the last two name their own file")
    if file:
        print(filing.file(program))
        return
    made = filing.read(program)
    if plot:
        _draw(made.facts, plot)
        return
    text = pages.markdown(made) if as_markdown else json.dumps(pages.as_json(made)) if as_json else pages.html(made)
    output = output or Path("-" if as_markdown or as_json else "report.html")
    if output == Path("-"):
        print(text)
        return
    with filing.writing(output):
        filing.replace(output, text)
    print(output)


def _draw(facts: Facts, path: Path) -> None:
    from autoresearchd.report.morning import filing, plot

    with filing.writing(path):
        plot.write(facts, path)
    print(path)


@commands.command()
def top(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """The lab on the whole terminal, live: devices, curves against best's, queue, verdicts; keys to pause and skip."""
    from autoresearchd.report.top import watch

    settings, path = load(program)
    watch(ledger_at(path), settings.metric)
