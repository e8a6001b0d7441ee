"""Data on a machine that runs are sent to: there whole and as it was hashed, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.run import depot

KILLED = """
import resource, signal, sys
from pathlib import Path
from autoresearchd.run import depot
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
depot.bring(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
"""
"""Copies data, and is killed by its second byte."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "tokens.bin").write_bytes(b"1234")
    (folder / "deep" / "more").write_bytes(b"5")
    (folder / "link").symlink_to("tokens.bin")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_copy_is_the_data_and_is_made_once(source: Path, tmp_path: Path) -> None:
    wanted = depot.digest(source)
    place = depot.bring(tmp_path / "depot", wanted, source)
    assert names(place) == names(source)
    assert depot.digest(place) == wanted
    for path in (source / "link", source / "tokens.bin"):
        path.unlink()
    assert depot.bring(tmp_path / "depot", wanted, source) == place
    assert (place / "tokens.bin").read_bytes() == b"1234"


def test_of_many_runs_that_want_the_data_at_once_all_get_it(source: Path, tmp_path: Path) -> None:
    wanted = depot.digest(source)
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: depot.bring(tmp_path / "depot", wanted, source), range(16)))
    assert len(set(places)) == 1
    assert not [name for name in names(tmp_path / "depot") if name.startswith(".new")]


def test_one_file_is_data_too(tmp_path: Path) -> None:
    file = tmp_path / "tokens.npz"
    file.write_bytes(b"123")
    place = depot.bring(tmp_path / "depot", depot.digest(file), file)
    assert place.name == "tokens.npz"
    assert place.read_bytes() == b"123"


def test_one_file_is_data_whatever_its_name_ends_with(tmp_path: Path) -> None:
    shards = tmp_path / "shards.tar"
    with tarfile.open(shards, "w") as tar:
        tar.add(__file__, arcname="0.txt")
    place = depot.bring(tmp_path / "depot", depot.digest(shards), shards)
    assert place.read_bytes() == shards.read_bytes()


def test_what_a_killed_copy_left_is_cleared_by_the_next(source: Path, tmp_path: Path) -> None:
    wanted, home = depot.digest(source), tmp_path / "depot"
    words = (sys.executable, "-c", KILLED, str(home), wanted, str(source))
    assert subprocess.run(words, check=False).returncode == -signal.SIGXFSZ
    assert [name for name in names(home) if name.startswith(".new")]
    depot.bring(home, wanted, source)
    assert not [name for name in names(home) if name.startswith(".new")]


@pytest.mark.parametrize("change", ["content", "name", "link", "one more"])
def test_other_data_than_was_hashed_is_refused_and_not_kept(source: Path, tmp_path: Path, change: str) -> None:
    wanted = depot.digest(source)
    if change == "content":
        (source / "tokens.bin").write_bytes(b"1235")
    elif change == "name":
        (source / "tokens.bin").rename(source / "token.bin")
    elif change == "link":
        (source / "link").unlink()
        (source / "link").symlink_to("deep/more")
    else:
        (source / "z").touch()
    with pytest.raises(UserError):
        depot.bring(tmp_path / "depot", wanted, source)
    assert names(tmp_path / "depot") == [f"{wanted}.lock"]


def test_data_that_the_node_cannot_see_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be seen from here"):
        depot.bring(tmp_path / "depot", "0" * 64, tmp_path / "nowhere")


def test_who_waits_for_a_hash_is_told_that_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 3 * depot.CHUNK_BYTES)
    told: list[None] = []
    depot.digest(tmp_path, lambda: told.append(None))
    assert len(told) == 3
    assert depot.size(tmp_path) == 3 * depot.CHUNK_BYTES


@pytest.mark.parametrize("way", ["absolute", "up", "through another"])
def test_a_link_that_leads_out_of_the_data_is_refused_in_one_sentence(source: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "elsewhere").write_text("changes, and no hash tells")
    leads = {"absolute": str(source / "tokens.bin"), "up": "../elsewhere", "through another": "deep/up/../elsewhere"}
    (source / "deep" / "up").symlink_to("..")
    (source / "out").symlink_to(leads[way])
    with pytest.raises(UserError, match=rf"has a link that leads out of it, .*out to {leads[way]}: put a copy"):
        depot.digest(source)


def test_every_name_and_byte_is_in_the_hash(source: Path) -> None:
    before = depot.digest(source)
    (source / "deep" / "more").rename(source / "deep" / "less")
    assert depot.digest(source) != before
