"""From nothing to the first night in five commands, and the morning after: the lines of README, on a bare machine."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.acceptance.daemon import PROGRAM
from tests.acceptance.test_signals import STUBBORN
from tests.systemd.machine import LAB, QUIET, UNIT, USER, Machine

ROOT = Path(__file__).parents[2]
HOME = Path("/home", USER)
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "autoresearchd", "nanogpt", "docs", "systemd")
TRAINING = ". ~/training/bin/activate; export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0;"
"""The environment that the training runs in, and a pip that has to do with what is there."""
SUDO = "sudo() { printf '%s\\n' \"$@\" >~/as-root; };"
"""What the user's shell makes of the words after it; the test runs them as root."""


def commands(heading: str) -> list[str]:
    """The commands of the first console below a heading of README, as one types them."""
    after = (ROOT / "README.md").read_text("utf-8").partition(f"\n## {heading}")[2]
    (console, *_) = re.findall(r"^```console\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for line in console.splitlines()]


def typed(machine: Machine, command: str) -> str:
    """One of them, typed by the user in the project's folder."""
    machine.run("rm", "-f", str(HOME / "as-root"))
    there = command.replace("/path/to/autoresearchd", "~/autoresearchd")
    said = machine.user(f"{TRAINING} {SUDO} {there}")
    asked = machine.run("cat", str(HOME / "as-root"), check=False).splitlines()
    return machine.run("sh", "-ec", f"cd {LAB}; exec {shlex.join(asked)}") if asked else said


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed, and a test downloads nothing")
def test_five_commands_lead_to_the_first_night_and_the_morning_after_is_as_said(bare: Machine) -> None:
    packages = sysconfig.get_path("purelib")
    bare.user("cat >train.py", given=STUBBORN)
    bare.user("cat >program.toml; git init -q; git add .", given=PROGRAM + QUIET)
    bare.user("git config --global user.name R; git config --global user.email r@localhost; git commit -qm Start")
    # torch is there, as on a GPU box; autoresearchd is not.
    bare.user(f"{Path(sys.executable).resolve()} -m venv ~/training")
    bare.user("~/training/bin/pip uninstall --quiet --yes setuptools")
    bare.user(f"echo {packages} >$(echo ~/training/lib/python3*/site-packages)/torch-of-the-box.pth")
    bare.user(f"mkdir ~/autoresearchd; cd {ROOT}; cp -r {' '.join(SHIPPED)} ~/autoresearchd")

    *before, install, start = night = commands("The first night on a GPU box, in five commands")
    assert len(night) == 5
    for command in before:
        typed(bare, command)
    assert f"systemctl enable --now {UNIT}" in typed(bare, install)
    typed(bare, start)
    assert bare.show("ActiveState") == "active"
    assert bare.run("systemctl", "is-enabled", UNIT).strip() == "enabled"

    bare.propose("Double the rate", "MATRIX_LR", "0.08")
    assert bare.until(lambda: bare.concluded("Double the rate")) == "keep"
    bare.run("systemctl", "stop", UNIT)

    report, log, show, fetch, pick = (command.partition("#")[0] for command in commands("The morning after"))
    assert ".html" in typed(bare, report)
    assert "Double the rate" in typed(bare, log)
    assert "+MATRIX_LR = " in typed(bare, show)
    bare.user("git commit -q --allow-empty -m 'Go on meanwhile'")
    typed(bare, fetch)
    typed(bare, pick)
    kept = bare.user("git log -1 --format='%s %(trailers:key=Verdict,valueonly,separator=)'")
    assert kept.split()[-1] == "keep"
    assert bare.user("git diff HEAD~ --name-only") == "train.py\n"
