"""The commands that research: begin a lab, run it, hold it, bring it an idea."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, ProgramFile, ledger_at, load, place_of
from autoresearchd.errors import UserError

if TYPE_CHECKING:
    from autoresearchd.ledger import Ledger
    from autoresearchd.program import Program
    from autoresearchd.proposal import Change

commands = typer.Typer()


@commands.command()
def init(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Make experiments.git from what is committed in the project; the project itself is never touched."""
    from autoresearchd import admission
    from autoresearchd.ledger import Ledger, project_state
    from autoresearchd.report.words import counted

    settings, path = load(program)
    project = program.resolve().parent / settings.program.project
    state = project_state(project)
    editable = admission.editable(settings, state.tracked, of=str(project))
    Ledger.init(path, project_path=project)
    if state.dirty:
        shown = ", ".join(state.dirty[:5]) + (" …" if len(state.dirty) > 5 else "")
        many = counted(len(state.dirty), "uncommitted change")
        print(f"note: not in the lab: {many} ({shown}); what is committed is used")
    print(f"{path}: best is {state.head[:10]} of {state.branch}, {counted(len(editable), 'file')} may be edited")


@commands.command()
def run(
    program: ProgramFile = DEFAULT_PROGRAM,
    experiments: Annotated[
        int | None, typer.Option(min=0, help="Stop after this many more experiments that trained.")
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0.0, help="Begin nothing new after this many hours.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop at a metric, as in 'val_bpb<1.2'.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer Prometheus at this port of 127.0.0.1.")
    ] = None,
) -> None:
    """Research until the budget is spent, the target is reached, or a signal comes."""
    from autoresearchd import service
    from autoresearchd.report import live, summary
    from autoresearchd.report.morning import schedule
    from autoresearchd.request import Request

    settings, path = load(program)
    request = Request(
        program=program,
        experiments=experiments,
        hours=hours,
        target=_target(until, settings) if until else None,
        metrics_port=metrics_port,
    )
    with live.view(path, settings) as view, schedule.mornings(view, program) as mornings:
        status = service.run(request, mornings)
    print(summary.text(ledger_at(path), status))
    if said := schedule.at_end(program, status, mornings):
        print(said)
    if status.why.endswith("SIGINT"):
        sys.exit(130)


@commands.command()
def propose(
    source: Annotated[
        str, typer.Argument(help="A patch file, `-` for a patch on stdin, or a branch of the project.")
    ] = "",
    program: ProgramFile = DEFAULT_PROGRAM,
    title: Annotated[str | None, typer.Option(help="Title of a patch that brings none.")] = None,
    words: Annotated[
        str | None, typer.Option(help="In place of a change: a wish, of which the model makes one.")
    ] = None,
    llm: Annotated[bool, typer.Option("--llm", help="What the language model would be asked; with --dry-run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the prompt, its tokens and the price.")] = False,
) -> None:
    """Queue an idea of yours: it is trained and judged like any other."""
    settings, path = load(program)
    if llm != dry_run or [bool(source), words is not None, llm].count(True) != 1:
        raise UserError("give an idea to queue (a patch, `-`, a branch, or `--words`), or `--llm --dry-run`")
    if llm:
        from autoresearchd import rehearsal

        print(rehearsal.text(settings, ledger_at(path)))
        return
    if words is not None:
        _wish(ledger_at(path), words)
        return
    project = program.resolve().parent / settings.program.project
    print(f"queued as {_queued(ledger_at(path), source, title, project, settings)}")


def _wish(ledger: Ledger, words: str) -> None:
    from autoresearchd.report import status as reading

    print(f"queued as {ledger.submit_wish(words)}")
    if why := reading.wishes_wait(reading.read(ledger.path), ledger.holder()):
        print(f"it waits there: {why}")


def _queued(ledger: Ledger, source: str, title: str | None, project: Path, program: Program) -> str:
    """The branch of a patch, or of a branch of the project. Raises: UserError."""
    from autoresearchd.judge import improper

    def refuse(changes: Sequence[Change]) -> str:
        return improper(changes, program)

    if source == "-":
        return ledger.submit_patch(sys.stdin.buffer.read(), title=title or "a patch from stdin", refuse=refuse)
    if Path(source).is_file():
        return ledger.submit_patch(Path(source).read_bytes(), title=title or Path(source).stem, refuse=refuse)
    return ledger.submit_branch(project, source, refuse=refuse)


@commands.command()
def pause(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Start nothing new until `resume`; what trains now goes on."""
    path = place_of(program)
    ledger_at(path).pause_switch.touch()
    print("paused; `autoresearchd resume` goes on")


@commands.command()
def resume(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Go on after `pause`; take back `stop --after-run`."""
    from autoresearchd import controls

    path = place_of(program)
    ledger_at(path).pause_switch.unlink(missing_ok=True)
    controls.stop_switch(path).unlink(missing_ok=True)
    print("resumed")


@commands.command()
def stop(
    program: ProgramFile = DEFAULT_PROGRAM,
    after_run: Annotated[bool, typer.Option("--after-run", help="Let what trains now be judged first.")] = False,
) -> None:
    """End the daemon: what trains now is ended with it and its experiment left open for the next start."""
    from autoresearchd import stopping

    path = place_of(program)
    stopping.stop(path, print, after_run=after_run)


@commands.command()
def skip(number: int, program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """End an open experiment: its training is stopped, its verdict is `skipped`."""
    from autoresearchd.report.words import skip_asked

    ledger_at(place_of(program)).skip(number)
    print(skip_asked(number))


def _target(until: str, program: Program) -> float:
    """The number in `val_bpb<1.2`, whose name and direction must be the program's."""
    metric = program.metric
    sign = "<" if metric.direction == "lower" else ">"
    found = re.fullmatch(rf"\s*{re.escape(metric.name)}\s*{sign}=?\s*(\S+)\s*", until)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--until {until!r} is not understood: write it as '{metric.name}{sign}1.23'")
    return number
