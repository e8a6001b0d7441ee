"""What there is to train on, on this machine or a cluster, as `doctor` says it. Looks only."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autoresearchd.errors import UserError
from autoresearchd.lock import holder
from autoresearchd.program import Program
from autoresearchd.run import discover, sbatch
from autoresearchd.run.company import Watch
from autoresearchd.run.proof import prove_cuda
from autoresearchd.run.sandbox import choose

State = Literal["ok", "missing", "note"]
ASKING_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `missing` keeps the daemon from working, `note` does not."""

    name: str
    state: State
    what: str
    mend: str = ""
    """What to do about it, a command where one does it; empty where nothing has to be done."""


def devices(program: Program) -> Iterator[Finding]:
    """The devices that program.toml asks for."""
    match program.devices.executor:
        case "slurm":
            yield _cluster(program)
        case "ray":
            yield _ray(program)
        case "local":
            yield from _here(program)


def _ray(program: Program) -> Finding:
    address = program.ray.address
    if importlib.util.find_spec("ray") is None:
        return Finding(name="ray", state="missing", what="not installed", mend="pip install ray")
    host, _, port = address.rpartition(":")
    if not host:
        return Finding(name="ray", state="note", what="the cluster that this machine is a node of: `ray status`")
    try:
        socket.create_connection((host, int(port)), timeout=ASKING_SECONDS).close()
    except OSError as error:
        what = f"nobody answers at {address}: {error}"
        return Finding(name="ray", state="missing", what=what, mend="ray start --head --port=6379, on that machine")
    return Finding(name="ray", state="ok", what=f"a head answers at {address}")


def company(program: Program, lab: Path) -> Iterator[Finding]:
    """What besides the lab's own daemon goes on on the GPUs of this machine; nothing without a driver."""
    if program.devices.executor != "local" or program.devices.use == "cpu":
        return
    try:
        gpus = [device for device in discover(program.devices) if device.is_cuda]
    except UserError:
        return  # said where the devices are looked for
    with closing(Watch(holder(lab))) as watch:
        for device in gpus:
            sight = watch.look(device)
            if sight is None:
                continue
            if sight.lost:
                what = f"{device.name}: {sight.lost}"
                yield Finding(name="gpu", state="note", what=what, mend="nvidia-smi -q; a restart of the machine")
            if sight.foreign:
                what = f"{device.name} is shared with {some(list(sight.foreign.values()))}"
                mend = f"end them, or leave {device.name} out of devices.use: runs are repeated when others come"
                yield Finding(name="gpu", state="note", what=what, mend=mend)
            if sight.slowed:
                what = f"{device.name}: {', '.join(sight.slowed)}"
                yield Finding(name="gpu", state="note", what=what, mend="cool it: runs in such moments are repeated")


def cuda(program: Program, lab: Path) -> Iterator[Finding]:
    """Whether torch can use a GPU from within the sandbox; not asked beside a daemon, whose runs it would disturb."""
    if program.devices.executor != "local" or program.devices.use == "cpu" or holder(lab) is not None:
        return
    try:
        mode = choose(program.sandbox.mode)
        gpu = next((device for device in discover(program.devices) if device.is_cuda), None)
    except UserError:
        return  # said where they are looked for
    if gpu is None or (torch := _version("torch")) is None or torch.endswith("+cpu"):
        return
    proof = prove_cuda(mode, gpu)
    if not proof.starts:
        what = f"torch cannot use {gpu.name} from within the sandbox ({mode}): {proof.why}"
        mend = "see that it can without: python -c 'import torch; torch.ones(1, device=\"cuda\")'; docs/gpu-box.md"
        yield Finding(name="cuda", state="missing", what=what, mend=mend)
    elif not proof.compiles:
        what = f"torch.compile does not work on {gpu.name} from within the sandbox ({mode}): {proof.why}"
        mend = "apt-get install gcc python3-dev, where your code compiles"
        yield Finding(name="cuda", state="note", what=what, mend=mend)
    else:
        what = f"from within the sandbox torch computes and compiles on {gpu.name}"
        yield Finding(name="cuda", state="ok", what=what)


def _cluster(program: Program) -> Finding:
    wanted = program.slurm.partition
    try:
        said, count = sbatch.version(), sbatch.nodes(wanted)
    except OSError as error:
        mend = "give the daemon Slurm's commands and its slurm.conf; `sinfo` must answer"
        return Finding(name="devices", state="missing", what=str(error), mend=mend)
    where = "" if wanted is None else f" of the partition {wanted}"
    if not count:
        what = f"{said} answers, and no node{where} does"
        return Finding(name="devices", state="missing", what=what, mend="sinfo -R, or change slurm.partition")
    return Finding(
        name="devices", state="ok", what=f"{said}: {program.slurm.slots} jobs at a time, {count} nodes{where}"
    )


def _here(program: Program) -> Iterator[Finding]:
    try:
        found = discover(program.devices)
    except UserError as error:
        yield Finding(name="devices", state="missing", what=str(error), mend="change devices.use, or mend the driver")
        return
    if cards := [device for device in found if device.is_cuda]:
        shown = some([f"{device.name} {device.model}" for device in cards])
        yield Finding(name="devices", state="ok", what=f"{counted(len(cards), 'CUDA device')}: {shown}")
    else:
        why = "no CUDA device: " if program.devices.use == "auto" else ""
        what = f"{why}{counted(len(found), 'CPU slot')} on {counted(os.cpu_count() or 1, 'core')}"
        yield Finding(name="devices", state="note", what=what)
    yield from _torch(on_gpu=bool(cards))


def _torch(*, on_gpu: bool) -> Iterator[Finding]:
    if (torch := _version("torch")) is None:
        return
    if on_gpu and torch.endswith("+cpu"):
        mend = f"{sys.executable} -m pip install --force-reinstall torch=={torch.removesuffix('+cpu')}"
        yield Finding(name="torch", state="note", what=f"torch {torch} cannot use the GPU", mend=mend)
        return
    yield Finding(name="torch", state="ok", what=f"torch {torch}")
    if on_gpu and not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")):
        what = "no C compiler: torch.compile builds what launches its kernels with one"
        yield Finding(name="compiler", state="note", what=what, mend="apt-get install gcc")
    elif on_gpu and not Path(sysconfig.get_path("include"), "Python.h").is_file():
        what = "no headers of Python: torch.compile builds what launches its kernels with them"
        yield Finding(name="compiler", state="note", what=what, mend="apt-get install python3-dev")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def ask(*argv: str) -> str | None:
    """What a command says; None where it is not there, fails or hangs."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=ASKING_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # the finding that asked says what that means
    return done.stdout


def counted(count: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def some(names: Sequence[str], *, most: int = 4) -> str:
    """The first of them."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
