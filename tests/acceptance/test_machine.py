"""A machine that lets the daemon do nothing for a while: it says so, waits, and goes on."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd import controls
from autoresearchd.ledger import Ledger
from tests.acceptance.daemon import events, foreign_lab, start, stop, wait_for
from tests.run.room import bound_by_modes


def test_a_daemon_that_may_open_no_more_files_waits_until_it_may(tmp_path: Path) -> None:
    folder = foreign_lab(tmp_path / "project")
    daemon = start(folder)
    wait_for(folder, "experiment_concluded", count=2, daemon=daemon)
    _, most = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (5, most))
    wait_for(folder, "lab_not_read", daemon=daemon)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (most, most))
    wait_for(folder, "lab_read_again", daemon=daemon)
    assert stop(daemon) == 0
    ledger = Ledger(folder / "experiments.git")
    assert [row.experiment.number for row in ledger.concluded()] == concluded(folder)
    assert ledger.verify() == ()


def concluded(folder: Path) -> list[int]:
    return [event["experiment"] for event in events(folder) if event["event"] == "experiment_concluded"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_daemon_that_ends_on_a_disk_that_can_only_be_read_says_what_stays(tmp_path: Path, *, asked: bool) -> None:
    switch = controls.stop_switch(tmp_path)
    switch.parent.mkdir()
    if asked:
        switch.touch()
    switch.parent.chmod(0o500)
    with bound_by_modes(), capture_logs() as said:
        controls.stopped(tmp_path)
    assert [entry["event"] for entry in said] == ["stop_stays"] * asked
    switch.parent.chmod(0o700)
    controls.stopped(tmp_path)
    assert not switch.exists()
