"""A short night in which everything goes wrong: `python -m bench.soak` is the long one."""

from __future__ import annotations

import random
from pathlib import Path

from autoresearchd.ledger import Ledger
from bench.soak import Night, disk, soak
from tests.support.projects import git


def test_after_kills_reloads_pushes_and_a_full_disk_everything_is_there_once(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as (folder, why_no_disk):
        night = Night(folder, tmp_path / "log.jsonl", random.Random(1), can_fill=not why_no_disk)
        assert soak(night, 12) == []
        done = {"reload", "refused program", "push", "SIGKILL", *([] if why_no_disk else ["full disk"])}
        assert done <= night.done.keys()
        git(night.lab, "update-ref", "-d", next(e.ref for e in Ledger(night.lab).entries() if e.number == 1))
        night.look()
        assert night.wrong == ["records lost or altered: [1]"], "a loss would not have been noticed"
