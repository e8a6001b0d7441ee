"""What this machine has besides its devices, as `doctor` says it: git, a kernel, a sandbox, room. Looks only."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.inventory import Finding, ask
from autoresearchd.ledger import FREE_FLOOR_BYTES
from autoresearchd.limits import Mode
from autoresearchd.run.proof import prove
from autoresearchd.run.sandbox import APPARMOR_REMEDY, choose

OLDEST_GIT = (2, 22)
"""The first whose `git log --format` reads single trailers (`%(trailers:key=Metric,valueonly)`)."""
COMFORTABLE_BYTES = 5 * 2**30


def git() -> Finding:
    """Whether git is there, and new enough."""
    said = ask("git", "--version")
    if said is None:
        return Finding(name="git", state="missing", what="git is not on PATH", mend="apt-get install git")
    words = said.split()
    version = words[2] if len(words) > 2 else "unknown"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        return Finding(name="git", state="note", what=f"git {version} is old", mend=f"install git {wanted} or newer")
    return Finding(name="git", state="ok", what=f"git {version}")


def sandbox(wanted: Mode, folder: Path) -> Finding:
    """Which sandbox is in force, proved by trying to get out of it; `folder` is that of program.toml."""
    try:
        mode = choose(wanted)
    except UserError as error:
        return Finding(name="sandbox", state="missing", what=str(error), mend=APPARMOR_REMEDY)
    if mode == "none":
        what = "none, as program.toml says: what experiments run has all your rights"
        return Finding(name="sandbox", state="note", what=what, mend='[sandbox] mode = "auto"')
    proof = prove(mode, home=Path.home(), folder=folder)
    if proof.escaped or proof.why:
        what = f"{mode} does not hold: {proof.why or ', '.join(proof.escaped)}"
        return Finding(name="sandbox", state="missing", what=what, mend=APPARMOR_REMEDY)
    what = f"{mode}; from inside, a write, a connection and a read of the home folder were tried and refused"
    mend = "" if mode == "bubblewrap" else f"bubblewrap is stronger: {APPARMOR_REMEDY}"
    return Finding(name="sandbox", state="note" if mend else "ok", what=what, mend=mend)


def kernel() -> Finding:
    """Whether the kernel has what the daemon watches processes and files by."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return Finding(name="kernel", state="missing", what=f"no pidfd: {error}", mend="Linux 5.3 or newer")
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(0) if hasattr(libc, "inotify_init1") else -1
    if watch < 0:
        why = os.strerror(ctypes.get_errno())
        what = f"no inotify ({why}): what is pushed is found a second later, a saved program six"
        return Finding(name="kernel", state="note", what=what, mend="sysctl fs.inotify.max_user_instances=1024")
    os.close(watch)
    return Finding(name="kernel", state="ok", what="pidfd and inotify work")


def disk(place: Path) -> Finding:
    """How much room is left there."""
    free = shutil.disk_usage(place).free
    what = f"{free / 2**30:.1f} GiB free at {place}"
    if free < FREE_FLOOR_BYTES:
        need = f"{what}, {FREE_FLOOR_BYTES / 2**30:.1f} are needed"
        return Finding(name="disk", state="missing", what=need, mend="free some space")
    if free < COMFORTABLE_BYTES:
        return Finding(name="disk", state="note", what=what, mend="checkpoints of the runs may fill it")
    return Finding(name="disk", state="ok", what=what)
