"""[propose.llm] and [propose.command]: what a person may write, and what is said when it is wrong."""

from __future__ import annotations

import pytest

from autoresearchd.errors import ConfigError
from autoresearchd.program import parse
from tests.support.projects import PROGRAM


@pytest.mark.parametrize(
    ("table", "line", "words"),
    [
        ("llm", 'base_url = "localhost"', "http://"),
        ("llm", "thinking = 100", "'model', 'off', 'between_tools' or 'adaptive', or a number of tokens from 1024 up"),
        ("llm", 'thinking = "hard"', "'adaptive', or a number of tokens from 1024 up"),
        ("llm", "thinking = 2048\nmax_tokens = 1024", "are 1536 or more"),
        ("llm", 'effort = "huge"', "'low', 'medium', 'high', 'xhigh' or 'max'"),
        ("llm", "usd_per_day = -1", "greater than or equal to 0"),
        ("llm", "in_flight = 7", "less than or equal to 6"),
        ("llm", 'check = "\'"', "a command line"),
        ("llm", 'api_key = "sk"', "no such key"),
        ("command", 'command = ""', "names a program"),
        ("command", 'environment = ["ANTHROPIC_API_KEY"]', "stays with the daemon"),
    ],
)
def test_a_wrong_value_is_one_sentence(table: str, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"propose.{table}") as caught:
        parse(f"{PROGRAM}[propose.{table}]\n{line}\n")
    assert words in str(caught.value)


def test_everything_can_be_set() -> None:
    found = parse(
        f"{PROGRAM}[propose.llm]\nthinking = 4096\nusd_total = 5.0\n[propose.llm.prices]\ninput = 1.0\n"
        '[propose.command]\ncommand = "agent --go"\nenvironment = ["AGENT_KEY"]\n'
    ).propose
    assert (found.llm.thinking, found.llm.usd_total, found.llm.prices.input) == (4096, 5.0, 1.0)
    assert found.command.environment == ("AGENT_KEY",)
    assert found.llm.enabled is None
