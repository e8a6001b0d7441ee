"""What trainings may not see, by whatever names lead there: a program that shows it to them is refused. Looks only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.program import Program


def held_out(program: Program) -> tuple[str, ...]:
    """The folders that no training sees, relative to program.toml."""
    return tuple(folder for folder in (program.metric.data, program.metric.audit) if folder is not None)


def refuse_seen(program: Program, folder: Path, hidden: Iterable[Path] = ()) -> None:
    """`folder` is where program.toml lies, `hidden` is what is held out beside what it names.

    Looks behind links and `..`, which nobody sees in program.toml itself.
    Raises: UserError where what trainings read lies in what is held out, or in the lab.
    """
    kept = [(f"`{key}`", real(folder, name)) for key, name in _kept(program)]
    kept += [("what is held out", real(folder, str(path))) for path in hidden]
    for key, name, place in _seen(program, folder):
        for what, secret in kept:
            if place.is_relative_to(secret):
                raise UserError(f"program.toml: `{key}` leads into {what}, which no training may see: "
                                f"{name!r} is {place}; keep them apart")  # fmt: skip


def real(folder: Path, name: str) -> Path:
    """Where a name of program.toml leads in the end, whether or not anything is there."""
    return Path(os.path.realpath(folder / name))


def _kept(program: Program) -> Iterator[tuple[str, str]]:
    yield "program.experiments", program.program.experiments
    for key, name in (("metric.data", program.metric.data), ("metric.audit", program.metric.audit)):
        if name is not None:
            yield key, name


def _seen(program: Program, folder: Path) -> Iterator[tuple[str, str, Path]]:
    if program.train.data is not None:
        yield "train.data", program.train.data, real(folder, program.train.data)
    for name in program.sandbox.readable:
        yield "sandbox.readable", name, real(folder, str(Path(name).expanduser()))
