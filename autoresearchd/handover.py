"""`export`: kept experiments on their way into the real project, with what speaks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import CommitOid, Concluded
from autoresearchd.ledger import Author, Handover, Ledger, line_onto
from autoresearchd.program import Program
from autoresearchd.report.cover import cover
from autoresearchd.report.scales import scales
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
    promoted: bool = False
    """Only what also holds on every larger scale, with what was measured there."""


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
    with line_onto(ledger.path, export.clone, onto=export.onto, author=_author(program)) as line:
        text, already = _replayed(line, ledger, program, export)
        files = line.write_patches(folder, COVER, text)
    return Exported(cover=text, already=already, files=files)


def as_branch(ledger: Ledger, program: Program, export: Export, name: str) -> Exported:
    """Make one new branch in the clone.

    Raises: UserError when something conflicts, is not kept, or the name is taken; nothing is written then.
    """
    with line_onto(ledger.path, export.clone, onto=export.onto, author=_author(program)) as line:
        text, already = _replayed(line, ledger, program, export)
        line.write_branch(export.clone, name)
    return Exported(cover=text, already=already)


def _replayed(line: Handover, ledger: Ledger, program: Program, export: Export) -> tuple[str, tuple[Concluded, ...]]:
    """The cover text of what was replayed, and what was there already."""
    chosen, first = _chosen(ledger, export), ledger.baseline()
    already = tuple(each.row for each in chosen if not line.add(each.commit))
    if line.is_empty:
        raise UserError("all of it is there already; nothing was exported")
    rest = [each for each in chosen if each.row not in already]
    scales = {each.row.experiment.number: each.scales for each in rest}
    text = cover(
        [each.row for each in rest],
        program.metric,
        program=program.program.name,
        scales=scales,
        baseline=first if isinstance(first, Concluded) else None,
    )
    if export.squash:
        line.squash(text)
    return text, already


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    row: Concluded
    commit: CommitOid
    """Its own, or the one on `promoted`."""
    scales: Mapping[str, str]


def _chosen(ledger: Ledger, export: Export) -> list[_Chosen]:
    """The kept experiments that are wanted, in the order of history."""
    kept, numbers = on_best(ledger.concluded()), export.numbers
    branch, lists = ("promoted", "status") if export.promoted else ("best", "log --verdict keep")
    if export.promoted:
        known = {each.number: each for each in scales(ledger, ledger.concluded()) if each.promoted is not None}
        found = [(row, known.get(row.experiment.number)) for row in kept]
        there = [
            _Chosen(row=row, commit=own.promoted, scales=own.trailers)
            for row, own in found
            if own is not None and own.promoted is not None
        ]
    else:
        there = [_Chosen(row=row, commit=row.experiment.commit, scales={}) for row in kept]
    on_it = {each.row.experiment.number for each in there}
    if strangers := [f"{number:04d}" for number in numbers if number not in on_it]:
        raise UserError(f"{', '.join(strangers)} is not on {branch}; `autoresearchd {lists}` lists what is")
    chosen = [each for each in there if not numbers or each.row.experiment.number in numbers]
    if not chosen and export.promoted:
        raise UserError("nothing was promoted yet, so there is nothing to export; `autoresearchd status` says how far")
    if not chosen:
        raise UserError("nothing was kept yet, so there is nothing to export; `autoresearchd run` researches on")
    return chosen


def _author(program: Program) -> Author | None:
    name, _, address = (program.export.author or "").partition(" <")
    email = address.removesuffix(">")
    return Author(name=name, email=email, sign_off=program.export.sign_off) if email else None
