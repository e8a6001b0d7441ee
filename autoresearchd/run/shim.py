"""An interpreter that waits: imports what it was told, then becomes the command that one line of JSON names.

Handed to `python -c` as text, inside the sandbox of the run, so it imports nothing of ours and needs no file there. It
becomes one command, once. Imports only: no thread of torch may run and no GPU may be touched before the order.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import io
import json
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

SUFFIXES = tuple(importlib.machinery.all_suffixes())


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Import, wait, become. Ends quietly when whoever would give the order closes the pipe `descriptor`."""
    place = sys.path.pop(0)  # the run's own folder: nothing in it may be imported before its turn
    for name in modules:
        with contextlib.suppress(Exception):  # the command meets the same error, and says it
            importlib.import_module(name)
    sys.path.insert(0, place)
    with os.fdopen(descriptor, "rb") as pipe:
        line = pipe.readline()
    if not line:
        os._exit(0)
    order = json.loads(line)
    os.environ.clear()
    os.environ.update(order["environment"])
    become(order["words"])


def become(words: list[str]) -> None:
    """Run `python -m module …` or `python file.py …` as a fresh interpreter would."""
    module = words[2] if words[1] == "-m" else None
    folder = Path.cwd() if module else Path(words[1]).resolve().parent
    if not (module or Path(words[1]).is_file()) or _shadows(folder):
        os.execv(words[0], words)  # noqa: S606 - as it would have been started without us
    importlib.invalidate_caches()
    sys.path[0], sys.orig_argv = str(folder), words
    namespace = _fresh_main()
    if module is not None:
        sys.argv = ["-m", *words[3:]]
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]  # what `python -m` itself calls
        return
    sys.argv = words[1:]
    path = str(Path(words[1]).absolute())
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    namespace |= {
        "__file__": path,
        "__cached__": None,
        "__loader__": importlib.machinery.SourceFileLoader("__main__", path),
    }
    exec(code, namespace)  # noqa: S102 - the command itself, in its own sandbox


def _shadows(folder: Path) -> bool:
    """Whether the folder has a module of the name of one that is imported already: a fresh start would take it."""
    found = ((entry.name, entry.is_dir()) for entry in os.scandir(folder))
    names = {name.split(".")[0] for name, is_folder in found if is_folder or name.endswith(SUFFIXES)}
    return not names.isdisjoint(sys.modules.keys() - {"__main__"})


def _fresh_main() -> dict[str, object]:
    """The namespace of `__main__` with nothing of ours in it."""
    sys.modules["__main__"] = fresh = ModuleType("__main__")
    fresh.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={})
    return fresh.__dict__
