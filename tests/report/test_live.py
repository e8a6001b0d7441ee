"""What a running daemon shows, on a real terminal and without one."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from autoresearchd.experiment import Outcome
from autoresearchd.report.live import frame
from tests.report.nouns import EVIL, concluded, device, status

DAEMON = """
import sys
from pathlib import Path
import structlog
from autoresearchd.experiment import Outcome
from autoresearchd.program import parse
from autoresearchd.report import live
from tests.report.nouns import EVIL, concluded, status

program = parse('program = {name="t", editable=["a.py"]}\\ntrain = {command="python a.py"}\\nmetric = {name="val_bpb"}')
log = structlog.get_logger()
with live.view(Path(sys.argv[1]), program) as view:
    log.info("daemon_started", title=EVIL)
    view.update(status(now=1_700_000_600.0), ())
    view.update(status(now=1_700_000_600.1), [concluded(5, Outcome.KEEP, 1.1, 1.2, std_error=0.01, title=EVIL)])
    log.info("daemon_stopped")
log.info("after")
"""


def _picture(*args: object, width: int = 110, **fields: object) -> str:
    console = Console(file=io.StringIO(), width=width, height=40)
    console.print(frame(*args, **fields))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _on_a_terminal(lab: Path) -> str:
    """What the daemon wrote on a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    process = subprocess.Popen([sys.executable, "-c", DAEMON, str(lab)], stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:
        pass  # Linux says EIO where the other end of a terminal is closed
    finally:
        os.close(ours)
    assert process.wait() == 0
    return said.decode()


def test_the_picture_says_what_happens_and_what_came_out() -> None:
    recent = [
        concluded(5, Outcome.DISCARD, 1.25, 1.2, std_error=0.02, title="Wider"),
        concluded(6, Outcome.CRASH, title="Softcap 0"),
    ]
    said = _picture(status(session_limit=13), recent, seconds_left=600.0)
    assert "nanogpt  training  10 min 00 s  ETA 10 min 00 s" in said
    assert "best 0004 val_bpb 1.20000 (+0.100 on the baseline)  kept 2 of 6 tried  1 failed" in said
    assert "0007 seed 1" in said
    assert "━" in said
    assert "50%" in said
    assert "step 75  loss 2.5000" in said
    assert "-0.050 ± 0.020" in said
    assert "Softcap 0" in said


def test_every_phase_of_a_device_has_its_line() -> None:
    idle = device(device="cuda:1", experiment=None, phase="idle", model="H200", fraction=None)
    starting = device(phase="starting", fraction=None, step=0, train_loss=None)
    said = _picture(status(devices=(starting, idle)), [])
    assert "starting" in said
    assert "cuda:1" in said
    assert "idle" in said
    assert "H200" in said


def test_a_held_lab_says_why() -> None:
    said = _picture(status(state="held", why="the disk is full", until=1_700_000_630.0), [])
    assert "held: the disk is full, again in 30 s" in said


def test_before_the_baseline_there_is_no_best_value() -> None:
    said = _picture(status(best=None, baseline=None, best_number=None, verdicts={}), [])
    assert "best - val_bpb -  kept 0 of 0 tried" in said


def test_the_picture_never_wraps_on_a_narrow_terminal() -> None:
    long = concluded(5, Outcome.INCONCLUSIVE, 1.25, 1.2, std_error=0.02, title="a long title " * 20)
    said = _picture(status(why="because " * 30), [long], width=60)
    assert len(said.splitlines()) == 5


def test_no_title_steers_the_terminal_or_the_markup() -> None:
    bad = concluded(5, Outcome.KEEP, 1.1, 1.2, title=EVIL)
    said = _picture(status(program=EVIL, why=EVIL, devices=(device(title=EVIL),)), [bad], width=900)
    assert said.count("[bold red]not markup[/]") == 4
    assert not [char for char in said if not char.isprintable() and char != "\n"]


def test_on_a_terminal_the_lines_go_to_a_file_and_the_picture_stays(tmp_path: Path) -> None:
    said = _on_a_terminal(tmp_path)
    lines = (tmp_path / "autoresearchd" / "daemon.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["daemon_started", "daemon_stopped"]
    assert "daemon_started" not in said
    assert "after" in said
    assert "+0.100 ± 0.010" in said  # the last state is drawn even if it came too soon after the one before
    assert "\x1b]0;owned" not in said
    assert "\x9b" not in said


def test_without_a_terminal_there_are_json_lines_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "daemon_started",
        "daemon_stopped",
        "after",
    ]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_without_a_lab_nothing_is_made(tmp_path: Path) -> None:
    said = _on_a_terminal(tmp_path / "experiments.git")
    assert "daemon_started" in said
    assert not (tmp_path / "experiments.git").exists()
