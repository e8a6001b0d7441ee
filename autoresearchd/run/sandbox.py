"""The walls around a command: bubblewrap, else Landlock, each with seccomp; it sees what its Box names, nothing else.

Chosen once, and never dropped in silence: who uses it says it. Starts nothing but its own probes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoresearchd.errors import UserError
from autoresearchd.limits import Mode
from autoresearchd.run import landlock, seccomp

LAUNCHER = Path(landlock.__file__)
NOBODY = 65534
TMP_BYTES = 2**28
"""Of the private /tmp, which lives in memory; TMPDIR leads into the output folder."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/run/opengl-driver")
CONFIGURATION = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "nsswitch.conf",
                 "group", "os-release", "ssl/certs", "ssl/openssl.cnf", "OpenCL", "vulkan", "fonts")  # fmt: skip
RESOLVER = ("resolv.conf", "hosts", "gai.conf", "pki", "ca-certificates")
HARDWARE = ("/sys/devices/system",)
CUDA_HARDWARE = ("/sys/devices", "/sys/bus/pci", "/sys/class/drm", "/sys/module/nvidia", "/sys/module/nvidia_uvm")
NODES = ("null", "zero", "full", "random", "urandom")
PROBE_SECONDS = 20.0
GATE = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "gate")
"""Waits for the line that says that the process is bounded."""
APPARMOR_REMEDY = (
    "apt-get install bubblewrap; on Ubuntu 24.04 also: apt-get install apparmor-profiles && "
    "ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
    "apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
)
_FILTER, _PASSWD = "@filter", "@passwd"
_FAMILIES = (seccomp.AF_UNIX, seccomp.AF_INET, seccomp.AF_INET6, seccomp.AF_NETLINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What one command may see; all paths absolute and the same inside as outside."""

    cwd: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    links: Mapping[Path, Path] = field(default_factory=dict)
    """Short names outside of it, that lead into it."""
    hidden: tuple[Path, ...] = ()
    """Folders that stay unseen where they lie in one that is seen: the project, the lab, held-out data."""
    nodes: tuple[Path, ...] = ()
    """Device nodes of the GPU."""
    network: bool = False
    """Only for a proposer that says so; never for a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, and what it has to find in open descriptors."""

    words: tuple[str, ...]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """By the word that stands for the descriptor's number."""
    mode: Mode = "none"

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
        """The words with numbers in them, and the descriptors to hand on (`pass_fds`)."""
        with contextlib.ExitStack() as stack:
            descriptors = {}
            for word, content in self.contents.items():
                descriptors[word] = os.memfd_create(word, os.MFD_CLOEXEC)
                stack.callback(os.close, descriptors[word])
                os.write(descriptors[word], content)
                os.lseek(descriptors[word], 0, os.SEEK_SET)
            words = tuple(str(descriptors.get(word, word)) for word in self.words)
            yield words, tuple(descriptors.values())


@functools.cache
def choose(wanted: Mode) -> Mode:
    """The sandbox that will be used.

    Raises: UserError when what is wanted, or with `auto` anything at all, does not work here.
    """
    if wanted == "none":
        return "none"
    refused: list[str] = []
    tries: tuple[Mode, ...] = ("bubblewrap", "landlock") if wanted == "auto" else (wanted,)
    for mode in tries:
        if not (why := broken(mode)):
            return mode
        refused.append(f"{mode}: {why}")
    raise UserError(
        f"no sandbox works here ({'; '.join(refused)}); {APPARMOR_REMEDY}; "
        'or say [sandbox] mode = "none" in program.toml to run code that nobody has read with all your rights'
    )


@functools.cache
def broken(mode: Mode) -> str:
    """Why a mode cannot be used here, tried in earnest; empty where it can."""
    if mode == "none":
        return ""
    if _filter(mode, network=False) is None:
        return "no seccomp filter for this architecture"
    if mode == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    if mode == "landlock" and landlock.abi() == 0:
        return "the kernel has no Landlock"
    command = wrap(mode, (sys.executable, "-I", "-S", "-c", "pass"), Box(cwd=Path("/usr")))
    with command.opened() as (words, descriptors):
        try:
            done = subprocess.run(
                words, pass_fds=descriptors, input="\n", capture_output=True, text=True, timeout=PROBE_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")


def wrap(mode: Mode, argv: tuple[str, ...], box: Box) -> Command:
    """The command that runs `argv` in its box. It waits for a line on its standard input first, except with `none`."""
    if mode == "none":
        return Command(words=argv)
    content = _filter(mode, network=box.network)
    assert content is not None, "choose() refuses architectures without a filter"
    box = replace(box, hidden=tuple(_by_every_name(box)))
    if mode == "landlock":
        words = (sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(_spec(box) | {"filter": content.hex()}))
        return Command(words=(*GATE, *words, *argv), mode=mode)
    contents = {_FILTER: content, _PASSWD: _passwd()}
    return Command(words=(*GATE, *_bubblewrap(box), "--", *argv), contents=contents, mode=mode)


def _bubblewrap(box: Box) -> Iterator[str]:
    yield from (shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session")
    yield from ("--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL")
    if box.network:
        yield "--share-net"
    for root in map(Path, SYSTEM):
        if root.is_symlink():
            yield from ("--symlink", str(root.readlink()), str(root))
        elif root.exists():
            yield from _bound("--ro-bind", (root,))
    yield from _bound("--ro-bind-try", (*_etc(box), *map(Path, CUDA_HARDWARE if box.nodes else HARDWARE)))
    yield from ("--ro-bind-data", _PASSWD, "/etc/passwd", "--proc", "/proc", "--dev", "/dev")
    yield from ("--size", str(TMP_BYTES), "--tmpfs", "/tmp")  # noqa: S108 - the private one
    yield from _bound("--dev-bind", box.nodes)
    for path in box.hidden:
        if any(path.is_relative_to(root) for root in SYSTEM if not Path(root).is_symlink()):
            yield from ("--tmpfs", str(path))
    readable = (*_python(), *box.readable)
    wide = tuple(seen for seen in readable if _within(seen, box.hidden))
    yield from _bound("--ro-bind-try", wide)
    for path in (path for seen in wide for path in _within(seen, box.hidden) if path.exists()):
        yield from ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", os.devnull, str(path))
    yield from _bound("--ro-bind-try", tuple(path for path in readable if path not in wide))
    yield from _bound("--bind", box.writable)
    for link, target in box.links.items():
        yield from ("--symlink", str(target), str(link))
    yield from ("--remount-ro", "/", "--chdir", str(box.cwd), "--seccomp", _FILTER)


def _by_every_name(box: Box) -> Iterator[Path]:
    """What is hidden, and the names that it has below links that may be read."""
    hidden = dict.fromkeys((*box.hidden, *(path.resolve() for path in box.hidden)))
    yield from hidden
    for seen in (*_python(), *box.readable):
        real = seen.resolve()
        yield from (seen / path.relative_to(real) for path in hidden if real != seen and path.is_relative_to(real))


def _within(root: Path, hidden: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple(path for path in hidden if path != root and path.is_relative_to(root))


def _bound(option: str, paths: tuple[Path, ...]) -> Iterator[str]:
    return (word for path in paths for word in (option, str(path), str(path)))


def _spec(box: Box) -> dict[str, Any]:
    system = [child for root in SYSTEM for child in without(Path(root).resolve(), box.hidden)]
    hardware = map(Path, CUDA_HARDWARE if box.nodes else HARDWARE)
    seen = [root.resolve() for root in (*_python(), *box.readable)]
    readable = [child for root in seen for child in without(root, _within(root, box.hidden))]
    read = (*system, *_etc(box), Path("/etc/passwd"), *hardware, Path("/proc"), *readable)
    use = (*(Path("/dev", name) for name in NODES), *box.nodes)
    return {"read": _texts(read), "write": _texts(box.writable), "use": _texts(use), "network": box.network}


def without(root: Path, hidden: tuple[Path, ...]) -> Iterator[Path]:
    """A folder as the largest parts that have nothing hidden in them; no link is one, it may lead to what is hidden."""
    if not any(path.is_relative_to(root) for path in hidden):
        yield root
    elif root not in hidden and root.is_dir() and not root.is_symlink():
        for child in root.iterdir():
            if not child.is_symlink():
                yield from without(child, hidden)


def _texts(paths: tuple[Path, ...]) -> list[str]:
    return [str(path) for path in paths]


def _etc(box: Box) -> Iterator[Path]:
    return (Path("/etc", name) for name in (*CONFIGURATION, *(RESOLVER if box.network else ())))


def _python() -> Iterator[Path]:
    """The environment that the daemon runs in, without the project that it may lie in; LD_LIBRARY_PATH and CUDA."""
    prefixes = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    extra = {Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part.startswith("/")}
    extra |= {Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ}
    home = Path(_home())
    for path in sorted(prefixes | extra):
        if path == Path("/usr") or home.is_relative_to(path):  # the system's is there; a home is never
            continue
        yield path


@functools.cache
def _passwd() -> bytes:
    """So that the run's user has a name and the path of a home, where nothing is."""
    return f"run:x:{NOBODY}:{NOBODY}::{_home()}:/bin/sh\n".encode()


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return os.environ.get("HOME", "/nonexistent")  # a container's user without a name


@functools.cache
def _filter(mode: Mode, *, network: bool) -> bytes | None:
    if mode == "landlock":
        # A socket with a path (docker.sock) would pass Landlock: so none at all, or none but the internet's.
        families = (seccomp.AF_INET, seccomp.AF_INET6, seccomp.AF_NETLINK) if network else ()
        return seccomp.build(families=families, attributes=False)
    return seccomp.build(families=_FAMILIES)
