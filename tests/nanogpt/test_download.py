"""Downloads go on where they stopped and are believed only if their checksum is right; against a real server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nanogpt import download, prepare
from nanogpt.contract import WrongUse
from nanogpt.data import open_tokens
from nanogpt.download import Remote, fetch, read_list

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; breaks off after `breaks[0]` bytes of the file, and so on, until there are none left."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.etag = CONTENT, '"v1"'
        self.breaks: list[int] = []
        self.statuses: list[int] = []
        self.linked = ""
        self.ranges: list[str | None] = []

    def url(self, path: str = "/file.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.send_header("X-Linked-ETag", f'"{server.linked}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if wanted and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        stop = server.breaks.pop(0) if server.breaks else len(server.content)
        self.wfile.write(server.content[start:stop])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, folder: Path, *, sha256: str | None = SHA256, path: str = "/file.bin") -> Path:
    (found,) = fetch([Remote(url=server.url(path), sha256=sha256)], folder, pause_seconds=0.0)
    return found


def test_a_file_arrives_whole_and_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert get(server, tmp_path).name == "file.bin"
    assert server.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = [2**20, 2 * 2**20]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={2**20}-", f"bytes={2 * 2**20}-"]


def test_the_next_call_goes_on_after_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.breaks = [2**20] + [2**20] * (download.ATTEMPTS - 1)
    with pytest.raises(WrongUse, match="the same command goes on"):
        get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={2**20}-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server: Server, tmp_path: Path) -> None:
    server.breaks = [2**20] * download.ATTEMPTS
    with pytest.raises(WrongUse):
        get(server, tmp_path)
    server.content, server.etag = CONTENT[::-1], '"v2"'
    assert get(server, tmp_path, sha256=None).read_bytes() == CONTENT[::-1]


def test_a_part_that_does_not_fit_the_file_is_fetched_from_its_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "file.bin.etag").write_text(server.etag)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=f"has the SHA-256 {SHA256}, not {'0' * 64}"):
        get(server, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_the_checksum_that_a_redirect_names_is_checked(server: Server, tmp_path: Path) -> None:
    server.linked = "1" * 64
    with pytest.raises(WrongUse, match=f"not {'1' * 64}"):
        get(server, tmp_path, sha256=None, path="/moved/file.bin")
    server.linked = SHA256
    assert get(server, tmp_path, sha256=None, path="/moved/file.bin").read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_one_sentence(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(WrongUse, match=r"is refused: 404 Not Found"):
        get(server, tmp_path)


def test_nobody_listening_is_one_sentence(tmp_path: Path) -> None:
    with Server() as server:
        url = server.url()
    with pytest.raises(WrongUse, match="broke off 5 times"):
        fetch([Remote(url=url)], tmp_path, pause_seconds=0.0)


def test_a_list_of_urls_becomes_data(server: Server, tmp_path: Path) -> None:
    server.content = "".join(f'{{"text": "document number {n}"}}\n' for n in range(80)).encode()
    checksum = hashlib.sha256(server.content).hexdigest()
    (tmp_path / "urls").write_text(f"# one shard\n\n{server.url('/shard.jsonl')} {checksum}\n")
    out = tmp_path / "data"
    prepare.prepare(["--urls", str(tmp_path / "urls"), "--out", str(out), "--held-out", "0.2"])
    assert sum(len(open_tokens(out / split).raw_bytes) for split in prepare.SPLITS) == 80


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lists no address"),
        ("file:///etc/passwd", "line 1: file:///etc/passwd is not an http or https address of a file"),
        ("https://host/", "line 1: https://host/ is not"),
        ("https://host/a abc", "line 1: after the address comes nothing or a SHA-256"),
        ("https://host/a\nhttps://other/a", "has two files named a"),
    ],
)
def test_a_wrong_list_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "urls"
    path.write_text(text)
    with pytest.raises(WrongUse, match=sentence):
        read_list(path)


def test_the_climbmix_recipe_names_the_shards_of_karpathys_autoresearch() -> None:
    assert prepare.CLIMBMIX.format(6542) == (
        "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main/shard_06542.parquet"
    )
