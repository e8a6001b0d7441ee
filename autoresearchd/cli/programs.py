"""The commands for other programs: the MCP server, and what the JSON of the others looks like."""

from __future__ import annotations

import json

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, ProgramFile, load
from autoresearchd.errors import UserError

commands = typer.Typer()


@commands.command()
def mcp(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Serve this lab to a coding agent: the Model Context Protocol on the standard input and output."""
    try:
        import mcp.server.mcpserver  # noqa: F401 - the one that an installation may lack

        from autoresearchd import mcp_server
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; `pip install mcp` brings it") from error
    settings, path = load(program)
    mcp_server.serve(settings, path)


@commands.command()
def schema() -> None:
    """The JSON Schema of what the commands print with `--json`."""
    from autoresearchd.report import shapes

    print(json.dumps(shapes.schema(), indent=1))
