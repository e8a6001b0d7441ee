"""The command line: arguments in, rendered values out; no logic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from autoresearchd import __version__
from autoresearchd.errors import UserError
from autoresearchd.report.lines import default_logging
from autoresearchd.report.words import plain

if TYPE_CHECKING:
    from autoresearchd.ledger import Ledger
    from autoresearchd.program import Program

app = typer.Typer(
    name="autoresearchd",
    help="A git-native research daemon: every experiment a branch, every outcome a commit trailer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
services = typer.Typer(help="The lab as a systemd service.", no_args_is_help=True)
app.add_typer(services, name="service")
ForUser = Annotated[bool, typer.Option("--user", help="For your own service manager instead of the machine's.")]
ProgramFile = Annotated[Path, typer.Option("--program", "-p", help="The program file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]
DEFAULT_PROGRAM = Path("program.toml")


def main() -> NoReturn:
    """Run the command line: a person's mistake is one sentence and exit code 2, Ctrl-C is 130, ours is a traceback."""
    default_logging()
    try:
        app(standalone_mode=False)
    except UserError as error:
        print(f"autoresearchd: {plain(str(error))}", file=sys.stderr)
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        show = getattr(error, "show", None)  # the argument parser's own sentences
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(0)


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


@app.command()
def init(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Make experiments.git from what is committed in the project; the project itself is never touched."""
    from autoresearchd.ledger import Ledger, project_state

    settings, path = _load(program)
    project = program.resolve().parent / settings.program.project
    state = project_state(project)
    editable = [name for name in state.tracked if settings.may_edit(name)]
    if not editable:
        globs = ", ".join(settings.program.editable)
        raise UserError(
            f"no committed file of {project} matches program.editable ({globs}); commit it or mend the glob"
        )
    Ledger.init(path, project_path=project)
    if state.dirty:
        shown = ", ".join(state.dirty[:5]) + (" …" if len(state.dirty) > 5 else "")
        print(f"note: {len(state.dirty)} uncommitted changes are not in the lab ({shown}); what is committed is used")
    print(f"{path}: best is {state.head[:10]} of {state.branch}, {len(editable)} files may be edited")


@app.command()
def run(
    program: ProgramFile = DEFAULT_PROGRAM,
    experiments: Annotated[int | None, typer.Option(min=0, help="Stop after this many more experiments.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.0, help="Begin nothing new after this many hours.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop at a metric, as in 'val_bpb<1.2'.")] = None,
) -> None:
    """Research until the budget is spent, the target is reached, or a signal comes."""
    from autoresearchd import service
    from autoresearchd.report import live, summary

    settings, path = _load(program)
    request = service.Request(
        program=program, experiments=experiments, hours=hours, target=_target(until, settings) if until else None
    )
    with live.view(path, settings) as view:
        status = service.run(request, view)
    print(summary.text(_ledger(path), status))
    if status.why.endswith("SIGINT"):
        sys.exit(130)


@app.command()
def status(program: ProgramFile = DEFAULT_PROGRAM, as_json: AsJson = False) -> None:
    """What the daemon does now, and how far it is."""
    from autoresearchd import lock
    from autoresearchd.report import status as report

    _, path = _load(program)
    if not path.is_dir():
        raise UserError(f"{path} does not exist; `autoresearchd init` makes it")
    data, holder = report.read(path), lock.holder(path)
    print(json.dumps(report.as_json(data, holder)) if as_json else report.text(data, holder))


@app.command()
def log(
    program: ProgramFile = DEFAULT_PROGRAM,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Newest experiments to show.")] = 20,
    verdict: Annotated[str | None, typer.Option(help="Only this verdict.")] = None,
    proposer: Annotated[str | None, typer.Option(help="Only this proposer.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only titles with this text.")] = None,
    as_json: AsJson = False,
) -> None:
    """The experiments as a table, newest last."""
    from autoresearchd.report import log as report

    settings, path = _load(program)
    rows = report.select(_ledger(path), newest=number, verdict=verdict, proposer=proposer, grep=grep)
    if as_json:
        print(json.dumps(report.as_json(rows, settings.metric)))
    else:
        report.table(rows, settings.metric)


@app.command()
def show(number: int, program: ProgramFile = DEFAULT_PROGRAM, as_json: AsJson = False) -> None:
    """One experiment: hypothesis, evidence, runs, curve and diff."""
    from autoresearchd.report import show as report

    settings, path = _load(program)
    ledger = _ledger(path)
    found = ledger.find(number)
    if found is None:
        raise UserError(f"there is no experiment {number:04d} in {path}; `autoresearchd log` lists them")
    if as_json:
        print(json.dumps(report.as_json(ledger, found, settings.metric)))
    else:
        report.page(ledger, found, settings.metric)


@app.command()
def propose(
    source: Annotated[
        str, typer.Argument(help="A patch file, `-` for a patch on stdin, or a branch of the project.")
    ] = "",
    program: ProgramFile = DEFAULT_PROGRAM,
    title: Annotated[str | None, typer.Option(help="Title of a patch that brings none.")] = None,
    llm: Annotated[bool, typer.Option("--llm", help="What the language model would be asked; with --dry-run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the prompt, its tokens and the price.")] = False,
) -> None:
    """Queue an idea of yours: it is trained and judged like any other."""
    settings, path = _load(program)
    if llm != dry_run or bool(source) == llm:
        raise UserError("give an idea to queue (a patch, `-` or a branch), or `--llm --dry-run`")
    if llm:
        from autoresearchd import rehearsal

        print(rehearsal.text(settings, _ledger(path)))
        return
    ledger = _ledger(path)
    if source == "-":
        ref = ledger.submit_patch(sys.stdin.buffer.read(), title=title or "a patch from stdin")
    elif Path(source).is_file():
        ref = ledger.submit_patch(Path(source).read_bytes(), title=title or Path(source).stem)
    else:
        ref = ledger.submit_branch(program.resolve().parent / settings.program.project, source)
    print(f"queued as {ref}")


@app.command()
def pause(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Start nothing new until `resume`; what trains now goes on."""
    _, path = _load(program)
    _ledger(path).pause_switch.touch()
    print("paused; `autoresearchd resume` goes on")


@app.command()
def resume(program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Go on after `pause`."""
    _, path = _load(program)
    _ledger(path).pause_switch.unlink(missing_ok=True)
    print("resumed")


@app.command()
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


@services.command()
def install(program: ProgramFile = DEFAULT_PROGRAM, user: ForUser = False) -> None:
    """Write the units of this lab, and show what was done and how to start it."""
    from autoresearchd import units

    _load(program)
    units.install(units.place(program, user=user), print)


@services.command()
def uninstall(program: ProgramFile = DEFAULT_PROGRAM, user: ForUser = False) -> None:
    """Stop the service of this lab and remove its units; the lab stays."""
    from autoresearchd import units

    units.uninstall(units.place(program, user=user), print)


def _self_test(program: Path, count: int) -> None:
    from autoresearchd import selftest
    from autoresearchd.report import live

    settings, path = _load(program)
    with live.view(path, settings) as view:
        trial = selftest.self_test(program, count, view)
    print(trial.sentence)
    sys.exit(1 if trial.kept else 0)


def _load(program: Path) -> tuple[Program, Path]:
    """The program, and where its experiments.git is or will be."""
    from autoresearchd.program import load

    settings = load(program)
    return settings, program.resolve().parent / settings.program.experiments


def _ledger(path: Path) -> Ledger:
    from autoresearchd.ledger import Ledger

    return Ledger(path)


def _target(until: str, program: Program) -> float:
    """The number in `val_bpb<1.2`, whose name and direction must be the program's."""
    metric = program.metric
    sign = "<" if metric.direction == "lower" else ">"
    found = re.fullmatch(rf"\s*{re.escape(metric.name)}\s*{sign}=?\s*(\S+)\s*", until)
    number: Any = None
    if found:
        try:
            number = float(found[1])
        except ValueError:
            found = None
    if not found:
        raise UserError(f"--until {until!r} is not understood: write it as '{metric.name}{sign}1.23'")
    return float(number)
