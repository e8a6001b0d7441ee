"""The daemon is killed, stopped and asked twice; nothing is lost, nothing counts twice, `best` equals its evidence."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import TARGET, command, events, foreign_lab, queue, start, status_of, stop, wait_for
from tests.support.forks import Started
from tests.support.patience import until
from tests.support.projects import fsck, git

KILLS = 50


def numbers(ledger: Ledger) -> list[int]:
    return [entry.number for entry in ledger.entries()]


def leftovers(lab: Path) -> list[str]:
    """Processes that still run in this lab's folders."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(lab).encode() in environ.read_bytes() and b"AUTORESEARCH_RUN" in environ.read_bytes():
                found.append(environ.parent.name)
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def test_killed_at_fifty_random_instants_it_goes_on_each_time(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    lab = folder / "experiments.git"
    rng = random.Random(7)
    verdicts: dict[int, str] = {}
    best_line: list[str] = []
    for _ in range(KILLS):
        daemon = start(folder)
        wait_for_lines(folder, rng.randint(0, 12))
        time.sleep(rng.uniform(0.0, 0.1))
        stop(daemon, signal.SIGKILL)
        (folder / "daemon.jsonl").write_text("")
        ledger = Ledger(lab)
        verdicts = grown(verdicts, ledger)
        line = git(lab, "rev-list", "--reverse", "best").split()
        assert line[: len(best_line)] == best_line, "best went back"
        best_line = line
    command(folder, "run", "--experiments", "2")
    ledger = Ledger(lab)
    grown(verdicts, ledger)
    assert ledger.opened() == (), "an experiment was forgotten"
    assert numbers(ledger) == list(range(len(ledger.entries()))), "a number is missing or twice"
    assert len(ledger.entries()) > 10, "the kills left it no time to work"
    assert ledger.verify() == ()
    assert fsck(lab) == ""
    assert leftovers(lab) == []
    runs = Counter(run.run for entry in ledger.entries() for run in ledger.measurements(entry.tree))
    assert runs, "no run was filed"


def grown(before: dict[int, str], ledger: Ledger) -> dict[int, str]:
    """The verdicts now; those that were there before are there unchanged."""
    now = {row.experiment.number: row.experiment.commit for row in ledger.concluded()}
    assert {number: now.get(number) for number in before} == before, "a record was lost or altered"
    return dict(now)


def wait_for_lines(folder: Path, count: int) -> None:
    """Until the newest daemon has said so much: work, not time, is what a slow machine does as well."""
    until(lambda: len(events(folder)) >= count, said=lambda: events(folder)[-3:])


STUBBORN = TARGET.replace("DEPTH = 8\n", "DEPTH = 8\nSLEEP = 0\n").replace(
    "def main():\n",
    """def main():
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("asleep", flush=True)
    time.sleep(SLEEP)
""",
)
"""A training that hangs and does not go by itself where SLEEP is set."""


def asleep(folder: Path, *, more: str = "") -> Started:
    """A daemon whose only experiment sleeps for ten minutes and ignores SIGTERM; `more` is its program's."""
    foreign_lab(folder, train=STUBBORN)
    with (folder / "program.toml").open("a") as program:
        program.write(more)
    command(folder, "run", "--experiments", "0")
    queue(folder, "Sleep", "SLEEP = 0", "SLEEP = 600")
    daemon = start(folder)
    wait_for(folder, "experiment_opened")
    wait_for(folder, "run_started")
    return daemon


def test_sigterm_ends_it_in_the_middle_of_a_training_and_judges_nothing_that_it_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon = asleep(folder)
    assert stop(daemon) == 0
    ledger = Ledger(folder / "experiments.git")
    assert leftovers(ledger.path) == [], "a training outlived the daemon"
    assert [experiment.title for experiment in ledger.opened()] == ["Sleep"]
    assert ledger.verify() == ()
    assert fsck(ledger.path) == ""


def test_who_waits_for_ideas_that_cannot_come_is_told_why(tmp_path: Path) -> None:
    """A script without constants: nobody has anything to say, however often they are asked."""
    bare = 'def main():\n    print("val_bpb: 1.0")\n\n\nmain()\n'
    folder = foreign_lab(tmp_path / "project", train=bare)
    daemon = start(folder, "--experiments", "1")
    (said,) = wait_for(folder, "no_idea", daemon=daemon)
    assert said["why"].startswith("no constant is found in what may be edited")
    until(lambda: "no idea is at hand" in status_of(folder)["why"] and said["why"] in status_of(folder)["why"])
    wait_for(folder, "no_proposal", count=3, daemon=daemon)
    assert len([event for event in events(folder) if event["event"] == "no_idea"]) == 1
    assert stop(daemon) == 0


def test_a_status_that_cannot_be_written_is_said_once_and_the_research_goes_on(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    (folder / "experiments.git" / "autoresearchd" / "status.json.new").mkdir(parents=True)
    daemon = start(folder, "--experiments", "2")
    wait_for(folder, "daemon_stopped")
    assert daemon.wait() == 0
    assert len(Ledger(folder / "experiments.git").concluded()) == 3
    (said,) = (event for event in events(folder) if event["event"] == "status_not_written")
    assert "status.json.new" in said["why"]


def test_ctrl_c_is_exit_code_130(tmp_path: Path) -> None:
    daemon = asleep(tmp_path / "project")
    assert stop(daemon, signal.SIGINT) == 130


def test_told_to_end_it_waits_for_no_hook_that_sleeps_and_says_what_became_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon = asleep(folder, more='[report]\nhook = "sleep 3600"\nhook_seconds = 3600\n')
    assert stop(daemon) == 0
    (said,) = (event for event in events(folder) if event["event"] == "report_failed")
    assert "report.hook = 'sleep 3600' was killed after" in said["why"]
    assert "the daemon was told to end" in said["why"]


def test_a_gpu_that_is_not_there_is_no_mistake_to_a_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = foreign_lab(tmp_path / "project")
    program = folder / "program.toml"
    program.write_text(program.read_text().replace('use = "cpu"', 'use = ["cuda:9"]'))
    for manager, code in (("", 2), ("@nobody-listens", os.EX_TEMPFAIL)):
        if manager:
            monkeypatch.setenv("NOTIFY_SOCKET", manager)
        done = command(folder, "run", check=False)
        assert "device cuda:9 is not there" in done.stderr
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon = asleep(folder)
    second = command(folder, "run", check=False)
    stop(daemon)
    assert second.returncode == 2
    assert f"pid {daemon.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_saved_program_is_in_force_by_its_settings_or_refused_and_said_once(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon = asleep(folder)
    program, good = folder / "program.toml", (folder / "program.toml").read_text()

    program.write_text(good + "[accept]\nconf")  # saved half-way
    assert "is not valid TOML" in wait_for(folder, "program_refused")[0]["why"]
    program.write_text(good + "[accept]\nconfidence = 7\n")
    assert "accept.confidence = 7" in wait_for(folder, "program_refused", count=2)[1]["why"]
    refused = "program.toml refused: program.toml: accept.confidence = 7 is not allowed"
    until(lambda: refused in command(folder, "status").stdout)
    program.write_text(good + "[accept]\nconfidence = 7\n")

    program.write_text(good + "[accept]\nconfidence = 0.9\n[budget]\nhours = 3\n")
    assert wait_for(folder, "program_reloaded")[0]["changed"] == ["accept.confidence", "budget.hours"]
    settings = wait_for(folder, "setting_changed", count=2)
    assert [(s["key"], s["old"], s["new"]) for s in settings] == [
        ("accept.confidence", 0.95, 0.9), ("budget.hours", "not set", 3.0),
    ]  # fmt: skip
    assert len([event for event in events(folder) if event["event"] == "program_refused"]) == 2
    until(lambda: status_of(folder)["session_deadline"])
    told = status_of(folder)
    assert told["session_deadline"] == told["session_started"] + 3 * 3600

    program.write_text(good.replace('name = "val_bpb"', 'name = "loss"'))
    assert "metric.name cannot change in a lab" in wait_for(folder, "program_refused", count=3)[2]["why"]
    program.unlink()
    assert "does not exist" in wait_for(folder, "program_refused", count=4)[3]["why"]
    assert stop(daemon) == 0

    program.write_text(good.replace('name = "val_bpb"', 'name = "loss"'))
    done = command(folder, "run", check=False)
    assert done.returncode == 2
    assert "measured with metric.name = 'val_bpb', not 'loss' as program.toml says" in done.stderr
    for line, key in (('direction = "higher"', "metric.direction"), ("evaluate_seconds = 7.0", "")):
        program.write_text(good.replace("[metric]", f"[metric]\n{line}"))
        done = command(folder, "run", "--hours", "1e-9", check=False)
        assert (done.returncode, key in done.stderr) == (2 if key else 0, True)

    program.write_text(good)
    git(folder / "experiments.git", "update-ref", "-d", "refs/autoresearch/measured")  # as in labs of older releases
    assert command(folder, "run", "--hours", "1e-9").returncode == 0
    assert '"metric.direction"' in git(folder / "experiments.git", "cat-file", "blob", "refs/autoresearch/measured")
