"""The command line: arguments in, rendered values out; no logic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from autoresearchd import __version__
from autoresearchd.cli import care, elsewhere, handover, morning, page, programs, research, views, worth
from autoresearchd.errors import CorruptRecord, NotYet, UserError
from autoresearchd.report.lines import default_logging
from autoresearchd.report.words import plain

REFUSALS = {
    errno.EACCES: "run it as whoever owns the lab",
    errno.EPERM: "run it as whoever owns the lab",
    errno.EROFS: "it can only be looked at there",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
}
"""What a machine may answer in place of doing it, and the way out."""
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

    A service manager, which tries again, is told by 75 that what stopped us may pass by itself.
    """
    default_logging()
    is_service = "NOTIFY_SOCKET" in os.environ  # it is taken out on the way
    try:
        try:
            app(standalone_mode=False, prog_name="autoresearchd")
        finally:
            _flush()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if (said := _sentence(error)) is None:
            raise
        print(said, file=sys.stderr, end="")
        sys.exit(os.EX_TEMPFAIL if is_service and _may_pass(error) else 2)
    sys.exit(0)


def _flush() -> None:
    """A reader that has gone (`| head -1`) is no mistake of anybody's, and is not spoken of."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter will flush once more
        if not isinstance(error, BrokenPipeError):
            raise


def _sentence(error: Any) -> str | None:
    """What a person is told of a mistake, or of a machine that does not let us; None of an error of ours."""
    if isinstance(error, UserError):
        said = str(error)
    elif isinstance(error, CorruptRecord):
        said = error.sentence
    elif isinstance(error, OSError) and error.errno in REFUSALS:
        said = f"{error.filename or 'the output'}: {error.strerror}; {REFUSALS[error.errno]}"
    elif type(error) is OSError and error.errno is None:  # in our own words already: git's could not write
        said = str(error)
    elif hasattr(error, "format_message"):
        said = _misread(error)
    else:
        return None
    return f"autoresearchd: {plain(said)}\n" if said else ""


def _may_pass(error: Exception) -> bool:
    """Whether the same may work later without a word of a person's."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, NotYet) or is_full


def _misread(error: Any) -> str:
    """The sentence of the argument parser, with the way out; empty where its help was asked for by saying nothing."""
    words = error.format_message().strip().rstrip(".")
    command = error.ctx.command_path if getattr(error, "ctx", None) else "autoresearchd"
    return f"{words[0].lower()}{words[1:]}; `{command} --help` says what it takes" if words else ""


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
