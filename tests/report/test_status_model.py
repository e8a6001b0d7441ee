"""The language model's line in the status."""

from __future__ import annotations

from autoresearchd.report.status import text
from autoresearchd.status import LlmStatus
from tests.report.nouns import EVIL, status

NOW = 1_700_000_600.0


def _said(**fields: object) -> str:
    model = LlmStatus(**({"model": "claude", "state": "ready", "usd_per_day": 10.0} | fields))  # type: ignore[arg-type]
    return text(status(llm=model).to_json(), holder=4242)


def test_what_was_spent_is_said() -> None:
    assert "model   claude: ready; $1.25 of $10.00 today, $7.50 in all" in _said(spent_today=1.25, spent_total=7.5)


def test_why_it_pauses_and_until_when_is_said() -> None:
    said = _said(state="over budget", why="$10.00 of $10.00 are spent today", until=NOW + 7200)
    assert "claude: over budget: $10.00 of $10.00 are spent today, again in 2 h" in said


def test_without_a_model_there_is_no_line() -> None:
    assert "model   " not in text(status().to_json(), holder=4242)


def test_no_word_of_an_api_steers_the_terminal() -> None:
    assert "\x1b" not in _said(state="blocked", why=EVIL)


def test_a_price_that_nobody_knows_is_said() -> None:
    assert "its own is not known: set [propose.llm.prices]" in _said(is_price_known=False)
