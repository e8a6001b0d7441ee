"""The command of the page."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, ProgramFile, load

commands = typer.Typer()
TOKEN = "AUTORESEARCHD_PAGE_TOKEN"  # noqa: S105 - the name of the variable


@commands.command()
def serve(
    program: ProgramFile = DEFAULT_PROGRAM,
    host: Annotated[str, typer.Option(help="Address to listen on; off loopback a token is demanded.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    control: Annotated[bool, typer.Option("--control", help="Allow ideas, pause, resume and skip.")] = False,
    name: Annotated[list[str] | None, typer.Option(help="One more name that the page is called by.")] = None,
) -> None:
    """Show the lab in a browser, live; $AUTORESEARCHD_PAGE_TOKEN is the token that it demands, where set."""
    from autoresearchd.page.serve import serve as listen

    settings, path = load(program)
    names, token = tuple(name or ()), os.environ.get(TOKEN, "")
    listen(settings, path, host=host, port=port, control=control, token=token, names=names, say=_say)


def _say(address: str) -> None:
    print(f"open {address} (Ctrl-C ends it)", flush=True)
