"""`export`: kept experiments on their way into the real project, with what speaks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded
from autoresearchd.ledger import Author, Handover, Ledger, line_onto
from autoresearchd.program import Program
from autoresearchd.report.cover import cover
from autoresearchd.report.summary import on_best

COVER = "0000-cover.txt"
"""Not `.patch`: `git am folder/*.patch` takes the patches alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be handed over: `numbers` of kept experiments (none: all), onto which commit of which clone."""

    numbers: tuple[int, ...] = ()
    clone: Path
    onto: str
    squash: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was handed over."""

    cover: str
    already: tuple[Concluded, ...]
    """Whose change is there already."""
    files: tuple[Path, ...] = ()


def as_patches(ledger: Ledger, program: Program, export: Export, folder: Path) -> Exported:
    """Write patches and their cover text into a folder.

    Raises: UserError when something conflicts, is not kept, or is in the way; nothing is written then.
    """
    chosen = _chosen(ledger, export.numbers)
    with line_onto(ledger.path, export.clone, onto=export.onto, author=_author(program)) as line:
        text, already = _replayed(line, chosen, program, squash=export.squash)
        files = line.write_patches(folder)
        (folder / COVER).write_text(text, encoding="utf-8")
    return Exported(cover=text, already=already, files=files)


def as_branch(ledger: Ledger, program: Program, export: Export, name: str) -> Exported:
    """Make one new branch in the clone.

    Raises: UserError when something conflicts, is not kept, or the name is taken; nothing is written then.
    """
    chosen = _chosen(ledger, export.numbers)
    with line_onto(ledger.path, export.clone, onto=export.onto, author=_author(program)) as line:
        text, already = _replayed(line, chosen, program, squash=export.squash)
        line.write_branch(export.clone, name)
    return Exported(cover=text, already=already)


def _replayed(
    line: Handover, chosen: Sequence[Concluded], program: Program, *, squash: bool
) -> tuple[str, tuple[Concluded, ...]]:
    """The cover text of what was replayed, and what was there already."""
    already = tuple(row for row in chosen if not line.add(row.experiment.commit))
    if line.is_empty:
        raise UserError("all of it is there already; nothing was exported")
    text = cover([row for row in chosen if row not in already], program.metric, program=program.program.name)
    if squash:
        line.squash(text)
    return text, already


def _chosen(ledger: Ledger, numbers: Sequence[int]) -> list[Concluded]:
    """The kept experiments with these numbers, in the order of history."""
    kept = on_best(ledger.concluded())
    known = {row.experiment.number for row in kept}
    if strangers := [f"{number:04d}" for number in numbers if number not in known]:
        raise UserError(f"{', '.join(strangers)} is not on best; `autoresearchd log --verdict keep` lists what is")
    chosen = [row for row in kept if not numbers or row.experiment.number in numbers]
    if not chosen:
        raise UserError("nothing was kept yet, so there is nothing to export; `autoresearchd run` researches on")
    return chosen


def _author(program: Program) -> Author | None:
    name, _, address = (program.export.author or "").partition(" <")
    email = address.removesuffix(">")
    return Author(name=name, email=email, sign_off=program.export.sign_off) if email else None
