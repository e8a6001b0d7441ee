"""The command line: arguments in, rendered values out; no logic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from autoresearchd import __version__
from autoresearchd.cli import care, elsewhere, handover, morning, page, programs, research, views, worth
from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.report.lines import default_logging
from autoresearchd.report.words import plain

app = typer.Typer(
    name="autoresearchd",
    help="A git-native research daemon: every experiment a branch, every outcome a commit trailer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for room in (research, views, morning, handover, elsewhere, worth, page, programs, care):
    app.add_typer(room.commands)


def main() -> NoReturn:
    """Run the command line: a person's mistake is one sentence and exit code 2, Ctrl-C is 130, ours is a traceback.

    A reader that has gone (`| head -1`) is no mistake of anybody's, and is not spoken of.
    """
    try:
        _run()
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter will flush once more


def _run() -> NoReturn:
    default_logging()
    try:
        app(standalone_mode=False, prog_name="autoresearchd")
    except UserError as error:
        print(f"autoresearchd: {plain(str(error))}", file=sys.stderr)
        sys.exit(2)
    except CorruptRecord as error:
        print(f"autoresearchd: {plain(str(error))}; `autoresearchd fsck` says what is wrong", file=sys.stderr)
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if (said := _misread(error)) is None:
            raise
        print(said, file=sys.stderr, end="")
        sys.exit(2)
    sys.exit(0)


def _misread(error: Any) -> str | None:
    """The sentence of the argument parser, with the way out; None of an error that is not its own."""
    if not hasattr(error, "format_message"):
        return None
    words = plain(error.format_message()).rstrip(".")
    if not words:  # it was called with nothing at all, and has shown its help
        return ""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "autoresearchd"
    return f"autoresearchd: {words[0].lower()}{words[1:]}; `{command} --help` says what it takes\n"


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
