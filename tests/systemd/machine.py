"""A machine with a real systemd and an unprivileged user, in namespaces of its own, that goes with the test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.support.patience import until

T = TypeVar("T")
BOOT = Path(__file__).with_name("boot.sh")
BOOT_SECONDS = 90.0
USER = "researcher"
LAB = Path("/srv/lab")
PRIVATE = ("/tmp", "/var/tmp", "/run", "/dev/shm")
"""Folders that the booted machine does not share with this one."""
UNIT = "autoresearchd@srv-lab.service"
QUIET = "[propose.null]\nevery = 1\n"
"""Nobody but the test has an idea that changes anything, and the daemon is never without work."""
COMMAND = f"{sys.executable} -P -m autoresearchd"
CLONE = f"rm -rf /tmp/copy; git clone -q {LAB}/experiments.git -b best /tmp/copy"


def missing() -> str:
    """Why no systemd can be booted here; empty where it can be tried."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    for tool in ("unshare", "nsenter", "systemctl", "dbus-daemon", "pivot_root", "useradd"):
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{tool} is not installed"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    for path in (Path(sys.executable), Path(__file__)):
        if any(path.is_relative_to(own) for own in PRIVATE):
            return f"{path} lies where the booted machine has folders of its own"
    return ""


class Machine:
    """Commands on it, and what its systemd says."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *words: str, check: bool = True, given: str = "") -> str:
        enter = ("nsenter", "-t", str(self.pid), "-p", "-m", "-i", "-u", "-n", "-C", "--", *words)
        done = subprocess.run(enter, capture_output=True, text=True, input=given, timeout=150, cwd="/")
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.journal()[-3000:]}"
        return done.stdout

    def user(self, script: str, given: str = "") -> str:
        """A script of the unprivileged user, in the lab."""
        return self.run("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--reset-env",
                        "sh", "-ec", f"cd {LAB}; {script}", given=given)  # fmt: skip

    def propose(self, title: str, name: str, value: str) -> None:
        """Queue a patch against the best of now: the daemon tries other values of the same constants all the time."""
        script = f"{CLONE}; sed -i 's/^{name} = .*$/{name} = {value}/' /tmp/copy/train.py"
        self.user(f"{script}; git -C /tmp/copy diff | {COMMAND} propose - --title '{title}'")

    def concluded(self, title: str) -> str:
        """The verdict of an experiment, in git; empty while there is none."""
        form = "%s|%(trailers:key=Verdict,valueonly,separator=)"
        log = self.user(f"git --git-dir=experiments.git log --branches='exp/*' --format='{form}'")
        rows = dict(line.rpartition("|")[::2] for line in log.splitlines())
        return next((verdict for subject, verdict in rows.items() if title in subject), "")

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    def journal(self) -> str:
        words = ("nsenter", "-t", str(self.pid), "-p", "-m", "--", "journalctl", "--no-pager", "-u", UNIT)
        return subprocess.run(words, capture_output=True, text=True, timeout=150, cwd="/").stdout

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the daemon has logged under this name."""
        lines = self.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT).splitlines()
        found = (json.loads(line) for line in lines if line.startswith("{"))
        return [event for event in found if event.get("event") == name]

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """Entries of the unit's journal with all their fields."""
        words = ("journalctl", "--no-pager", "-o", "json", f"_SYSTEMD_UNIT={UNIT}", *matches)
        return [json.loads(line) for line in self.run(*words).splitlines()]

    def write(self, path: Path, text: str) -> None:
        self.run("sh", "-ec", f"cat >{path}", given=text)

    def until(self, ask: Callable[[], T]) -> T:
        """What `ask` says once it is true."""
        return until(ask, said=lambda: self.journal()[-4000:])


@contextlib.contextmanager
def booted(state: Path) -> Iterator[Machine]:
    """A machine that has come up. Raises: RuntimeError with the reason where this kernel or container forbids it."""
    group = f"autoresearchd-test-{secrets.token_hex(4)}"
    with (state.with_name("boot.log")).open("w+b") as said:
        state.mkdir()
        boot = subprocess.Popen(
            ["bash", str(BOOT), str(state), group], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            yield _up(boot, state.with_name("boot.log"))
        finally:
            for child in _children(boot.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)  # PID 1 of its namespace: everything in it goes with it
            boot.kill()
            boot.wait(timeout=150)
            _remove_groups(group)


def _up(boot: subprocess.Popen[bytes], said: Path) -> Machine:
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline and boot.poll() is None:
        for child in _children(boot.pid):
            if _name(child) == "systemd":
                machine = Machine(child)
                state = machine.run("systemctl", "is-system-running", check=False).strip()
                if state in ("running", "degraded"):
                    return machine
        time.sleep(0.1)
    raise RuntimeError(f"no systemd boots here: {' '.join(said.read_text(errors='replace').split())[-400:]}")


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def _remove_groups(group: str) -> None:
    for top in (Path("/sys/fs/cgroup") / group, *Path("/sys/fs/cgroup").glob(f"*/{group}")):
        for folder, _, _ in os.walk(top, topdown=False):
            until(lambda: _removed(Path(folder)))  # noqa: B023


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # its processes are still being buried
        folder.rmdir()
    return not folder.exists()
