"""Nights only, in the machine's service manager and in a user's own: begun, gone on with after a start, ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.daemon import PROGRAM, TARGET
from tests.systemd.machine import COMMAND, LAB, QUIET, UNIT, USER, Machine

EVENING, MORNING = "autoresearchd-evening@srv-lab.timer", "autoresearchd-morning@srv-lab.timer"


@dataclass(frozen=True, slots=True)
class Manager:
    """A service manager of the machine, by its own commands."""

    machine: Machine
    units: Path
    user: bool

    def run(self, script: str, *, check: bool = True) -> str:
        """A script of whom the lab's units belong to, in the lab."""
        if self.user:
            return self.machine.user(f"export XDG_RUNTIME_DIR=/run/user/$(id -u); {script}")
        return self.machine.run("sh", "-ec", f"cd {LAB}; {script}", check=check)

    def ctl(self, words: str) -> str:
        return self.run(f"systemctl {'--user ' if self.user else ''}{words} || true").strip()

    def service(self, command: str) -> str:
        return self.run(f"{COMMAND} service {command}{' --user' if self.user else ''}")

    def night(self, since: int, until: int) -> None:
        """Put the night there, in hours from now, as a person does by `systemctl edit`."""
        for timer, hours in ((EVENING, since), (MORNING, until)):
            at = datetime.now().astimezone() + timedelta(hours=hours)
            folder = self.units / f"{timer}.d"
            text = f"[Timer]\\nOnCalendar=\\nOnCalendar=*-*-* {at:%H:%M}\\n"
            self.run(f"mkdir -p {folder}; printf '{text}' >{folder}/override.conf")
        self.ctl("daemon-reload")


@pytest.fixture(scope="module")
def machine(bare: Machine) -> Machine:
    """A machine with a lab, and with the user's own service manager as after a login."""
    bare.user("cat >train.py", given=TARGET)
    bare.user("cat >program.toml", given=PROGRAM + QUIET)
    bare.user("git init -q; git config user.name R; git config user.email r@localhost; git add .; git commit -qm Start")
    bare.user(f"{COMMAND} init")
    number = bare.run("id", "-u", USER).strip()
    folder = Path(f"/run/systemd/system/user@{number}.service.d")
    bare.run("mkdir", "-p", str(folder))
    # logind's part, which is masked here: the folder, and where it is.
    runtime = "Environment=XDG_RUNTIME_DIR=/run/user/%i\nExecStartPre=+install -d -o %i -m 700 /run/user/%i\n"
    bare.write(folder / "runtime.conf", f"[Service]\n{runtime}")
    bare.run("systemctl", "daemon-reload")
    bare.run("systemctl", "start", f"user@{number}.service", check=False)
    return bare


@pytest.fixture(params=["machine", "user"])
def manager(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Manager]:
    """With the lab installed there."""
    user = request.param == "user"
    if user and machine.run("pgrep", "-u", USER, "systemd", check=False) == "":
        pytest.skip("no service manager of a user starts here")
    units = Path(f"/home/{USER}/.config/systemd/user" if user else "/etc/systemd/system")
    manager = Manager(machine, units, user)
    manager.service("install")
    yield manager
    said = manager.service("uninstall")
    assert f"{units}/{EVENING}.d/override.conf stays: it is yours" in said


def test_a_night_is_gone_on_with_after_a_start_and_ends_in_the_morning(manager: Manager) -> None:
    manager.night(-2, 2)
    manager.ctl(f"enable --now {EVENING} {MORNING}")
    assert manager.ctl("is-enabled autoresearchd-night@srv-lab.service") == "enabled"
    assert manager.ctl(f"is-active {UNIT}") == "inactive"

    manager.ctl("start autoresearchd-night@srv-lab.service")  # what a start of the machine does
    manager.machine.until(lambda: manager.ctl(f"is-active {UNIT}") == "active")
    manager.ctl("start autoresearchd-morning@srv-lab.service")
    manager.machine.until(lambda: manager.ctl(f"is-active {UNIT}") == "inactive")

    manager.night(2, 4)
    manager.ctl("start autoresearchd-night@srv-lab.service")
    assert manager.ctl("show --value --property=Result autoresearchd-night@srv-lab.service") == "exec-condition"
    assert manager.ctl(f"is-active {UNIT}") == "inactive", "a start by day began a night"


def test_the_evening_starts_the_lab_and_the_morning_what_ends_it(manager: Manager) -> None:
    manager.night(2, 4)
    manager.ctl(f"enable --now {EVENING} {MORNING}")
    assert manager.ctl(f"show --value --property=Triggers {EVENING}") == UNIT
    assert manager.ctl(f"show --value --property=Triggers {MORNING}") == "autoresearchd-morning@srv-lab.service"
    manager.ctl(f"disable --now {EVENING} {MORNING}")
    assert manager.ctl("is-enabled autoresearchd-night@srv-lab.service") == "disabled"


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_behind_the_walls_of_either_unit_runs_have_the_stronger_sandbox(manager: Manager) -> None:
    manager.night(2, 4)
    manager.run("rm -f experiments.git/autoresearchd/status.json")
    manager.ctl(f"start {UNIT}")
    pid = manager.ctl(f"show --value --property=MainPID {UNIT}")
    assert "NoNewPrivs:\t1" in manager.run(f"cat /proc/{pid}/status")
    read = "cat experiments.git/autoresearchd/status.json"
    assert '"sandbox": "bubblewrap"' in manager.machine.until(lambda: manager.run(f"{read} || true"))
    manager.ctl(f"stop {UNIT}")


def test_a_users_manager_that_cannot_be_found_is_one_sentence_and_nothing_is_written(machine: Machine) -> None:
    said = machine.user(f"{COMMAND} service install --user 2>&1 || true")
    assert said.startswith("autoresearchd: XDG_RUNTIME_DIR is not set")
    assert "`export XDG_RUNTIME_DIR=/run/user/" in said
    assert "autoresearchd@.service" not in machine.user("ls ~/.config/systemd/user 2>&1 || true")
