"""Whether a start may go on with a lab: by the settings that measured it, and not with code that was mended since."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Ending
from autoresearchd.ledger import Ledger, project_state
from autoresearchd.ledger.repository import git, git_in
from autoresearchd.program import Program
from autoresearchd.reload import identity, refuse_another_lab
from autoresearchd.trailers import parse

WORDS = b".md"
"""Files for people, of which no training is made."""
LISTED = ("ls-tree", "-r", "-z", "--full-tree")


def admit(ledger: Ledger, program: Program, file: Path) -> None:
    """Go on only by what the lab was measured by; before its baseline has a verdict that may still change.

    `file` is where the program was read.

    Labs from before that was noted know the name of their metric alone.

    Raises: UserError that says what to do instead.
    """
    refuse_nothing_editable(ledger, program)
    baseline, noted = ledger.baseline(), ledger.measured_by()
    if isinstance(baseline, Concluded):
        refuse_another_lab(noted, program)
        _refuse_another_metric(ledger, baseline, program)
    else:
        _refuse_broken_code(ledger, file.resolve().parent / program.program.project, but=file.name)
        noted = {}
    ledger.note_measured_by({**identity(program), **noted})


def refuse_nothing_editable(ledger: Ledger, program: Program) -> None:
    """No idea could ever come. Raises: UserError where best has no file that an experiment may change."""
    editable(program, ledger.files(ledger.best().tree, program.may_edit), of=f"best in {ledger.path}")


def editable(program: Program, paths: Iterable[str], *, of: str) -> tuple[str, ...]:
    """The files that an experiment may change. Raises: UserError where there is none; `of` says what was looked at."""
    if not (found := tuple(path for path in paths if program.may_edit(path))):
        globs = ", ".join(program.program.editable)
        raise UserError(f"no committed file of {of} matches program.editable ({globs}); commit it or mend the glob")
    return found


def _refuse_another_metric(ledger: Ledger, baseline: Concluded, program: Program) -> None:
    message = git(ledger.path, "show", "--no-patch", "--format=%B", baseline.experiment.commit)
    measured = parse(message.decode("utf-8", "replace")).metric
    if measured and measured != program.metric.compared:
        raise UserError(
            f"{ledger.path} was measured by {measured}, not by program.toml's {program.metric.compared}; "
            "set `program.experiments` to a new experiments.git and `autoresearchd init` it"
        )


def _refuse_broken_code(ledger: Ledger, project: Path, *, but: str) -> None:
    """Who mends and commits a script that did not train would else see the old one fail again and again.

    What is mended in `but`, the program itself, holds for the lab that there is.
    """
    best = ledger.best()
    runs = ledger.results(best.tree)
    if not runs or any(run.ending is Ending.FINISHED for run in runs):
        return
    try:
        head = project_state(project).head
    except UserError:
        return  # the project need not be here any more
    here, there = git_in(project, *LISTED, head), git(ledger.path, *LISTED, best.commit)
    if _trained(here, but) != _trained(there, but):
        why = runs[-1].why or runs[-1].ending
        raise UserError(
            f"{ledger.path} is of {best.commit[:10]}, which does not train ({why}), and the project is at {head[:10]} "
            "now: move the lab away, and `autoresearchd init` makes a new one of that"
        )


def _trained(listed: bytes, but: str) -> frozenset[bytes]:
    """What a training is made of: files, and what is in them."""
    left_out = (WORDS, f"/{but}".encode(), f"\t{but}".encode())
    return frozenset(entry for entry in listed.split(b"\0") if not entry.endswith(left_out))
