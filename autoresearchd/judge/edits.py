"""What an experiment may touch, judged by paths and file modes before anything is trained. Reads no file."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

from autoresearchd.program import Program, matches
from autoresearchd.proposal import Change, FileMode, too_long

_WORDS = {FileMode.SYMLINK: "a symbolic link", FileMode.SUBMODULE: "a submodule"}
MOST_NAMED = 3
"""So many paths are named; of more only the number."""
HOOKS = frozenset({"sitecustomize.py", "usercustomize.py", "conftest.py", "pytest.ini", "tox.ini", "setup.cfg",
                   "pyvenv.cfg", ".gitattributes", ".gitmodules"})  # fmt: skip
"""Files that Python, pytest or git read without being asked."""
COMPILED = (".pth", ".pyc", ".pyo", ".so", ".pyd", ".egg-link")
"""Python runs them in the place of, or before, the source that everybody reads."""
FOR_OTHERS = frozenset({".git", ".github", ".gitlab", ".circleci", ".buildkite", ".woodpecker", ".gitlab-ci.yml",
                        ".travis.yml", ".drone.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml", "jenkinsfile",
                        ".pre-commit-config.yaml", ".envrc"})  # fmt: skip
"""Folders and files that git, a CI or a shell obeys where a kept change arrives: nothing here ever runs them."""
LIBRARIES = frozenset({"torch", "numpy", "triton", "safetensors", "tokenizers", "tiktoken", "transformers", "scipy",
                       "datasets", "pandas", "pyarrow", "sklearn", "jax", "flax", "tensorflow", "torchvision",
                       "flash_attn", "einops", "yaml", "tqdm"})  # fmt: skip
"""Beside the standard library, what evaluators import: a file of that name in the first folder of sys.path wins."""


def improper(changes: Sequence[Change], program: Program) -> str:
    """Why these changes are refused, with the paths named; '' where they are allowed.

    Paths come from strangers: they are quoted, so that they stay on their line.
    """
    ordered = sorted(changes, key=lambda change: change.path)
    found = [why for change in ordered if (why := _improper(change, program))]
    rest = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return "; ".join(found[:MOST_NAMED]) + rest


def _improper(change: Change, program: Program) -> str:
    path = repr(change.path)
    if program.is_protected(change.path):
        return f"{path} is protected: it belongs to what measures"
    if not program.may_edit(change.path):
        return f"{path} is outside the editable paths"
    if any(part.lower() in FOR_OTHERS for part in change.path.split("/")):
        return f"{path} would be obeyed by other programs where a kept change arrives"
    if change.after is None and change.path in _started(program):
        return f"{path} is what the commands of program.toml run: it cannot be removed"
    if change.after is not None and (why := too_long(change.path)):
        return f"{path} cannot be checked out: {why}"
    for mode in (change.after, change.before):
        if mode in _WORDS:
            return f"{path} is {_WORDS[mode]}, experiments change plain files only"
    if change.before is not None and change.after is not None and change.before is not change.after:
        return f"{path} changes its file mode from {change.before} to {change.after}"
    return _sly(change, program)


def _sly(change: Change, program: Program) -> str:
    """Files that are run without being named, or in the place of others."""
    path, name = repr(change.path), change.path.rpartition("/")[2]
    if change.after is None:
        return ""
    if name.lower() in HOOKS:
        return f"{path} would be read without being asked for"
    if name.lower().endswith(COMPILED) or "__pycache__" in change.path.split("/"):
        return f"{path} would be run in the place of readable source"
    shadowed = change.path.removesuffix("/__init__.py") + ".py"  # a package wins over a module of its name
    if name == "__init__.py" and program.is_protected(shadowed):
        return f"{path} shadows {shadowed!r}, which is protected"
    if change.before is None and any(
        matches(_folded(change.path), _folded(glob)) for glob in program.program.protected
    ):
        return f"{path} is protected on a file system where case does not count"
    module = _top_level(change.path, program)
    if change.before is None and (module in sys.stdlib_module_names or module in LIBRARIES):
        return f"{path} shadows the module {module} of Python or its libraries"
    return ""


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _started(program: Program) -> Iterator[str]:
    """The files that the commands name, as scripts or as modules."""
    for argv in _commands(program):
        for word, following in pairwise((*argv, "")):
            if word.endswith(".py"):
                yield word.removeprefix("./")
            elif word == "-m":
                module = following.replace(".", "/")
                yield from (f"{module}.py", f"{module}/__main__.py")


def _top_level(path: str, program: Program) -> str:
    """The name under which the commands' Python would import a path without asking for a package; '' for none."""
    for folder in _import_roots(program):
        inner = path.removesuffix("/__init__.py") + ".py" if path.endswith("/__init__.py") else path
        if inner.startswith(folder) and inner.endswith(".py") and "/" not in inner[len(folder) :]:
            return inner[len(folder) : -len(".py")]
    return ""


def _import_roots(program: Program) -> Iterator[str]:
    """The folders that come first in sys.path, with a slash: of scripts their own, else the root."""
    for word in (word for argv in _commands(program) for word in argv):
        if word.endswith(".py") and "/" in word:
            yield word.rpartition("/")[0].removeprefix("./") + "/"
    yield ""


def _commands(program: Program) -> tuple[tuple[str, ...], ...]:
    return program.train.argv, program.metric.evaluate_argv or (), tuple((program.train.check or "").split())
