"""`propose --llm --dry-run`: the exact prompt, its tokens and the price, and nobody is asked for an idea."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoresearchd import rehearsal
from autoresearchd.program import Program, parse
from tests.support.messages import MessagesServer, Say
from tests.support.projects import PROGRAM, lab

KEY = "sk-ant-test-0123456789abcdef"


def program(extra: str = "") -> Program:
    return parse(PROGRAM + extra)


def test_the_prompt_and_its_price_are_shown_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    text = rehearsal.text(program(), lab(tmp_path))
    assert "You are the researcher of an automated lab." in text
    assert "RATE = 1\nDEPTH = 2" in text
    assert '"name": "edit_file"' in text
    assert "cached up to here for an hour" in text
    assert re.search(r"\n\d+ tokens \(estimated from the size: there is no API key", text)
    assert re.search(r"about \$0\.\d{4} a proposal with claude-sonnet-5-5", text)


def test_with_a_key_the_api_counts_and_proposes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with MessagesServer([Say()]) as server:
        text = rehearsal.text(program(f'[propose.llm]\nbase_url = "{server.url}"\n'), lab(tmp_path))
        assert server.calls == 0
    assert re.search(r"\n\d+ tokens \(counted by the API\)", text)
    assert KEY not in text


def test_an_unknown_price_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    text = rehearsal.text(program('[propose.llm]\nmodel = "qwen"\n'), lab(tmp_path))
    assert "the price of qwen is not known" in text


def test_an_api_that_does_not_count_leaves_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with MessagesServer([Say()]) as server:
        url = server.url
    text = rehearsal.text(program(f'[propose.llm]\nbase_url = "{url}"\n'), lab(tmp_path))
    assert "tokens (estimated from the size: " in text


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (Say(status=400, error=("invalid_request_error", "prompt is too long: 9 > 8")), "prompt is too long: 9 > 8"),
        (Say(raw=("text/html", "<h1>Sign in</h1>")), "does not answer as the Messages API does"),
    ],
)
def test_whatever_the_api_says_to_it_there_is_an_estimate(
    say: Say, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with MessagesServer([], counting=say) as server:
        text = rehearsal.text(program(f'[propose.llm]\nbase_url = "{server.url}"\n'), lab(tmp_path))
    assert re.search(rf"tokens \(estimated from the size: .*{re.escape(why)}", text)
