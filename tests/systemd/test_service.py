"""The shipped unit under a real systemd: started, killed, hung, reloaded and stopped, by a user without privileges."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import PROGRAM
from tests.acceptance.test_signals import STUBBORN
from tests.systemd.machine import CLONE, COMMAND, LAB, QUIET, UNIT, USER, Machine

HOOK = """
import json, os, socket, subprocess, sys
from pathlib import Path
report = Path(os.environ["AUTORESEARCH_REPORT"])
told = {"sentence": sys.stdin.read(), "report": str(report) if report.is_file() else "", "home": ""}
told["secrets"] = os.listdir(os.environ["CREDENTIALS_DIRECTORY"])
try:
    Path.home().joinpath("dead.letter").write_text("Dear you,")
except OSError as error:
    told["home"] = error.strerror
socket.socket(socket.AF_INET).close()
told["internet"] = True
told["group"] = subprocess.check_output(["/srv/as-mail", "-gn"], text=True).strip()
Path("told.json").write_text(json.dumps(told))
"""
"""Tells what it was told, and what it may do."""
SETTINGS = Path("/run/systemd/system") / f"{UNIT}.d" / "20-test.conf"


@pytest.fixture(scope="module")
def machine(bare: Machine) -> Machine:
    """A machine on which the service of a lab was installed and started."""
    machine = bare
    machine.user("cat >train.py", given=STUBBORN)
    machine.run("install", "-d", "-o", USER, "-g", USER, "/srv/reports")
    machine.user("cat >program.toml", given=PROGRAM + QUIET + '[report]\nfolder = "/srv/reports"\n')
    machine.user(
        "git init -q; git config user.name R; git config user.email r@localhost; git add .; git commit -qm Start"
    )
    machine.user(f"{COMMAND} init")
    machine.run("install", "-d", "-m", "700", "/etc/credstore")
    machine.write(Path("/etc/credstore/anthropic-api-key"), "sk-ant-a-key-of-nobody")
    machine.write(Path("/srv/installed"), machine.run("sh", "-c", f"cd {LAB} && {COMMAND} service install"))
    machine.run("systemctl", "start", UNIT)
    return machine


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The machine with the service up, as shipped."""
    machine.run("systemctl", "start", UNIT)
    yield machine
    machine.run("rm", "-f", str(SETTINGS))
    machine.run("systemctl", "daemon-reload")


def changed(machine: Machine, *lines: str, check: bool = True) -> None:
    """Other limits for one test: those of a night are too long for it."""
    machine.run("mkdir", "-p", str(SETTINGS.parent))
    machine.write(SETTINGS, "\n".join(["[Service]", *lines, ""]))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT, check=check)


def test_it_starts_says_how_it_goes_and_keeps_an_improvement(service: Machine) -> None:
    assert service.show("ActiveState") == "active"
    service.propose("Double the rate", "MATRIX_LR", "0.08")
    assert service.until(lambda: service.concluded("Double the rate")) == "keep"
    said = service.until(lambda: line if "kept" in (line := service.show("StatusText")) and "best" in line else "")
    assert " tried, " in said
    assert service.events("daemon_started")


def test_a_pushed_idea_starts_at_once_and_the_journal_is_searched_by_experiment(service: Machine) -> None:
    service.user(
        f"{CLONE}; cd /tmp/copy; git config user.name R; git config user.email r@localhost;"
        "sed -i 's/^DEPTH = .*$/DEPTH = 30/' train.py;"
        "git commit -qam 'Go deep'; git push -q origin HEAD:refs/heads/idea/deep"
    )
    assert service.until(lambda: service.concluded("Go deep")) == "discard"
    (opened,) = (event for event in service.events("experiment_opened") if event["title"] == "Go deep")
    entries = service.entries(f"EXPERIMENT={opened['experiment']:04d}")
    assert {"experiment_opened", "run_started", "run_finished", "experiment_concluded"} <= {e["EVENT"] for e in entries}
    assert {entry["TREE"] for entry in entries} == {opened["tree"]}
    (run, *_) = (entry for entry in entries if entry["EVENT"] == "run_finished")
    assert (run["DEVICE"], run["PRIORITY"], run["SYSLOG_IDENTIFIER"]) == ("cpu:0", "6", "autoresearchd")
    assert run["_SYSTEMD_UNIT"] == UNIT
    assert service.entries(f"SEED={run['SEED']}", "DEVICE=cpu:0", f"TREE={run['TREE']}")
    assert {entry["PRIORITY"] for entry in service.entries("EVENT=experiment_concluded", "VERDICT=discard")} == {"6"}


def test_stopped_after_its_run_it_is_not_started_again(service: Machine) -> None:
    restarts = service.show("NRestarts")
    said = service.user(f"{COMMAND} stop --after-run")
    assert said.endswith("stopped; `autoresearchd run` goes on from there\n")
    service.until(lambda: service.show("ActiveState") == "inactive")
    assert (service.show("Result"), service.show("NRestarts")) == ("success", restarts)


def test_the_daemon_is_a_user_without_privileges(service: Machine) -> None:
    status = service.run("cat", f"/proc/{service.show('MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [service.run("id", "-u", USER).strip()] * 4
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_runs_have_the_stronger_sandbox_inside_of_the_unit(service: Machine) -> None:
    said = service.until(lambda: service.user("cat experiments.git/autoresearchd/status.json"))
    assert '"sandbox": "bubblewrap"' in said


def test_the_api_key_is_a_credential_and_not_in_the_environment(service: Machine) -> None:
    environment = service.run("cat", f"/proc/{service.show('MainPID')}/environ")
    assert "CREDENTIALS_DIRECTORY=" in environment
    assert "sk-ant" not in environment + service.journal()
    assert service.run("cat", f"/run/credentials/{UNIT}/anthropic-api-key") == "sk-ant-a-key-of-nobody"


def test_killed_it_is_started_again_and_goes_on(service: Machine) -> None:
    pid, before = service.show("MainPID"), len(service.events("experiment_concluded"))
    service.run("kill", "-KILL", pid)
    service.until(lambda: service.show("ActiveState") == "active" and service.show("MainPID") not in (pid, "0"))
    service.until(lambda: len(service.events("experiment_concluded")) > before)
    assert int(service.show("NRestarts")) >= 1


def test_a_loop_that_hangs_is_started_again(service: Machine) -> None:
    changed(service, "WatchdogSec=8s", "TimeoutAbortSec=2s", "RestartSec=100ms")
    pid, before = service.show("MainPID"), len(service.events("daemon_started"))
    service.run("kill", "-STOP", pid)
    service.until(lambda: len(service.events("daemon_started")) > before)
    assert "Watchdog timeout" in service.journal()
    assert service.show("MainPID") != pid


def test_a_reload_puts_a_saved_program_in_force(service: Machine) -> None:
    service.user("printf '[accept]\\nmax_repeats = 5\\n' >>program.toml")
    service.run("systemctl", "reload", UNIT)
    (setting,) = service.until(lambda: service.events("setting_changed"))
    assert (setting["key"], setting["new"]) == ("accept.max_repeats", 5)
    assert service.show("ActiveState") == "active"


def test_a_refused_program_is_an_error_in_the_journal_and_the_old_one_stays(service: Machine) -> None:
    service.user("cp program.toml good.toml; printf '[nonsense]\\n' >>program.toml")
    service.run("systemctl", "reload", UNIT)
    errors = ("journalctl", "--no-pager", "-o", "cat", "-p", "err", "-u", UNIT)
    service.until(lambda: "program_refused" in service.run(*errors))
    assert "run_finished" not in service.run(*errors)
    service.until(lambda: "program.toml refused" in service.user(f"{COMMAND} status"))
    assert service.show("ActiveState") == "active"
    service.user("mv good.toml program.toml")


def test_who_is_to_be_told_in_the_morning_is_told_behind_the_walls_too(service: Machine) -> None:
    service.run("sh", "-ec", "cp /usr/bin/id /srv/as-mail; chgrp mail /srv/as-mail; chmod 2755 /srv/as-mail")
    assert service.user("/srv/as-mail -gn") == "mail\n"
    service.user("cat >hook.py", given=HOOK)
    hook = f'hook = "{sys.executable} hook.py"'
    service.user(f"cp program.toml good.toml; sed -i 's|^folder = .*$|&\\n{hook}|' program.toml")
    opened = len(service.events("experiment_opened"))
    service.run("systemctl", "restart", UNIT)
    service.until(lambda: len(service.events("experiment_opened")) > opened)
    service.run("systemctl", "stop", UNIT)
    service.user("mv good.toml program.toml")
    assert service.show("Result") == "success"
    told = json.loads(service.user("cat told.json"))
    assert "tried" in told["sentence"]
    assert told["report"].startswith("/srv/reports/20")
    assert told["secrets"] == ["anthropic-api-key"]
    assert told["internet"] is True
    # What README says does not work: programs with the rights of another user or group, and writing outside of the lab.
    assert told["group"] == USER
    assert told["home"] == "Read-only file system"


def test_a_lab_of_root_is_refused(service: Machine) -> None:
    service.run("sh", "-c", f"mkdir -p /srv/roots && cp {LAB}/program.toml /srv/roots/")
    said = service.run("sh", "-c", f"cd /srv/roots && {COMMAND} service install 2>&1; echo exit $?")
    assert "must not run as root" in said
    assert said.endswith("exit 2\n")


def test_a_mistake_is_not_tried_again_and_a_gpu_that_is_not_there_yet_is_waited_for(service: Machine) -> None:
    service.user("cp program.toml good.toml; sed -i 's/^use = .*$/use = [\"cuda:9\"]/' program.toml")
    changed(service, "RestartSec=100ms", check=False)
    before = int(service.show("NRestarts"))
    service.until(lambda: int(service.show("NRestarts")) > before + 1)
    assert "device cuda:9 is not there" in service.journal()
    service.user("mv good.toml program.toml")
    service.until(lambda: service.show("ActiveState") == "active")

    service.user("cp program.toml good.toml; printf '[nonsense]\\n' >>program.toml")
    service.run("systemctl", "restart", UNIT, check=False)
    service.until(lambda: service.show("ActiveState") == "failed")
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("2", "0")
    service.user("mv good.toml program.toml")


def test_a_long_training_is_no_hang_and_a_stop_in_it_is_quick_and_forgets_nothing(service: Machine) -> None:
    changed(service, "TimeoutStopSec=60s", "WatchdogSec=15s")
    service.propose("Sleep", "SLEEP", "600")
    service.until(lambda: "Sleep" in str(service.events("experiment_opened")))
    service.until(lambda: "training" in service.show("StatusText"))
    pid, since = service.show("MainPID"), int(service.show("WatchdogTimestampMonotonic"))
    service.until(lambda: int(service.show("WatchdogTimestampMonotonic")) > since + 16_000_000)
    assert service.show("MainPID") == pid, "a training longer than WatchdogSec was taken for a hang"
    service.run("systemctl", "stop", UNIT)
    assert service.show("Result") == "success", "it was killed, for it waited for the training"
    assert "code=killed" not in service.journal().rpartition("Stopping")[2]
    assert service.run("pgrep", "-u", USER, check=False) == "", "a training outlived the service"
    assert service.concluded("Sleep") == ""
    assert service.user("git --git-dir=experiments.git fsck --no-dangling") == ""


def test_what_was_installed_is_removed_again(service: Machine) -> None:
    assert f"systemctl enable --now {UNIT}" in service.run("cat", "/srv/installed")
    service.run("sh", "-c", f"cd {LAB} && {COMMAND} service uninstall")
    assert service.run("systemctl", "list-unit-files", "autoresearchd*", "--no-legend", check=False) == ""
    assert service.run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
    assert service.user("ls experiments.git/HEAD")
    service.run("sh", "-c", f"cd {LAB} && {COMMAND} service install")
