"""The real command in a real process, on a project whose training takes milliseconds."""

from __future__ import annotations

import difflib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from autoresearchd.ledger import Ledger
from tests.support import forks
from tests.support.forks import Started
from tests.support.patience import PATIENCE, until
from tests.support.projects import lab, project

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
    return project(folder, _files(train), program=program)


def foreign_lab(folder: Path, *, train: str = TARGET, program: str = PROGRAM) -> Path:
    """The same after `autoresearchd init`."""
    return lab(folder, _files(train), program=program).path.parent


def _files(train: str) -> dict[str, str]:
    return {"train.py": train, "README.md": "A project.\n"}


def patch(text: str, old: str, new: str) -> str:
    """The patch of one change in train.py."""
    assert old in text
    before, after = text.splitlines(keepends=True), text.replace(old, new).splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, "a/train.py", "b/train.py"))


def patch_of(folder: Path, old: str, new: str) -> str:
    """The same in a project's own."""
    return patch((folder / "train.py").read_text(), old, new)


def queue(folder: Path, title: str, old: str, new: str) -> None:
    """Put a change of train.py into the inbox, as `autoresearchd propose` does."""
    Ledger(folder / "experiments.git").submit_patch(patch_of(folder, old, new).encode(), title=title)


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}


def command(folder: Path, *arguments: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `autoresearchd …` in a folder to its end."""
    done = forks.run(folder, arguments, environment=environment(), given=given)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def start(folder: Path, *arguments: str, key: str = "") -> Started:
    """`autoresearchd run …` in the background, its log in daemon.jsonl; `key` is the language model's."""
    variables = {**environment(), **({"ANTHROPIC_API_KEY": key} if key else {})}
    (folder / "daemon.jsonl").touch()
    return forks.start(folder, ["run", *arguments], environment=variables, log=folder / "daemon.jsonl")


def events(folder: Path) -> list[dict[str, Any]]:
    """The daemon's log lines; a torn last one of a killed daemon is left out."""
    found = []
    for line in (folder / "daemon.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def wait_for(
    folder: Path, event: str, *, count: int = 1, daemon: Started | subprocess.Popen[bytes] | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """Until `event` was logged so often, with these fields; a `daemon` that ends before that is a failure."""

    def found() -> list[dict[str, Any]]:
        logged = [e for e in events(folder) if e.get("event") == event and fields.items() <= e.items()]
        assert len(logged) >= count or daemon is None or daemon.poll() is None, events(folder)[-5:]
        return logged if len(logged) >= count else []

    return until(found, said=lambda: f"no {event}: {events(folder)[-5:]}")


def status_of(folder: Path) -> dict[str, Any]:
    """What the daemon said last; empty before that."""
    path = folder / "experiments.git" / "autoresearchd" / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def stop(daemon: Started, number: int = signal.SIGTERM) -> int:
    """Send a signal and wait for the end."""
    daemon.send_signal(number)
    return daemon.wait(PATIENCE)
