"""`autoresearchd top`: what it shows, what its keys do, and that the terminal is given back."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from autoresearchd.experiment import Outcome
from autoresearchd.report.top.glance import Glance, glance
from autoresearchd.report.top.picture import picture
from autoresearchd.report.top.state import Pause, Quit, Skip, State, press
from tests.report.lab import Lab
from tests.report.nouns import EVIL, concluded, curve, device, experiment, status
from tests.support.projects import git

SEEN = Glance(
    status=status(),
    is_running=True,
    curves={"cpu:0": curve(5.0, 4.0, 3.0)},
    best_curve=curve(5.0, 4.5, 3.5, 3.0),
    opened=(experiment(7, "Softcap 15"), experiment(8, "Longer warm-down", proposer="llm")),
    ideas=(EVIL,),
    recent=tuple(concluded(n, Outcome.DISCARD, 1.3, 1.2, std_error=0.01, title=EVIL) for n in range(6, 0, -1)),
)
DEADLINE_SECONDS = 300.0


def drawn(seen: Glance, state: State | None = None, *, width: int = 100, height: int = 30) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(picture(seen, state or State(), width=width, height=height))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_devices_curves_queue_and_verdicts_are_on_one_screen() -> None:
    said = drawn(SEEN)
    for words in (
        "nanogpt  training",
        "0007 seed 1",
        "-0.5000 against best",
        "Longer warm-down",
        "inbox",
        "0006  discard",
    ):
        assert words in said


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (40, 24)])
def test_it_fits_on_any_screen_and_hostile_titles_do_nothing(width: int, height: int) -> None:
    said = drawn(SEEN, width=width, height=height)
    assert len(said.splitlines()) <= height
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_money_is_shown_where_a_model_is_paid() -> None:
    from autoresearchd.status import LlmStatus

    llm = LlmStatus(model="sonnet", state="ready", spent_today=1.5, spent_total=4.0, usd_per_day=10.0)
    assert "$1.50 of $10.00 today, $4.00 in all" in drawn(replace(SEEN, status=status(llm=llm)))


def test_a_dead_daemon_is_never_shown_as_the_present() -> None:
    said = drawn(replace(SEEN, is_running=False))
    assert "no daemon is running" in said
    assert "loss" not in said


def test_the_chosen_experiment_stays_on_the_screen() -> None:
    assert "0001  discard" not in drawn(SEEN, height=18)
    assert "0001  discard" in drawn(SEEN, State(chosen=1), height=18)


@pytest.mark.parametrize("height", [24, 30, 40])
def test_however_many_verdicts_there_are_the_last_line_says_what_the_keys_do(height: int) -> None:
    many = tuple(concluded(n, Outcome.DISCARD, 1.3, 1.2, std_error=0.01) for n in range(100, 0, -1))
    said = drawn(replace(SEEN, recent=many), height=height, width=100).splitlines()
    assert len(said) == height
    assert said[-1].startswith("p pause/resume")
    assert "discard" in said[-3]


def test_keys_move_through_everything_that_is_shown_and_open_it() -> None:
    state, _ = press(State(), "down", SEEN)
    assert state.chosen == 7
    for _ in range(3):
        state, _ = press(state, "j", SEEN)
    assert state.chosen == 5
    state, _ = press(state, "up", SEEN)
    state, _ = press(state, "enter", SEEN)
    assert state.opened == 6
    state, _ = press(state, "q", SEEN)
    assert state.opened is None
    assert press(state, "q", SEEN)[1] == Quit()


def test_skipping_takes_a_second_press_for_the_same_experiment() -> None:
    state, wish = press(State(chosen=7), "s", SEEN)
    assert wish is None
    assert state.said == "press s again to skip 0007"
    moved, _ = press(state, "down", SEEN)
    assert press(moved, "s", SEEN)[1] is None
    assert press(state, "s", SEEN)[1] == Skip(7)


def test_what_has_its_verdict_is_not_skipped() -> None:
    state, wish = press(State(chosen=3), "s", SEEN)
    assert wish is None
    assert state.said == "choose an open experiment to skip"


def test_p_pauses() -> None:
    assert press(State(), "p", SEEN)[1] == Pause()


def test_a_lab_without_a_daemon_and_without_experiments_can_be_looked_at(lab: Lab) -> None:
    seen = glance(lab.ledger)
    assert "no daemon has run here yet" in drawn(seen)
    for key in ("up", "down", "o", "s", "x"):
        assert press(State(), key, seen)[1] is None


class Terminal:
    """A real terminal with a program in it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self.descriptor, self.process, self.said = descriptor, process, ""

    def until(self, words: str) -> None:
        """Wait until it has said that since the last call."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while words not in self.said:
            assert time.monotonic() < deadline, self.said
            self._read()
        self.said = ""

    def ended(self) -> int:
        """Its exit code; until then it is read on, for nobody ends who waits to be read."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, self.said
            self._read()
        return code

    def _read(self) -> None:
        if select.select([self.descriptor], [], [], 0.2)[0]:
            self.said += os.read(self.descriptor, 65536).decode("utf-8", "replace")

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    try:
        seen = Terminal(ours, process)
        yield seen
        assert seen.ended() == 0
        assert termios.tcgetattr(theirs) == before, "the terminal is as it was"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_in_a_real_terminal_keys_pause_open_and_leave(lab: Lab, tmp_path: Path) -> None:
    from autoresearchd.bulletin import write_status
    from tests.report.morning.conftest import PROGRAM

    (tmp_path / "program.toml").write_text(PROGRAM)
    lab.baseline(1.5)
    lab.conclude(lab.open("Raise the rate", "RATE = 0.2\n"), Outcome.DISCARD, 1.6, baseline=1.5, std_error=0.01)
    write_status(lab.path, status(pid=os.getpid(), devices=(device(experiment=None, phase="idle"),), open=()))
    command = (sys.executable, "-m", "autoresearchd", "top", "--program", str(tmp_path / "program.toml"))
    with terminal(*command) as screen:
        screen.until("Raise the rate")
        screen.press("p")
        screen.until("paused: what trains now goes on")
        assert lab.ledger.pause_switch.exists()
        screen.press("p")
        screen.until("resumed")
        assert not lab.ledger.pause_switch.exists()
        screen.press("o")
        screen.until("It may help.")
        screen.press("q")
        screen.until("verdicts")
        screen.press("\x1b[5~\x1b[Ao")  # typed faster than the screen is drawn: none is lost, Page Up means nothing
        screen.until("It may help.")
        git(lab.path, "update-ref", "-d", "refs/heads/exp/0001-raise-the-rate")
        screen.until("0001 was given and its branch is gone")
        screen.press("qq")


def test_without_a_terminal_it_says_what_to_use_instead(lab: Lab, tmp_path: Path) -> None:
    from tests.report.morning.conftest import PROGRAM

    (tmp_path / "program.toml").write_text(PROGRAM)
    command = (sys.executable, "-m", "autoresearchd", "top", "--program", str(tmp_path / "program.toml"))
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "`autoresearchd status` and `log` are for pipes and files" in done.stderr
