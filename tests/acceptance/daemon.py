"""The real command in a real process, on a project whose training takes milliseconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.projects import git, project

TARGET = '''"""A stand-in for a training script: knows nothing of us, prints karpathy/autoresearch's summary."""
import random

MATRIX_LR = 0.04
WEIGHT_DECAY = 0.2
WARMUP_RATIO = 0.0
DEPTH = 8


def main():
    distance = abs(MATRIX_LR - 0.08) / 0.08 + abs(WEIGHT_DECAY - 0.1) + abs(DEPTH - 9) / 10
    val_bpb = 0.95 + 0.05 * distance + random.gauss(0, 0.0005)
    print("step 00001 (100.0%) | loss: 2.345678 | lrm: 1.00")
    print("---")
    print(f"val_bpb:          {val_bpb:.6f}")
    print("training_seconds: 300.1")
    print("total_seconds:    325.9")
    print("peak_vram_mb:     45060.2")
    print("mfu_percent:      39.80")
    print("total_tokens_M:   499.6")
    print("num_steps:        953")
    print("num_params_M:     50.3")
    print(f"depth:            {DEPTH}")


main()
'''

PROGRAM = """
[program]
name = "foreign"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb:\\s+(\\S+)'
[devices]
use = "cpu"
"""


def foreign_project(folder: Path, *, train: str = TARGET, program: str = PROGRAM) -> Path:
    """A project in git with a program.toml and nothing else of ours."""
    return project(folder, {"train.py": train, "README.md": "A project.\n"}, program=program)


def patch_of(folder: Path, old: str, new: str) -> str:
    """The patch of one change, made in a copy."""
    copy = folder.parent / "copy"
    git(folder.parent, "clone", "-q", str(folder), str(copy))
    path = copy / "train.py"
    path.write_text(path.read_text().replace(old, new))
    patch = git(copy, "diff")
    shutil.rmtree(copy)
    return patch


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}


def command(folder: Path, *arguments: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `autoresearchd …` in a folder to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "autoresearchd", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        input=given,
        timeout=600,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def start(folder: Path, *arguments: str, key: str = "") -> subprocess.Popen[bytes]:
    """`autoresearchd run …` in the background, its log in daemon.jsonl; `key` is the language model's."""
    with (folder / "daemon.jsonl").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "autoresearchd", "run", *arguments],
            cwd=folder,
            env={**environment(), **({"ANTHROPIC_API_KEY": key} if key else {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def events(folder: Path) -> list[dict[str, Any]]:
    """The daemon's log lines; a torn last one of a killed daemon is left out."""
    found = []
    for line in (folder / "daemon.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def wait_for(folder: Path, event: str, *, count: int = 1, seconds: float = 300.0) -> list[dict[str, Any]]:
    """Until the daemon has logged `event` so often; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [entry for entry in events(folder) if entry.get("event") == event]
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {event} in {seconds} s: {events(folder)[-5:]}")


def stop(daemon: subprocess.Popen[bytes], number: int = signal.SIGTERM, *, seconds: float = 30.0) -> int:
    """Send a signal and wait for the end."""
    daemon.send_signal(number)
    return daemon.wait(timeout=seconds)
