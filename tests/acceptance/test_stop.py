"""`autoresearchd stop`, on a real daemon in the middle of a training."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from autoresearchd.ledger import Ledger
from autoresearchd.lock import held
from tests.acceptance.daemon import PROGRAM, TARGET, command, events, foreign_lab, queue, start, status_of, wait_for
from tests.support.forks import Started
from tests.support.patience import PATIENCE, until
from tests.support.projects import fsck

GATED = TARGET.replace("DEPTH = 8\n", "DEPTH = 8\nGATED = 0\n").replace(
    "def main():\n",
    """def main():
    import pathlib, time
    while GATED and not pathlib.Path("@").exists():
        time.sleep(0.02)
""",
)
"""A training that goes on once the file @ is there."""
BAD = "GATED = 1\nMATRIX_LR = 5.0"
"""So bad that one run is enough to say so."""


def training(folder: Path) -> tuple[Started, Path]:
    """A daemon in the middle of its only training, and the file that lets that end."""
    gate = folder.parent / "gate" / "open"
    gate.parent.mkdir()
    foreign_lab(folder, train=GATED.replace("@", str(gate)), program=PROGRAM + '[sandbox]\nreadable = ["../gate"]\n')
    queue(folder, "Wait", "GATED = 0", BAD)
    daemon = start(folder)
    trains(folder)
    return daemon, gate


def trains(folder: Path, *, times: int = 1) -> None:
    """Until the experiment has been started so often."""
    wait_for(folder, "run_started", count=times, experiment=1)


def asked_to_end(folder: Path) -> subprocess.Popen[str]:
    """`stop --after-run`, once it has said that the daemon knows."""
    words = [sys.executable, "-u", "-m", "autoresearchd", "stop", "--after-run"]
    asking = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    assert "begins nothing new" in asking.stdout.readline()
    return asking


def verdicts(folder: Path) -> list[str]:
    return [row.verdict.outcome.value for row in Ledger(folder / "experiments.git").concluded()]


def test_stop_after_run_waits_for_the_verdict_and_begins_nothing_new(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon, gate = training(folder)
    asking = asked_to_end(folder)
    until(lambda: status_of(folder)["state"] == "ending")
    queue(folder, "Later", "DEPTH = 8", "DEPTH = 9")
    wait_for(folder, "idea_queued", count=2)
    gate.touch()
    assert daemon.wait(timeout=PATIENCE) == 0, "a service manager would start it again"
    said, _ = asking.communicate(timeout=PATIENCE)
    assert said == "stopped; `autoresearchd run` goes on from there\n"
    assert verdicts(folder) == ["baseline", "discard"]
    assert events(folder)[-1]["why"] == "stopped by `autoresearchd stop --after-run`"
    command(folder, "run", "--experiments", "1")
    assert len(verdicts(folder)) == 3, "the request outlived the daemon that it was for"
    assert fsck(folder / "experiments.git") == ""


def test_a_killed_daemon_still_ends_unless_resumed_and_a_plain_stop_waits_for_no_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    daemon, _ = training(folder)
    asking = asked_to_end(folder)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    assert "killed before that" in asking.communicate(timeout=PATIENCE)[0]
    assert start(folder).wait(timeout=PATIENCE) == 0
    (folder / "experiments.git/autoresearchd/stop").touch()
    command(folder, "resume")
    daemon = start(folder)
    trains(folder, times=2)
    said = command(folder, "stop").stdout
    assert daemon.wait(timeout=PATIENCE) == 0, "a service manager would start it again"
    assert f"SIGTERM to the daemon (pid {daemon.pid})" in said
    assert said.endswith("stopped; `autoresearchd run` goes on from there\n")
    assert verdicts(folder) == ["baseline"]
    assert [experiment.title for experiment in Ledger(folder / "experiments.git").opened()] == ["Wait"]


def test_nobody_else_is_signalled_where_no_daemon_runs_or_another_process_has_its_pid(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    lab = folder / "experiments.git"
    none = command(folder, "stop", "--after-run", check=False)
    assert (none.returncode, none.stdout) == (2, "")
    assert "no daemon runs for" in none.stderr
    with subprocess.Popen(["sleep", "600"]) as bystander:
        with held(lab):
            (lab / "autoresearchd" / "lock").write_text(f"{bystander.pid}\n")
            strange = command(folder, "stop", check=False)
        assert strange.returncode == 2
        assert "another container" in strange.stderr
        assert bystander.poll() is None
        bystander.kill()
