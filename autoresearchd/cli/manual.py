"""The manual page, made from the commands themselves: `python -m autoresearchd.cli.manual > docs/autoresearchd.1`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from autoresearchd import __version__
from autoresearchd.cli import app

EXAMPLES = (
    ("A lab of the project in this folder, and a night in it:", "autoresearchd init\nautoresearchd run --hours 9"),
    ("The morning:", "autoresearchd report\nautoresearchd log --verdict keep\nautoresearchd show 42"),
    ("The same by git alone:", "git --git-dir=experiments.git kept\ngit --git-dir=experiments.git log best"),
)
FILES = (
    ("program.toml", "What better means, what may be changed, what it may cost."),
    ("experiments.git", "The lab: a bare git repository in which every experiment is a branch."),
    ("experiments.git/autoresearchd/", "Not history: lock, status.json, control files, reports, live runs."),
)
EXITS = (
    ("0", "Done."),
    ("1", "Done, and the answer is no: something is missing, or numbers differ."),
    ("2", "A mistake in the arguments or in program.toml, said in one sentence."),
    ("130", "Interrupted."),
)


def manual() -> str:
    """The page in troff's man macros, the same for the same version."""
    group = typer.main.get_command(app)
    lines = [
        f'.TH AUTORESEARCHD 1 "" "autoresearchd {__version__}" "User Commands"',
        ".SH NAME",
        "autoresearchd \\- " + _plain((group.help or "").partition(":")[0].lower().removeprefix("a ")),
        ".SH SYNOPSIS",
        ".B autoresearchd\n.I COMMAND\n[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        _plain(group.help or ""),
        ".SH COMMANDS",
        *_commands(group, ""),
        ".SH FILES",
        *_pairs(FILES),
        ".SH EXIT STATUS",
        *_pairs(EXITS),
        ".SH EXAMPLES",
        *(f".PP\n{_plain(text)}\n.PP\n.nf\n.RS\n{_plain(command)}\n.RE\n.fi" for text, command in EXAMPLES),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
            continue
        parameters = [each for each in command.params if not each.hidden]
        arguments = [each for each in parameters if each.param_type_name == "argument"]
        yield f".SS {_plain(prefix + name)}{''.join(map(_usage, arguments))}"
        yield _plain(_paragraph(command.help))
        yield from _pairs((_usage(each).strip(), each.help) for each in arguments if each.help)
        options = [each for each in parameters if each.param_type_name == "option"]
        yield from (_option(each) for each in options)


def _usage(argument: Any) -> str:
    name = argument.name.upper()
    return f" {name}" if argument.required else f" [{name}]"


def _option(option: Any) -> str:
    spelled = ", ".join(f"\\fB{_plain(each)}\\fR" for each in (*option.opts, *option.secondary_opts))
    if not option.is_flag:
        spelled += f" \\fI{_plain(max(option.opts, key=len).lstrip('-').upper())}\\fR"
    default = "" if option.is_flag or option.default in (None, "") else f" Default: {option.default}."
    return f".TP\n{spelled}\n{_plain(_paragraph(option.help) + default)}"


def _pairs(pairs: Any) -> Iterator[str]:
    return (f".TP\n\\fB{_plain(name)}\\fR\n{_plain(_paragraph(text))}" for name, text in pairs)


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _plain(text: str) -> str:
    """Words in which troff sees no request and no escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


if __name__ == "__main__":
    print(manual(), end="")
