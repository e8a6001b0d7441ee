"""The shipped units, as systemd itself reads them, and what is filled in for a machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.errors import UserError
from autoresearchd.program import parse
from autoresearchd.units import (
    DROP_IN,
    NIGHTS,
    TEMPLATE,
    Place,
    install,
    place,
    quoted,
    rendered,
    uninstall,
    written_elsewhere,
)
from tests.support.projects import PROGRAM

SHIPPED = Path(__file__).parents[1] / "systemd"


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_both_shipped_units_are_the_same_but_for_the_folder() -> None:
    template = settings((SHIPPED / TEMPLATE).read_text())
    single = settings((SHIPPED / "autoresearchd.service").read_text().replace("%S/autoresearchd", "%f"))
    assert set(template) - set(single) == {"ReadWritePaths=%f"}
    own = {"StateDirectory=autoresearchd", "StateDirectoryMode=0700", "RemoveIPC=yes"}  # its user owns nothing else
    assert set(single) - set(template) == own


def test_what_the_single_lab_writes_is_as_private_as_its_folder() -> None:
    lines = settings((SHIPPED / "autoresearchd.service").read_text())
    (mask,) = (int(line.partition("=")[2], 8) for line in lines if line.startswith("UMask="))
    (mode,) = (int(line.partition("=")[2], 8) for line in lines if line.startswith("StateDirectoryMode="))
    assert mode == 0o777 & ~mask


@pytest.mark.parametrize("user", [False, True])
def test_systemd_understands_every_line(tmp_path: Path, *, user: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    for name in (TEMPLATE, *NIGHTS):
        (tmp_path / name).write_text(rendered((SHIPPED / name).read_text(), user=user))
    names = [tmp_path / name.replace("@", "@srv-lab") for name in (TEMPLATE, *NIGHTS)]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, timeout=600)
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("autoresearchd")]
    newer = ("RestartSteps", "RestartMaxDelaySec")  # of systemd 254, and ignored before
    assert [line for line in ours if not any(key in line for key in newer)] == []


@pytest.mark.parametrize(("user", "words"), [(False, "(252) says {} of 10"), (True, "With --user {} of 10")])
def test_the_recorded_exposure_is_what_systemd_finds(tmp_path: Path, words: str, *, user: bool) -> None:
    version = (
        subprocess.run(["systemctl", "--version"], capture_output=True, text=True)
        if shutil.which("systemctl")
        else None
    )
    if version is None or not version.stdout.startswith("systemd 252"):
        pytest.skip("the figure is recorded for systemd 252")
    unit = tmp_path / TEMPLATE.replace("@", "@srv-lab")
    text = (SHIPPED / TEMPLATE).read_text()
    unit.write_text(rendered(text, user=True) if user else text)
    asked = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=600).stdout
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    for name in (TEMPLATE, "autoresearchd.service"):
        assert words.format(level) in (SHIPPED / name).read_text()


def test_a_users_own_unit_asks_for_nothing_that_needs_privileges() -> None:
    text = rendered((SHIPPED / TEMPLATE).read_text(), user=True)
    keys = {line.partition("=")[0] for line in settings(text)}
    assert not keys & {"User", "LoadCredential", "ProtectSystem", "CapabilityBoundingSet", "ExecStartPre"}
    assert {"Type", "WatchdogSec", "KillMode", "EnvironmentFile"} <= keys
    assert "WantedBy=default.target" in text


def test_a_users_own_unit_has_the_walls_that_need_no_privileges() -> None:
    lines = settings(rendered((SHIPPED / TEMPLATE).read_text(), user=True))
    assert {"NoNewPrivileges=yes", "UMask=0077", "RestrictSUIDSGID=yes", "LockPersonality=yes"} <= set(lines)
    assert [line for line in lines if line.startswith("SystemCallFilter=~@clock")]


@pytest.mark.parametrize("name", NIGHTS)
def test_a_users_own_units_speak_to_the_users_own_manager(name: str) -> None:
    text = "\n".join(settings(rendered((SHIPPED / name).read_text(), user=True)))
    assert text.count("systemctl ") == text.count("systemctl --user ")


def test_the_unit_starts_the_python_that_it_was_installed_with() -> None:
    text = rendered((SHIPPED / TEMPLATE).read_text(), user=False, python="/opt/my lab/100%/bin/python")
    assert 'ExecStart="/opt/my lab/100%%/bin/python" -P -m autoresearchd run' in text
    assert "User=autoresearchd" not in text


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1))
def test_a_quoted_word_has_no_specifier_and_no_variable_left(word: str) -> None:
    found = quoted(word)
    assert "%" not in found.replace("%%", "")
    assert "$" not in found.replace("$$", "")
    assert ('"' in word or " " in word) <= (found[0] == found[-1] == '"')


def test_without_systemd_a_sentence_says_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no systemd of this machine runs here; `autoresearchd run` in tmux"):
        place(tmp_path / "program.toml", user=False)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked, and the real way of escaping."""
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd is not installed")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    (tmp_path / "my lab").mkdir()
    return tmp_path


def test_what_is_installed_is_removed_again_and_each_thing_is_said(stand_in: Path) -> None:
    where = Place(folder=stand_in / "my lab", units=stand_in / "units", user=True)
    said: list[str] = []
    install(where, said.append)
    written = {path for path in where.units.rglob("*") if path.is_file()}
    assert written == {where.units / name for name in (TEMPLATE, *NIGHTS)} | {where.drop_in}
    assert {line for line in said if line.startswith("wrote ")} == {f"wrote {path}" for path in written}
    assert where.drop_in.name == DROP_IN
    uninstall(where, said.append)
    assert list(where.units.iterdir()) == []
    assert (stand_in / "asked").read_text().splitlines()[0] == "--user daemon-reload"
    with pytest.raises(UserError, match="no service is installed"):
        uninstall(where, said.append)


def test_what_a_person_added_to_the_units_stays_and_is_named(stand_in: Path) -> None:
    where = Place(folder=stand_in / "my lab", units=stand_in / "units", user=True)
    said: list[str] = []
    install(where, said.append)
    evening, _ = where.timers
    added = [where.drop_in.with_name("override.conf"), where.units / f"{evening}.d" / "override.conf"]
    for path in added:
        path.parent.mkdir(exist_ok=True)
        path.write_text("# by systemctl edit\n")
    uninstall(where, said.append)
    assert sorted(path for path in where.units.rglob("*") if path.is_file()) == sorted(added)
    assert [line.partition(" stays: ")[0] for line in said if " stays: " in line] == list(map(str, added))
    assert said[-1] == f"{where.folder} itself is as it was"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_lab_of_nobody_is_one_sentence(stand_in: Path) -> None:
    folder = stand_in / "my lab"
    os.chown(folder, 54_321, -1)
    with pytest.raises(UserError, match="belongs to uid 54321, who is no user here: chown -R it"):
        install(Place(folder=folder, units=stand_in / "units", user=False), lambda _: None)
    assert not (stand_in / "units").exists()


def test_the_commands_that_are_shown_can_be_pasted_into_a_shell(stand_in: Path) -> None:
    folder = stand_in / "my-model"
    folder.mkdir()
    said: list[str] = []
    where = Place(folder=folder, units=stand_in / "units", user=True)
    install(where, said.append)
    (start,) = [line.partition(": ")[2] for line in said if line.startswith("now,")]
    assert shlex.split(start) == ["systemctl", "--user", "enable", "--now", where.unit]
    assert where.unit.endswith(r"my\x2dmodel.service")


def test_what_the_daemon_writes_outside_of_the_lab_is_let_through_the_walls(stand_in: Path) -> None:
    folder = stand_in / "my lab"
    text = (
        PROGRAM.replace("[program]", '[program]\nexperiments = "../all labs/100%.git"') + '[report]\nfolder = "out"\n'
    )
    elsewhere = written_elsewhere(parse(text), folder)
    assert elsewhere == (stand_in / "all labs" / "100%.git",)
    os.chown(folder, 65_534, -1) if os.geteuid() == 0 else None
    where = Place(folder=folder, units=stand_in / "units", user=False)
    install(where, lambda _: None, writable=elsewhere)
    line = f'ReadWritePaths=-"{stand_in}/all labs/100%%.git"'
    assert line in where.drop_in.read_text().splitlines()
    assert written_elsewhere(parse(PROGRAM), folder) == ()


def test_the_units_of_another_lab_stay(stand_in: Path) -> None:
    (stand_in / "other").mkdir()
    places = [Place(folder=stand_in / name, units=stand_in / "units", user=True) for name in ("my lab", "other")]
    said: list[str] = []
    for where in places:
        install(where, said.append)
    uninstall(places[0], said.append)
    assert (stand_in / "units" / TEMPLATE).is_file()
    assert places[1].drop_in.is_file()
