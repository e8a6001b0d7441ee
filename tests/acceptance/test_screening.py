"""Two CPU slots of different models, real processes and real git: one leads best, the other screens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoresearchd.experiment import Device
from autoresearchd.ledger import Ledger
from autoresearchd.run.device import cores
from autoresearchd.run.pins import pinned
from autoresearchd.slots import Devices
from tests.acceptance.daemon import PROGRAM, TARGET, command, environment, events, foreign_lab, queue
from tests.support.patience import PATIENCE, until
from tests.support.projects import fsck, git

TWO_MODELS = """
from dataclasses import replace
from autoresearchd import equipment
from autoresearchd.cli import main
found = equipment.discover
equipment.discover = lambda wanted: tuple(replace(slot, model=f"model {slot.index}") for slot in found(wanted))
main()
"""
"""The daemon, told that its two slots are different hardware."""
DEVICES = Devices(use="cpu", cpu_slots=2, cpu_pin=True)
SLOTS = TARGET.replace("DEPTH = 8\n", "DEPTH = 8\nGATED = 0\n").replace(
    "    distance =",
    """    import os, pathlib, time
    leads = os.sched_getaffinity(0) == CORES
    while GATED and leads and not pathlib.Path("@").exists():
        time.sleep(0.02)
    distance = (0 if leads else 1000) +""",
)
"""Its numbers are quite others on the slot that screens; what is gated waits on the one that leads."""


def verdicts(path: Path) -> dict[str, list[str]]:
    """By experiment, as stock git reads them: verdict, environment, why."""
    keys = ("Experiment", "Verdict", "Environment", "Why")
    form = "|".join(f"%(trailers:key={key},valueonly,separator=)" for key in keys)
    said = git(path, "for-each-ref", "--format=%(objectname)", "refs/heads/exp")
    rows = (git(path, "log", "-1", f"--format={form}", commit).strip().split("|") for commit in said.split())
    return {row[0]: row[1:] for row in rows}


def was_screened(folder: Path, daemon: subprocess.Popen[bytes]) -> bool:
    assert daemon.poll() is None, (folder / "daemon.jsonl").read_text()[-2000:]
    return any("screened in model-1/" in str(entry.get("why")) for entry in events(folder))


def test_what_is_worse_ends_on_the_screening_device_and_every_keep_was_measured_where_best_is_led(
    tmp_path: Path,
) -> None:
    if cores() < 2:
        pytest.skip("two slots with cores of their own need two cores")
    folder, gate = tmp_path / "project", tmp_path / "gate" / "open"
    gate.parent.mkdir()
    leading = set(pinned(DEVICES, Device(name="cpu:0")))
    more = 'cpu_slots = 2\ncpu_pin = true\nlead = "model-0"\n[sandbox]\nreadable = ["../gate"]\n'
    foreign_lab(folder, train=SLOTS.replace("CORES", str(leading)).replace("@", str(gate)), program=PROGRAM + more)
    queue(folder, "Win", "MATRIX_LR = 0.04", "MATRIX_LR = 0.08")
    for rate in (5.0, 6.0, 7.0):
        queue(folder, f"Set {rate}", "GATED = 0", f"GATED = 1\nMATRIX_LR = {rate}")
    with (folder / "daemon.jsonl").open("ab") as log:
        words = [sys.executable, "-c", TWO_MODELS, "run", "--experiments", "4"]
        daemon = subprocess.Popen(
            words, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        until(lambda: was_screened(folder, daemon), said=lambda: events(folder)[-5:])
        gate.touch()
        assert daemon.wait(PATIENCE) == 0, events(folder)[-5:]
    finally:
        daemon.kill()
    lab = folder / "experiments.git"
    found = verdicts(lab)
    screened = [row for row in found.values() if row[1].startswith("model-1/")]
    assert screened
    assert all(verdict == "discard" and why.startswith("screened in model-1/") for verdict, _, why in screened)
    kept = {row[1].partition("/")[0] for row in found.values() if row[0] in ("keep", "baseline")}
    assert kept == {"model-0"}
    assert [row[0] for row in found.values()].count("keep") == 1
    assert "model-1" in command(folder, "show", str(next(int(n) for n, row in found.items() if row in screened))).stdout
    assert Ledger(lab).verify() == ()
    assert fsck(lab) == ""
