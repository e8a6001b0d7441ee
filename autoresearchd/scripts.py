"""The scripts that program.toml names, as `doctor` says it: there, complete, and with luck of their own. Looks only."""

from __future__ import annotations

import ast
import importlib.util
import os
import posixpath
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from autoresearchd.inventory import Finding, some
from autoresearchd.ledger.repository import GitFailed, git_in
from autoresearchd.program import Program
from autoresearchd.propose.constants import nothing_to_search

FIXED_SEED, GIVEN_SEED = r"(manual_seed|seed_everything|set_seed|random\.seed)\(", "AUTORESEARCH_SEED"
"""How a script takes the same luck each time, and how it takes that which it is given."""
PYTHONS = ("python", "python3")


def luck(program: Program, project: Path) -> Iterator[Finding]:
    """Scripts that seed themselves always alike: their repeats tell nothing of the noise."""
    seeding = _committed_scripts(project, FIXED_SEED)
    fixed = [name for name in seeding if program.may_edit(name) or name in program.train.argv]
    if fixed and not _committed_scripts(project, GIVEN_SEED):
        what = f"{some(fixed)} has the same seed in every run, so that repeats cannot tell luck from progress"
        mend = f'seed with int(os.environ.get("{GIVEN_SEED}", 0)), which is another one in every repeat'
        yield Finding(name="seed", state="note", what=what, mend=mend)


def constants(program: Program, project: Path, tracked: Sequence[str]) -> Iterator[Finding]:
    """Whether the numeric search has anything to search over."""
    wanted = [name for name in tracked if name.endswith(".py") and program.may_edit(name)]
    if not (what := nothing_to_search({name: _committed(project, name) for name in wanted}, program)):
        return
    mend = "name them at the top of a module (LEARNING_RATE = 3e-4), in a dataclass, or as options of argparse"
    yield Finding(name="constants", state="note", what=what, mend=mend)


def _committed(project: Path, name: str) -> bytes:
    """A file as it is committed; nothing where the repository lacks it, as a partial clone may."""
    try:
        return git_in(project, "cat-file", "blob", f"HEAD:{name}")
    except GitFailed:
        return b""


def _committed_scripts(project: Path, pattern: str) -> list[str]:
    """The committed Python files in which a pattern occurs."""
    try:
        found = git_in(project, "grep", "-lIzE", "-e", pattern, "HEAD", "--", ":(top)*.py")
    except GitFailed:
        return []  # as git says that there is none
    return [name.removeprefix("HEAD:") for name in found.decode("utf-8", "replace").split("\0") if name]


def commands(program: Program, project: Path, tracked: Sequence[str]) -> Iterator[Finding]:
    """Whether the commands of program.toml can be started; `tracked` are the project's committed paths, if known."""
    train, evaluate = program.train, program.metric.evaluate_argv
    wanted = {"train.command": train.argv}
    if evaluate is not None:
        wanted["metric.evaluate"] = evaluate
    for key, argv in wanted.items():
        script = _script(argv, tracked)
        if not _is_there(argv[0], project):
            what = f"{key} starts {argv[0]!r}, which is not there"
            yield Finding(name="command", state="missing", what=what, mend=f"install {argv[0]} or change {key}")
        elif script is not None and posixpath.normpath(script) not in tracked:
            what = f"{key} runs {script}, which is not committed: runs get what is"
            yield Finding(name="command", state="missing", what=what, mend=f"git add and commit it, or change {key}")
        elif script is not None and (absent := _not_installed(project, posixpath.normpath(script), tracked)):
            what = f"{script} imports {some(absent)}, which {sys.executable} does not have"
            mend = f"{sys.executable} -m pip install {' '.join(absent)}, or install autoresearchd where they are"
            yield Finding(name="command", state="missing", what=what, mend=mend)
        else:
            yield Finding(name="command", state="ok", what=f"{key} runs {script or argv[0]}")


def _script(argv: Sequence[str], tracked: Sequence[str]) -> str | None:
    """The project's file that this very Python is to run; None where it is told otherwise, or nothing is known."""
    if argv[0] not in PYTHONS or len(argv) < 2 or not tracked:
        return None
    if argv[1] == "-m" and len(argv) > 2:
        module = argv[2].replace(".", "/")
        return next((path for path in (f"{module}.py", f"{module}/__main__.py") if path in tracked), None)
    return argv[1] if argv[1].endswith(".py") and not posixpath.isabs(argv[1]) else None


def _not_installed(project: Path, script: str, tracked: Sequence[str]) -> list[str]:
    """What a committed script imports at its top, and neither this Python nor the project has."""
    try:
        body = ast.parse(_committed(project, script)).body
    except (SyntaxError, ValueError):
        return []  # whoever runs it says what is wrong with it
    named = [alias.name for line in body if isinstance(line, ast.Import) for alias in line.names]
    named += [line.module for line in body if isinstance(line, ast.ImportFrom) and line.module and not line.level]
    beside = {PurePosixPath(path).parts[0].removesuffix(".py") for path in tracked}
    beside |= {PurePosixPath(path).stem for path in tracked if posixpath.dirname(path) == posixpath.dirname(script)}
    tops = dict.fromkeys(name.partition(".")[0] for name in named)
    there = beside | set(sys.modules)  # what is loaded needs no search, and `__main__` has nothing to search by
    return [name for name in tops if name not in there and importlib.util.find_spec(name) is None]


def _is_there(name: str, project: Path) -> bool:
    if "/" in name:
        return (project / name).exists()
    # As runs start it: this Python's own folder comes first, and `python` is this very interpreter.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return name in PYTHONS or shutil.which(name, path=path) is not None
