"""What looks like a key is nowhere to be read; ordinary words stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd import trailers
from autoresearchd.experiment import Lines
from autoresearchd.run.log import Log
from autoresearchd.scrub import HIDDEN, scrub

KEYS = (
    "sk-ant-" + "api03-" + "aB3_" * 20,
    "sk-" + "proj-" + "x" * 40,
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1_" * 12,
    "glpat-" + "x" * 20,
    "hf_" + "aB" * 17,
    "xoxb-" + "1234567890-abc",
    "AIza" + "x" * 35,
    "eyJ" + "hbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".SflKxwRJSMeK",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_removed_from_words_logs_and_commit_messages(key: str) -> None:
    assert scrub(f"before {key} after") == f"before {HIDDEN} after"
    log = Log()
    log.feed(f"ValueError: my key is {key}\n".encode())
    log.end()
    for shown in (log.tail(), log.last_error()):
        assert key not in shown
        assert HIDDEN in shown or "\n" in key
    record = trailers.Record(
        number=1,
        title=f"Use {key}",
        rationale=f"Because {key}",
        proposer="llm",
        category="x",
        lines=Lines(added=1, removed=0),
        reason=key,
    )
    assert key not in trailers.render(record)
    assert key.split("\n")[0] not in trailers.render(record)


def test_a_password_in_a_url_is_removed() -> None:
    assert scrub("git clone https://me:hunter2@example.org/x") == f"git clone https://{HIDDEN}@example.org/x"
    assert scrub("Authorization: Bearer abcdefghij") == f"Authorization: {HIDDEN}"


@pytest.mark.parametrize(
    "text",
    [
        "Lower MATRIX_LR to 0.02",
        "loss: 2.345678",
        "9f3a2c1b" * 5,
        "https://example.org/a:b@c",
        "task-force",
        "sk-learn",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


@given(st.text())
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)
