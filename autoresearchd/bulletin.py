"""What the daemon leaves for those who watch: status.json and live.json, and how others read the latter.

Written beside and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoresearchd.status import LiveRun, Status


def write_status(lab: Path, status: Status) -> None:
    """What the daemon does, in a few figures."""
    _write(lab / "autoresearchd" / "status.json", status.to_json())


def write_live(lab: Path, runs: Sequence[LiveRun]) -> None:
    """What trains now, with curves and ends of logs."""
    _write(lab / "autoresearchd" / "live.json", [_plain(run) for run in runs])


def read_live(lab: Path) -> list[dict[str, Any]]:
    """The trainings that a daemon wrote down last, in the shape of `write_live`; none where none can be read."""
    try:
        found = json.loads((lab / "autoresearchd" / "live.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []  # no daemon yet, or a power cut left it empty: the next second writes it anew
    return found if isinstance(found, list) else []


def _plain(run: LiveRun) -> dict[str, Any]:
    return {**asdict(run), "curve": [[point.step, point.seconds, point.train_loss] for point in run.curve]}


def _write(path: Path, found: object) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(found), "utf-8")
    fresh.replace(path)
