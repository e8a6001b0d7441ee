"""Proves the sandbox by trying from inside what it forbids: a write, a connection, a read of the home folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.limits import Mode
from autoresearchd.run.sandbox import PROBE_SECONDS, Box, wrap

_TRIES = """
import json, os, socket, sys
where, got = json.loads(sys.argv[1]), []
def attempt(name, what):
    try:
        what()
        got.append(name)
    except OSError:
        pass
attempt("write", lambda: open(where["file"], "w").close())
attempt("connect", lambda: socket.create_connection(("127.0.0.1", where["port"]), 2).close())
attempt("read of the home folder", lambda: os.listdir(where["home"]) and open(where["secret"]).close())
attempt("output", lambda: open(os.path.join(where["out"], "own"), "w").close())
print(json.dumps(got))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a program inside could do."""

    escaped: tuple[str, ...]
    """Of the three that it must not: the ones that worked."""
    why: str = ""
    """Why nothing could be tried, or its own output folder could not be written; then it proves nothing."""


def prove(mode: Mode, *, home: Path, folder: Path) -> Proof:
    """Try it in earnest, against a file in `home`, a listener of ours, and a new file in `folder`; cleans up."""
    target = folder / f".autoresearchd-proof-{socket.gethostname()}"
    with (
        tempfile.TemporaryDirectory(prefix="autoresearch-proof-") as out,
        tempfile.NamedTemporaryFile(dir=home, prefix=".autoresearchd-proof-") as secret,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        where = {"file": str(target), "port": listener.getsockname()[1], "home": str(home)}
        where |= {"secret": secret.name, "out": out}
        box = Box(cwd=Path(out), writable=(Path(out),), hidden=(folder,))
        argv = (sys.executable, "-I", "-S", "-c", _TRIES, json.dumps(where))
        try:
            with wrap(mode, argv, box).opened() as (words, descriptors):
                done = subprocess.run(
                    words, pass_fds=descriptors, input="\n", capture_output=True, text=True, timeout=PROBE_SECONDS
                )
            got = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return Proof(escaped=(), why=str(error))
        reached = target.exists()
        target.unlink(missing_ok=True)
    if "output" not in got:
        return Proof(escaped=(), why="its own output folder cannot be written")
    # In a file system of its own a write may seem to work; what counts is whether anything arrived.
    return Proof(escaped=tuple(name for name in got if name != "output" and (name != "write" or reached)))
