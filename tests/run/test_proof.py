"""What doctor says of the sandbox is tried, not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearchd.limits import Mode
from autoresearchd.run import sandbox
from autoresearchd.run.proof import prove


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_a_sandbox_that_works_lets_nothing_through(tmp_path: Path, mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(f"{mode} does not work here: {why}")
    (tmp_path / "home").mkdir()
    (tmp_path / "lab").mkdir()
    proof = prove(mode, home=tmp_path / "home", folder=tmp_path / "lab")
    assert (proof.escaped, proof.why) == ((), "")
    assert list(tmp_path.glob("*/*")) == []


def test_no_sandbox_is_found_out_by_all_three(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    proof = prove("none", home=tmp_path / "home", folder=tmp_path)
    assert proof.escaped == ("write", "connect", "read of the home folder")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
