"""The report that is written by itself, and who is told."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time as clock
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import ConfigError, UserError
from autoresearchd.experiment import Concluded
from autoresearchd.program import load
from autoresearchd.report.morning import filing, schedule
from autoresearchd.status import Status
from tests.report.nouns import status
from tests.support.disk import full_disk
from tests.support.patience import until

SEVEN = time(7, 0)


def at(text: str) -> float:
    """A moment by this machine's clock."""
    return datetime.fromisoformat(text).astimezone().timestamp()


def configured(program: Path, text: str) -> Path:
    """The same program with a [report] of its own."""
    program.write_text(program.read_text() + "[report]\n" + text)
    return program


def hook(program: Path, code: str, more: str = "") -> Path:
    """A program whose hook is a piece of Python."""
    return configured(program, f'hook = """{shlex.join([sys.executable, "-c", code])}"""\n{more}')


@pytest.mark.parametrize(
    ("since", "now", "is_due"),
    [
        ("2026-11-20 23:00", "2026-11-21 06:59", False),
        ("2026-11-21 06:59", "2026-11-21 07:00", True),
        ("2026-11-21 07:00", "2026-11-21 07:01", False),
        ("2026-11-20 23:00", "2026-11-21 08:00", True),
        ("2026-11-20 08:00", "2026-11-21 06:00", False),
    ],
)
def test_a_report_is_due_once_when_its_hour_has_come(since: str, now: str, is_due: bool) -> None:
    assert schedule.due(at(since), at(now), SEVEN) is is_due


def test_an_hour_that_is_none_is_refused_with_an_example(program: Path) -> None:
    with pytest.raises(ConfigError, match='an hour like "07:00", or "never"'):
        load(configured(program, 'at = "25:00"\n'))


def test_the_report_goes_into_the_lab_and_latest_points_at_it(program: Path) -> None:
    place = filing.file(program)
    assert place.parent == program.parent / "experiments.git" / "autoresearchd" / "reports"
    latest = place.parent / "latest.html"
    assert latest.read_text() == place.read_text()
    assert latest.read_text().startswith("<!DOCTYPE html>")
    filing.file(program)
    assert sorted(path.name[0] for path in place.parent.iterdir()) == ["2", "l"], "nothing half-written is left"


def test_the_hook_gets_the_sentence_and_the_place_of_the_report(program: Path) -> None:
    code = "import os, sys; open('told', 'w').write(sys.stdin.read() + os.environ['AUTORESEARCH_REPORT'])"
    place = filing.file(hook(program, code, 'folder = "reports"\n'))
    assert place.parent == program.parent / "reports"
    sentence, told = (program.parent / "told").read_text().splitlines()
    assert sentence.startswith("Of 4 changes tried 1 was kept")
    assert told == str(place)


def test_a_hook_that_fails_is_said_and_the_report_is_there(program: Path) -> None:
    with pytest.raises(UserError, match="ended with exit code 3: no such mailbox"):
        filing.file(hook(program, "import sys; print('no such mailbox'); sys.exit(3)"))
    assert (program.parent / "experiments.git/autoresearchd/reports/latest.html").exists()


def test_a_hook_that_hangs_is_killed_with_its_children(program: Path) -> None:
    script = shlex.join(["sh", "-c", "sleep 600 & echo $! > pid; wait"])
    with pytest.raises(UserError, match=r"was killed after report\.hook_seconds = 5"):
        filing.file(configured(program, f'hook = """{script}"""\nhook_seconds = 5.0\n'))
    child = int((program.parent / "pid").read_text())
    deadline = clock.monotonic() + 120
    while _lives(child):
        assert clock.monotonic() < deadline
        os.sched_yield()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_hook_that_does_not_exist_is_said(program: Path) -> None:
    with pytest.raises(UserError, match="'no-such-mailer' cannot be started"):
        filing.file(configured(program, 'hook = "no-such-mailer"\n'))


class Inner:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.updates = 0

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        del status, recent
        self.updates += 1


def test_in_the_morning_another_process_writes_the_report(program: Path) -> None:
    inner = Inner()
    before = datetime.combine(datetime.now().astimezone().date(), SEVEN).astimezone()
    with schedule.mornings(inner, program) as view:
        view.update(status(now=(before - timedelta(minutes=1)).timestamp()), ())
        view.update(status(now=(before + timedelta(minutes=1)).timestamp()), ())
    assert inner.updates == 2
    assert (program.parent / "experiments.git/autoresearchd/reports/latest.html").exists()


def passes_seven(program: Path) -> None:
    """A view that looks before the hour of the report and after it."""
    before = datetime.combine(datetime.now().astimezone().date(), SEVEN).astimezone() - timedelta(minutes=1)
    with schedule.mornings(Inner(), program) as view:
        for minutes in (0, 2):
            view.update(status(now=(before + timedelta(minutes=minutes)).timestamp()), ())


@pytest.mark.parametrize(("place", "name"), [(tempfile, "tempdir"), (sys, "executable")])
def test_a_machine_that_cannot_start_the_report_takes_nothing_from_the_daemon(
    program: Path, monkeypatch: pytest.MonkeyPatch, place: ModuleType, name: str
) -> None:
    with monkeypatch.context() as missing, capture_logs() as logs:
        missing.setattr(place, name, str(program.parent / "not" / "there"))
        passes_seven(program)
    assert [(entry["event"], entry["program"]) for entry in logs] == [("report_failed", str(program))]
    assert "not/there" in logs[0]["why"]
    passes_seven(program)
    assert (program.parent / "experiments.git/autoresearchd/reports/latest.html").exists()


def test_the_report_imports_nothing_of_the_users_project(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("queue.py", "structlog.py"):
        (program.parent / "project" / name).write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(program.parent / "project")
    passes_seven(program)
    assert (program.parent / "experiments.git/autoresearchd/reports/latest.html").exists()


def test_a_report_of_its_hour_is_cut_off_with_its_hook_where_the_daemon_is_told_to_end(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "HURRY_SECONDS", 0.0)
    script = shlex.join(["sh", "-c", "echo $$ >>pids; exec sleep 3600"])
    configured(program, f'hook = """{script}"""\nhook_seconds = 3600.0\n')
    before = datetime.combine(datetime.now().astimezone().date(), SEVEN).astimezone() - timedelta(minutes=1)
    end = status(state="stopped", why="stopped by SIGTERM", session_opened=3)
    with capture_logs() as logs, schedule.mornings(Inner(), program) as view:
        for minutes in (0, 2):
            view.update(status(now=(before + timedelta(minutes=minutes)).timestamp()), ())
        (pid,) = until(lambda: (program.parent / "pids").exists() and (program.parent / "pids").read_text().split())
        view.update(end, ())
    assert [entry["event"] for entry in logs] == ["report_cut_off"]
    until(lambda: not _lives(int(pid)))
    assert schedule.at_end(program, end, view).startswith("report: "), "the hook was told twice, or the report lost"
    assert (program.parent / "pids").read_text().split() == [pid]


def test_never_means_never(program: Path) -> None:
    configured(program, 'at = "never"\n')
    with schedule.mornings(Inner(), program) as view:
        view.update(status(now=0.0), ())
        view.update(status(now=86_400.0), ())
    assert not (program.parent / "experiments.git/autoresearchd/reports").exists()


def test_the_end_of_a_session_leaves_a_report_unless_nothing_was_tried_or_it_is_not_wanted(program: Path) -> None:
    morning = schedule.Mornings(Inner(), program)
    assert schedule.at_end(program, status(session_opened=0), morning) == ""
    assert schedule.at_end(program, status(session_opened=1), morning).startswith("report: ")
    assert schedule.at_end(configured(program, "at_end = false\n"), status(session_opened=1), morning) == ""


def test_a_report_that_cannot_be_written_takes_nothing_from_the_session(program: Path) -> None:
    (program.parent / "taken").write_text("a file")
    configured(program, 'folder = "taken"\n')
    assert schedule.at_end(program, status(session_opened=1), schedule.Mornings(Inner(), program)) == ""


@pytest.mark.parametrize(("more", "told"), [(0, 1), (1, 2)])
def test_a_night_that_ends_at_seven_tells_of_the_same_once(program: Path, more: int, told: int) -> None:
    hook(program, "open('told', 'a').write('once ')")
    before = datetime.combine(datetime.now().astimezone().date(), SEVEN).astimezone() - timedelta(minutes=1)
    with schedule.mornings(Inner(), program) as view:
        for minutes in (0, 2):
            night = status(now=(before + timedelta(minutes=minutes)).timestamp(), verdicts={"discard": 3})
            view.update(night, ())
    end = status(session_opened=3, verdicts={"discard": 3 + more})
    assert "experiments.git/autoresearchd/reports/2" in schedule.at_end(program, end, view)
    assert (program.parent / "told").read_text().split() == ["once"] * told


def test_a_report_that_the_disk_has_no_room_for_leaves_no_half_of_itself(tmp_path: Path) -> None:
    with full_disk(8), pytest.raises(OSError, match="too large"):
        filing.replace(tmp_path / "report.html", "words" * 100)
    assert list(tmp_path.iterdir()) == []
