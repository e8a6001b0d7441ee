"""Installs and removes the systemd units of one lab, for this machine's paths; says each thing that it does.

The units themselves are the files of systemd/: this only fills in what a machine decides. Starts and stops no lab.
"""

from __future__ import annotations

import glob
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.program import Program

TEMPLATE = "autoresearchd@.service"
NIGHTS = (
    "autoresearchd-evening@.timer",
    "autoresearchd-morning@.timer",
    "autoresearchd-morning@.service",
    "autoresearchd-night@.service",
)
WITHOUT_PRIVILEGES = (
    "NoNewPrivileges",
    "UMask",
    "LockPersonality",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "KeyringMode",
    "SystemCallArchitectures",
    "RestrictAddressFamilies",
    "SystemCallFilter",
    "SystemCallErrorNumber",
)
"""The walls that a user's own manager can put up; others fail there (218/CAPABILITIES) or are ignored."""
SYSTEM_FOLDER = Path("/etc/systemd/system")
DROP_IN = "10-owner.conf"
COMMAND_SECONDS = 60.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one lab's units go, and whose service manager reads them."""

    folder: Path
    """Of the lab's program.toml."""
    units: Path
    user: bool

    @property
    def unit(self) -> str:
        return f"autoresearchd@{self._instance}.service"

    @property
    def timers(self) -> tuple[str, str]:
        """What starts the lab in the evening and stops it in the morning."""
        return f"autoresearchd-evening@{self._instance}.timer", f"autoresearchd-morning@{self._instance}.timer"

    @property
    def _instance(self) -> str:
        return _asked("systemd-escape", "--path", str(self.folder))

    @property
    def drop_in(self) -> Path:
        """What only this lab's instance has; it also tells that the instance is installed."""
        return self.units / f"{self.unit}.d" / DROP_IN

    @property
    def own(self) -> Iterator[Path]:
        """What people have added to the units of this lab, by `systemctl edit`."""
        for name in (TEMPLATE, *NIGHTS):
            for of in (name, name.replace("@", f"@{self._instance}")):
                yield from sorted(self.units.glob(f"{glob.escape(of)}.d/*"))

    def systemctl(self, *words: str) -> tuple[str, ...]:
        return ("systemctl", *(("--user",) if self.user else ()), *words)


def place(program: Path, *, user: bool) -> Place:
    """The service manager of this machine, or of this user, for the lab of that program file.

    Raises: UserError where there is none, or it is not this user's to change.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) if user else Path("/run")
    if (
        shutil.which("systemctl") is None
        or not (runtime / "systemd").is_dir()
        or not Path("/run/systemd/system").is_dir()
    ):
        whose = "of this user" if user else "of this machine"
        raise UserError(f"no systemd {whose} runs here; `autoresearchd run` in tmux is the same program")
    if user and "XDG_RUNTIME_DIR" not in os.environ:  # as under su and sudo: systemctl would find nobody to speak to
        way = f"`export XDG_RUNTIME_DIR={runtime}` first"
        raise UserError(f"XDG_RUNTIME_DIR is not set, and without it nobody finds your service manager: {way}")
    if not user and os.geteuid() != 0:
        raise UserError("the units of the machine are root's: `sudo` this, or give --user for your own service manager")
    if program.name != "program.toml":
        raise UserError(f"a service runs the program.toml of a folder; {program.name} needs a folder of its own")
    config = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    units = config / "systemd" / "user" if user else SYSTEM_FOLDER
    return Place(folder=program.resolve().parent, units=units, user=user)


def written_elsewhere(program: Program, folder: Path) -> tuple[Path, ...]:
    """What the daemon writes to outside of the folder of program.toml, which is all that its unit lets it change."""
    named = [program.program.experiments, program.report.folder]
    if program.devices.executor == "slurm":
        named.append(program.slurm.folder)
    paths = ((folder / Path(name).expanduser()).resolve() for name in named if name is not None)
    return tuple(path for path in paths if not path.is_relative_to(folder))


def install(where: Place, say: Say, *, writable: Sequence[Path] = ()) -> None:
    """Write the units of the lab and have the service manager read them; a second time is the same.

    `writable` are the folders that the daemon writes to outside of the lab's own.

    Raises: UserError where the machine's would run it as root, for what it runs is code that nobody has read, or as
    somebody who is no user.
    """
    own = "# The lab of this user's service manager.\n" if where.user else _walled(where.folder, writable)
    for name in (TEMPLATE, *NIGHTS):
        _write(where.units / name, rendered(_shipped(name), user=where.user), say)
    _write(where.drop_in, own, say)
    _run(where.systemctl("daemon-reload"), say)
    # Quoted for a shell: a dash in a folder's name is `\x2d` in that of its unit.
    say(f"now, and at every start of the machine:  {shlex.join(where.systemctl('enable', '--now', where.unit))}")
    say(f"or at night only, 22:00 to 07:00:        {shlex.join(where.systemctl('enable', '--now', *where.timers))}")
    say(f"how it goes:                             {shlex.join(where.systemctl('status', where.unit))}")
    if where.user:
        say("so that it outlives your login:          loginctl enable-linger")


def _walled(folder: Path, writable: Sequence[Path]) -> str:
    paths = "".join(f"ReadWritePaths=-{_path(path)}\n" for path in writable)
    return f"[Service]\nUser={_owner(folder)}\n{paths}"


def _owner(folder: Path) -> str:
    number = folder.stat().st_uid
    try:
        owner = pwd.getpwuid(number).pw_name
    except KeyError as error:
        raise UserError(
            f"{folder} belongs to uid {number}, who is no user here: chown -R it to a plain user"
        ) from error
    if owner == "root":
        raise UserError(f"{folder} belongs to root, and a lab must not run as root: chown -R it to a plain user")
    return owner


def uninstall(where: Place, say: Say) -> None:
    """Stop and remove the units of the lab; the lab itself, experiments.git, stays, and what people added to the units.

    Raises: UserError where nothing is installed for it.
    """
    if not where.drop_in.is_file():
        raise UserError(f"no service is installed for {where.folder} in {where.units}")
    _run(where.systemctl("disable", "--now", where.unit, *where.timers), say)
    _remove(where.drop_in, say)
    if not any(where.drop_in.parent.iterdir()):
        where.drop_in.parent.rmdir()
    if not any(where.units.glob(f"autoresearchd@*.service.d/{DROP_IN}")):
        for name in (TEMPLATE, *NIGHTS):
            _remove(where.units / name, say)
    _run(where.systemctl("daemon-reload"), say)
    for path in where.own:
        say(f"{path} stays: it is yours, and is in force again with the next `service install`")
    say(f"{where.folder} itself is as it was")


def rendered(template: str, *, user: bool, python: str = sys.executable) -> str:
    """The shipped unit for this machine: its interpreter, and for a user's own manager without what needs privileges.

    `-P`: what lies in the lab's folder must not be imported in place of the daemon's own modules.
    """
    start = f"ExecStart={quoted(python)} -P -m autoresearchd run\n"
    text = template.replace("ExecStart=/usr/local/bin/autoresearchd run\n", start)
    text = text.replace("User=autoresearchd\n", "" if user else "# User= is in the drop-in of the instance.\n")
    return _without_privileges(text) if user else text


def _without_privileges(text: str) -> str:
    text = text.replace("systemctl ", "systemctl --user ")
    text = text.replace("WantedBy=multi-user.target", "WantedBy=default.target")
    text = text.replace("After=network.target nvidia-persistenced.service\n", "")
    head, walled, rest = text.partition("# The key of the language model")
    walls, _, end = rest.partition("[Install]")
    if not walled:
        return text
    key = "# ANTHROPIC_API_KEY=… may stand in this file, which must be yours alone (mode 600).\n"
    kept = "\n".join(line for line in walls.splitlines() if line.partition("=")[0] in WITHOUT_PRIVILEGES)
    return f"{head}{key}EnvironmentFile=-%E/autoresearchd.env\n\n{kept}\n\n[Install]{end}"


def quoted(word: str) -> str:
    """One word of a unit file, whatever is in it: systemd's quotes, and its specifiers and variables defused."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if set(escaped) & set(" '\"\\;\t") else escaped


def _path(path: Path) -> str:
    """The same where no variable is looked for."""
    return quoted(str(path)).replace("$$", "$")


def _shipped(name: str) -> str:
    """A file of systemd/: in a checkout beside the package, else where the wheel puts it."""
    for folder in (Path(__file__).parents[1] / "systemd", Path(sys.prefix) / "share" / "autoresearchd" / "systemd"):
        if (folder / name).is_file():
            return (folder / name).read_text("utf-8")
    raise UserError(f"the unit file {name} is not in this installation; install autoresearchd anew with pip")


def _write(path: Path, text: str, say: Say) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)
    say(f"wrote {path}")


def _remove(path: Path, say: Say) -> None:
    path.unlink(missing_ok=True)
    say(f"removed {path}")


def _run(words: tuple[str, ...], say: Say) -> None:
    say(f"runs {shlex.join(words)}")
    _asked(*words)


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"`{' '.join(words)}` did not work: {error}") from error
    if done.returncode != 0:
        raise UserError(f"`{' '.join(words)}` did not work: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
