"""Files from a list of URLs: resumed where the last attempt stopped, checked by SHA-256, with a progress bar.

A file is under its own name only when it is whole and right; until then it is `NAME.part`. Knows nothing of tokens.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from nanogpt.contract import WrongUse

CHUNK = 2**20
ATTEMPTS = 5
TIMEOUT_SECONDS = 30.0
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One file of the list; without a checksum of its own, the server's (X-Linked-ETag) is used if it gives one."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name


class Interrupted(Exception):
    """The connection broke; what arrived is kept and the next attempt goes on from there."""


def read_list(path: Path) -> tuple[Remote, ...]:
    """`URL [SHA-256]` on each line; empty lines and lines that begin with # are skipped.

    Raises: WrongUse for anything else.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    remotes = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        remote = Remote(url=words[0], sha256=words[1].lower() if len(words) > 1 else None)
        if urllib.parse.urlsplit(remote.url).scheme not in {"http", "https"} or not remote.name:
            raise WrongUse(f"{path}, line {number}: {words[0]} is not an http or https address of a file")
        if len(words) > 2 or (remote.sha256 is not None and not SHA256.fullmatch(remote.sha256)):
            raise WrongUse(f"{path}, line {number}: after the address comes nothing or a SHA-256 of 64 hex digits")
        remotes.append(remote)
    names = [remote.name for remote in remotes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise WrongUse(f"{path} has two files named {min(twice)}")
    if not remotes:
        raise WrongUse(f"{path} lists no address")
    return tuple(remotes)


def fetch(remotes: Sequence[Remote], folder: Path, *, pause_seconds: float = 1.0) -> tuple[Path, ...]:
    """Have every file in the folder; those that are there already are not asked for again.

    `pause_seconds` is the first wait after a broken connection; it doubles with each.
    Raises: WrongUse when a file cannot be had, or is not what its checksum says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_fetch_one(remote, folder, pause_seconds) for remote in remotes)


def _fetch_one(remote: Remote, folder: Path, pause_seconds: float) -> Path:
    path = folder / remote.name
    if path.exists():
        return path
    for attempt in range(ATTEMPTS):
        try:
            expected = _fetch_rest(remote, path)
            break
        except Interrupted as error:
            print(f"\n{remote.name}: {error}", file=sys.stderr)
            if attempt + 1 < ATTEMPTS:
                time.sleep(pause_seconds * 2**attempt)
    else:
        raise WrongUse(f"{remote.url} broke off {ATTEMPTS} times; the same command goes on from where it stopped")
    part = _part(path)
    found = _sha256(part)
    if expected is not None and found != expected:
        part.unlink()
        raise WrongUse(f"{remote.url} has the SHA-256 {found}, not {expected}; what arrived was thrown away")
    part.replace(path)
    return path


def _fetch_rest(remote: Remote, path: Path) -> str | None:
    """Fetch what is missing of the file; the checksum that it should have, None if nobody says one."""
    part, mark = _part(path), path.with_name(path.name + ".etag")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(remote.url)  # noqa: S310  (read_list lets http and https through only)
    if have and mark.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", mark.read_text())  # another version of the file comes whole, with status 200
    redirects = _Redirects()
    try:
        with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_SECONDS) as answer:
            linked = str(answer.headers.get("X-Linked-ETag") or redirects.linked or "").strip('"')
            _remember(mark, answer.headers)
            _append(answer, part, have if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0, remote.name)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise Interrupted("what was kept does not fit the file any more, from the start again") from error
        if error.code < 500:
            raise WrongUse(f"{remote.url} is refused: {error.code} {error.reason}") from error
        raise Interrupted(f"the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from error
    mark.unlink(missing_ok=True)
    return remote.sha256 or (linked if SHA256.fullmatch(linked) else None)


def _append(answer: Any, part: Path, have: int, name: str) -> None:
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None else None
    with part.open("ab" if have else "wb") as file:
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            _show(name, have, total)
    if total is not None and have < total:
        raise Interrupted(f"the connection broke after {have} of {total} bytes")
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _remember(mark: Path, headers: Message) -> None:
    """Keep the version of the file, if the server says one: only a part of the same version can be gone on with."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        mark.write_text(etag)
    else:
        mark.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the checksum that huggingface.co says on the way.

    https://huggingface.co/docs/huggingface_hub/package_reference/file_download: the ETag of a large file is its
    SHA-256, and only the answer before the redirect to the storage has it.
    """

    linked: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.linked = headers.get("X-Linked-ETag") or self.linked
        if urllib.parse.urlsplit(newurl).scheme not in {"http", "https"}:
            raise WrongUse(f"{req.full_url} leads to {newurl}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _show(name: str, have: int, total: int | None) -> None:
    if not sys.stderr.isatty():
        return
    share = have / total if total else 0.0
    bar = "#" * int(30 * share)
    print(f"\r{name} [{bar:<30}] {have / 2**20:.1f} MiB {share:4.0%}", end="", file=sys.stderr, flush=True)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
