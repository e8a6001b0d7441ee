"""Proves the sandbox by trying from inside: a write, a connection, a read of the home folder; and that CUDA works."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.experiment import Device
from autoresearchd.limits import Mode
from autoresearchd.run import nodes, target
from autoresearchd.run.log import one_line
from autoresearchd.run.sandbox import PROBE_SECONDS, Box, wrap
from autoresearchd.run.site import WITHOUT_SEMAPHORES

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
CUDA = """
import torch
torch.ones(8, device="cuda").sum().item()
print("it starts", flush=True)
torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device="cuda")).sum().item()
print("it compiles", flush=True)
"""
CUDA_SECONDS = 300.0
"""A first compilation takes its time."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """What torch can do with a GPU from inside."""

    starts: bool
    compiles: bool
    why: str = ""
    """Why it cannot do the rest, in its own words."""


def prove_cuda(mode: Mode, device: Device) -> Cuda:
    """Try it in earnest, as a run has it: half a minute, and memory of the GPU meanwhile."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-proof-") as name:
        out = Path(name)
        inherited = {variable: os.environ[variable] for variable in target.INHERITED if variable in os.environ}
        environment = inherited | {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": name}
        environment |= target.cache_variables(out) | target.gpu_variables(device, os.environ)
        environment |= WITHOUT_SEMAPHORES if mode == "landlock" else {}
        shown = nodes.nodes(environment["CUDA_VISIBLE_DEVICES"])
        command = wrap(mode, (sys.executable, "-c", CUDA), Box(cwd=out, writable=(out,), nodes=shown))
        named = environment if mode == "none" else dict(nodes.by_name(device, environment))
        try:
            with command.opened() as (words, descriptors):
                done = subprocess.run(
                    words, pass_fds=descriptors, env=named, input="\n", capture_output=True, text=True,
                    cwd=out, timeout=CUDA_SECONDS, check=False,
                )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return Cuda(starts=False, compiles=False, why=one_line(str(error)))
    said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
    compiles = "it compiles" in done.stdout
    return Cuda(starts="it starts" in done.stdout, compiles=compiles, why="" if compiles else one_line(said))
