"""The API key: read once at the start, then nowhere but in this process's own memory. Never printed or passed on."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import MutableMapping
from pathlib import Path

from autoresearchd.thinkers import OUR_KEY

CREDENTIAL = "anthropic-api-key"
"""File name of the systemd credential (`LoadCredential=anthropic-api-key:…`)."""
SHOWN = "[key]"


class Key:
    """A secret that does not print itself."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Key(…)" if self._value else "Key()"

    def reveal(self) -> str:
        """The key itself, for the HTTP client only."""
        return self._value

    @property
    def fingerprint(self) -> str:
        """Tells one key from another, and nothing about either: it may be written down."""
        return hashlib.sha256(self._value.encode()).hexdigest()[:12] if self._value else ""

    def scrub(self, text: str) -> str:
        """The text without the key, should somebody have put it there."""
        return text.replace(self._value, SHOWN) if len(self._value) >= 8 else text


NO_KEY = Key("")


def find_key() -> Key:
    """The key of the environment or of the systemd credential; empty where there is none."""
    value = os.environ.get(OUR_KEY, "").strip()
    if value:
        return Key(value)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return NO_KEY
    try:
        return Key((Path(folder) / CREDENTIAL).read_text("utf-8").strip())
    except OSError:
        return NO_KEY  # no such credential: the offline proposers work without


def take_key(environ: MutableMapping[str, str] = os.environ) -> Key:
    """The key, and no trace of it left in the environment that children inherit or read in /proc."""
    key = find_key()
    if OUR_KEY in environ:
        _blank(OUR_KEY)
        del environ[OUR_KEY]
    return key


def _blank(name: str) -> None:
    """Overwrite the value where the kernel put it at our start: /proc/PID/environ is read from there."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place = libc.getenv(name.encode())
    if place:
        ctypes.memset(place, ord("x"), len(ctypes.string_at(place)))
