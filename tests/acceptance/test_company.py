"""A daemon whose GPU somebody else uses as well: real processes, NVIDIA's real binding, a library of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from autoresearchd.run import proc
from tests.acceptance.daemon import TARGET, events, foreign_lab, status_of, wait_for
from tests.support.nvml import environment
from tests.support.patience import PATIENCE, until

PROGRAM = """
[program]
name = "shared"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb:\\s+(\\S+)'
[sandbox]
readable = ["../gate"]
"""
WAITING = TARGET.replace(
    "    distance =",
    """    import pathlib, time
    while not pathlib.Path("@").exists():
        time.sleep(0.02)
    distance =""",
)
SMI = "#!/bin/sh\necho '0, GPU-aa11, 143771, NVIDIA H200'\n"
STRANGER = f"process {os.getpid()} 70000\n"
NAMED = f"{proc.name(os.getpid())} (pid {os.getpid()}, 70000 MiB)"
"""This very process, which is none of the daemon's."""


def say(folder: Path, variables: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "autoresearchd", *words]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def test_a_run_beside_somebody_elses_process_is_repeated_logged_and_said(tmp_path: Path) -> None:
    folder, gate, tools = tmp_path / "project", tmp_path / "gate" / "open", tmp_path / "tools"
    gate.parent.mkdir()
    tools.mkdir()
    (tools / "nvidia-smi").write_text(SMI)
    (tools / "nvidia-smi").chmod(0o755)
    variables = environment(tmp_path)
    variables["PATH"] = f"{tools}{os.pathsep}{variables['PATH']}"
    state = Path(variables["NVML_STATE"])
    foreign_lab(folder, train=WAITING.replace("@", str(gate)), program=PROGRAM)
    state.write_text(STRANGER)
    assert f"cuda:0 is shared with {NAMED}" in say(folder, variables, "doctor")
    state.write_text("")  # who was there before the first run would be taken for a resident
    with (folder / "daemon.jsonl").open("ab") as log:
        words = [sys.executable, "-m", "autoresearchd", "run", "--experiments", "0"]
        daemon = subprocess.Popen(words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(folder, "run_started", daemon=daemon, device="cuda:0", seed=0)
        state.write_text(STRANGER)
        until(lambda: f"beside it: {NAMED} on cuda:0" in say(folder, variables, "status"))
        state.write_text("")
        gate.touch()
        assert daemon.wait(PATIENCE) == 0, events(folder)[-5:]
    finally:
        daemon.kill()
    (disturbed,) = (entry for entry in events(folder) if entry["event"] == "run_disturbed")
    assert (disturbed["seed"], disturbed["why"]) == (0, f"{NAMED} on cuda:0")
    seeds = [entry["seed"] for entry in events(folder) if entry["event"] == "run_finished"]
    assert sorted(seeds) == [0, 0, 1, 2], "it was not repeated with its own seed"
    assert status_of(folder)["disturbed"] == 1
