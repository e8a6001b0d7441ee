"""The key is taken once, from the environment or a systemd credential, and leaves no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearchd.propose.llm.key import Key, find_key
from tests.propose.llm.room import KEY

TAKE = """
import os, subprocess, sys
from pathlib import Path
from autoresearchd.propose.llm import take_key
key = take_key()
assert key.reveal() == sys.argv[1], key
assert "ANTHROPIC_API_KEY" not in os.environ
assert key.reveal().encode() not in Path("/proc/self/environ").read_bytes()
child = subprocess.run(["env"], capture_output=True, text=True).stdout
assert key.reveal() not in child and "PATH=" in child
assert key.reveal() not in f"{key} {key!r} {vars(key) and ''}"
print("taken")
"""


def test_a_taken_key_is_in_no_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKE, KEY], env={**os.environ, "ANTHROPIC_API_KEY": KEY}, capture_output=True, text=True
    )
    assert done.stdout == "taken\n", done.stderr


def test_a_systemd_credential_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert not find_key()
    (tmp_path / "anthropic-api-key").write_text(f"{KEY}\n")
    assert find_key().reveal() == KEY


def test_a_key_is_struck_out_of_any_text() -> None:
    assert Key(KEY).scrub(f"a {KEY} b") == "a [key] b"
    assert Key("").scrub("a b") == "a b"
