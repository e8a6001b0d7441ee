"""The commands that care for a lab: what is missing, what is wrong, the service."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, AsJson, ProgramFile, ledger_at, load
from autoresearchd.report.words import counted, plain

if TYPE_CHECKING:
    from autoresearchd.ledger import Finding, Ledger

commands = typer.Typer()
services = typer.Typer(help="The lab as a systemd service.", no_args_is_help=True)
commands.add_typer(services, name="service")
ForUser = Annotated[bool, typer.Option("--user", help="For your own service manager instead of the machine's.")]


@commands.command()
def doctor(
    program: ProgramFile = DEFAULT_PROGRAM,
    as_json: AsJson = False,
    self_test: Annotated[
        int | None, typer.Option(min=1, help="Try the judge on so many changes of nothing that runs.")
    ] = None,
) -> None:
    """What is ready, what is missing, and the command that mends it."""
    if self_test is not None:
        _self_test(program, self_test)
        return
    from autoresearchd import doctor as examination

    findings = examination.examine(program)
    print(json.dumps(examination.as_json(findings)) if as_json else examination.text(findings))
    sys.exit(1 if any(finding.state == "missing" for finding in findings) else 0)


@commands.command()
def fsck(program: ProgramFile = DEFAULT_PROGRAM, as_json: AsJson = False) -> None:
    """Check everything that must be true of experiments.git; also while the daemon runs."""
    _, path = load(program)
    ledger = ledger_at(path)
    _say(ledger.fsck(), ledger, as_json)


@commands.command()
def backup(
    folder: Path,
    program: ProgramFile = DEFAULT_PROGRAM,
    as_json: AsJson = False,
    back: Annotated[
        bool, typer.Option("--runs-back", help="File again the runs that the copy has and the lab has lost.")
    ] = False,
) -> None:
    """Copy experiments.git to a folder, or bring the copy up to date; `git clone --mirror` of it is the way back."""
    from autoresearchd.ledger import back_up, runs_back

    _, path = load(program)
    if back:
        print(f"{counted(runs_back(ledger_at(path).path, folder), 'run')} brought back from {folder}")
        return
    found = back_up(ledger_at(path).path, folder)
    _say(found, ledger_at(folder), as_json)


def _say(found: Sequence[Finding], ledger: Ledger, as_json: bool) -> None:
    """One sentence a finding, the way out below it; exit code 1 where there is any."""
    if as_json:
        print(json.dumps({"sound": not found, "findings": [asdict(finding) for finding in found]}))
    elif found:
        for finding in found:
            print(f"{plain(finding.what)}\n    → {plain(finding.mend)}")
        print(f"{ledger.path}: {counted(len(found), 'finding')}")
    else:
        size = counted(len(ledger.entries()), "experiment")
        print(f"{ledger.path} is sound: {size}, every step on best has its evidence")
    sys.exit(1 if found else 0)


@services.command()
def install(program: ProgramFile = DEFAULT_PROGRAM, user: ForUser = False) -> None:
    """Write the units of this lab, and show what was done and how to start it."""
    from autoresearchd import units

    elsewhere = units.written_elsewhere(load(program)[0], program.resolve().parent)
    units.install(units.place(program, user=user), print, writable=elsewhere)


@services.command()
def uninstall(program: ProgramFile = DEFAULT_PROGRAM, user: ForUser = False) -> None:
    """Stop the service of this lab and remove its units; the lab stays."""
    from autoresearchd import units

    units.uninstall(units.place(program, user=user), print)


def _self_test(program: Path, count: int) -> None:
    from autoresearchd import selftest
    from autoresearchd.report import live

    settings, path = load(program)
    with live.view(path, settings) as view:
        trial = selftest.self_test(program, count, view)
    print(trial.sentence)
    sys.exit(1 if trial.kept else 0)
