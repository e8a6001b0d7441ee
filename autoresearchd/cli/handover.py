"""The commands of the morning after: kept experiments into the real project, and measured again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autoresearchd.cli.lab import DEFAULT_PROGRAM, ProgramFile, Which, ledger_at, load, number_of
from autoresearchd.errors import UserError

commands = typer.Typer()


@commands.command()
def export(
    numbers: Annotated[list[int] | None, typer.Argument(help="Kept experiments; none means all of best.")] = None,
    program: ProgramFile = DEFAULT_PROGRAM,
    patches: Annotated[Path | None, typer.Option(help="A folder for patches, to be applied by `git am`.")] = None,
    branch: Annotated[str | None, typer.Option(help="A new branch in the project.")] = None,
    onto: Annotated[str, typer.Option(help="The project's commit that they are replayed on.")] = "HEAD",
    clone: Annotated[Path | None, typer.Option(help="Another clone than the program's project.")] = None,
    squash: Annotated[bool, typer.Option("--squash", help="One commit of all.")] = False,
    promoted: Annotated[bool, typer.Option("--promoted", help="Only what also holds on every larger scale.")] = False,
) -> None:
    """Bring kept experiments into the real project: as patches, or as one new branch that is not checked out."""
    from autoresearchd import handover

    if (patches is None) == (branch is None):
        raise UserError("say where to: `--patches FOLDER` or `--branch NAME`")
    settings, path = load(program)
    place = clone or program.resolve().parent / settings.program.project
    wanted = handover.Export(numbers=tuple(numbers or ()), clone=place, onto=onto, squash=squash, promoted=promoted)
    if patches is not None:
        done = handover.as_patches(ledger_at(path), settings, wanted, patches)
    else:
        done = handover.as_branch(ledger_at(path), settings, wanted, branch or "")
    print(done.cover)
    for row in done.already:
        print(f"{row.experiment.number:04d} changes nothing on {onto}: it is there already")
    many = "1 patch" if len(done.files) == 1 else f"{len(done.files)} patches"
    where = f"{many} in {patches}" if patches is not None else f"branch {branch} in {place}"
    print(where)


@commands.command()
def rebase(
    program: ProgramFile = DEFAULT_PROGRAM,
    onto: Annotated[str, typer.Option(help="The project's commit that best is to grow on.")] = "HEAD",
) -> None:
    """Bring the project's new commits under best: what was kept is replayed on them, and measured there."""
    from autoresearchd import rebase as moving
    from autoresearchd.report.words import figure, gain_figure, gain_of, plain

    settings, path = load(program)
    ledger = ledger_at(path)
    done = moving.rebase(settings, program.resolve().parent, ledger, onto, lambda words: print(plain(words)))
    experiment, verdict = done.baseline.experiment, done.baseline.verdict
    gain = gain_of(verdict, settings.metric.direction)
    gained = f", a gain of {gain_figure(gain, verdict.std_error)} on the project's own" if gain is not None else ""
    print(f"{settings.metric.compared} {figure(verdict.metric)}{gained}")
    print(f"best is {experiment.number:04d}, {plain(experiment.title)}; {done.line} is the line before")
    for title in done.queued:
        print(f"queued: {plain(title)}")


@commands.command()
def reproduce(which: Which, program: ProgramFile = DEFAULT_PROGRAM) -> None:
    """Train an experiment again with its seeds and budget, beside the numbers on record; exit code 1 if they differ."""
    from autoresearchd import reproduce as again
    from autoresearchd.report.words import figure

    settings, path = load(program)
    ledger = ledger_at(path)
    done = again.reproduce(settings, program.resolve().parent, ledger, number_of(ledger, which), print)
    for pair in done.pairs:
        now = figure(pair.now) if pair.now is not None else pair.why
        print(f"seed {pair.seed}: {done.metric} {figure(pair.recorded)} on record, {now} now")
    if done.difference is not None:
        print(f"mean difference {done.difference:+.6f}, standard error {done.std_error:.6f}")
    print("it holds" if done.holds else "it does not hold")
    sys.exit(0 if done.holds else 1)
