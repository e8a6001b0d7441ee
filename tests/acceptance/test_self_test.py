"""`doctor --self-test`: the judge on the user's own target, in a lab that is thrown away."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.daemon import command, foreign_project


def test_it_says_how_often_nothing_was_taken_for_something_and_leaves_nothing(tmp_path: Path) -> None:
    folder = foreign_project(tmp_path / "project")
    done = command(folder, "doctor", "--self-test", "4", check=False)
    found = re.search(r"(\d) of 4 changes of nothing were taken for an improvement", done.stdout)
    assert found, done.stdout + done.stderr
    assert done.returncode == (1 if found[1] != "0" else 0)
    assert not (folder / "experiments.git").exists()
