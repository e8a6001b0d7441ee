"""Data on a machine that runs are sent to: there whole and as it was hashed, or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.run import depot


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


def test_an_archive_serves_where_the_folder_cannot_be_seen(source: Path, tmp_path: Path) -> None:
    wanted, sent = depot.digest(source), tmp_path / "sent" / "data.tar"
    sent.parent.mkdir()
    depot.archive(source, sent)
    place = depot.bring(tmp_path / "depot", wanted, sent)
    assert names(place) == names(source)
    assert depot.digest(place) == wanted


@pytest.mark.parametrize("change", ["content", "name", "link", "one more", "cut archive"])
def test_other_data_than_was_hashed_is_refused_and_not_kept(source: Path, tmp_path: Path, change: str) -> None:
    wanted, sent = depot.digest(source), source
    if change == "content":
        (source / "tokens.bin").write_bytes(b"1235")
    elif change == "name":
        (source / "tokens.bin").rename(source / "token.bin")
    elif change == "link":
        (source / "link").unlink()
        (source / "link").symlink_to("deep/more")
    elif change == "one more":
        (source / "z").touch()
    else:
        sent = tmp_path / "data.tar"
        depot.archive(source, sent)
        sent.write_bytes(sent.read_bytes()[:2000])
    with pytest.raises(UserError):
        depot.bring(tmp_path / "depot", wanted, sent)
    assert names(tmp_path / "depot") == [f"{wanted}.lock"]


def test_data_that_the_node_cannot_see_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be seen from here"):
        depot.bring(tmp_path / "depot", "0" * 64, tmp_path / "nowhere")


def test_every_name_and_byte_is_in_the_hash(source: Path) -> None:
    before = depot.digest(source)
    (source / "deep" / "more").rename(source / "deep" / "less")
    assert depot.digest(source) != before
