"""What went wrong with a call: one of three exceptions of ours, with one sentence for a person. Calls nobody."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoresearchd.propose.llm.breaker import Failure
from autoresearchd.propose.llm.fence import line
from autoresearchd.propose.llm.key import Key
from autoresearchd.thinkers import Llm

if TYPE_CHECKING:
    import anthropic

ANTHROPIC_URL = "https://api.anthropic.com"
_SPENT = frozenset(
    {"contract_spend_limit_reached", "enforced_spend_limit_reached", "linked_organization_spend_limit_reached"}
)
"""Codes of errors that say 429 or 403 and that no waiting mends."""
_OUTGROWN = ("prompt is too long", "exceed context limit")
"""The API has no code for this."""
_PASSING = frozenset({408, 409, 425})
"""Of the statuses below 500 those that another try may mend, as the SDK has it."""
_OUT_OF_ORDER = frozenset({"overloaded_error", "api_error", "timeout_error", "conflict_error"})
_GARBLED = (json.JSONDecodeError, UnicodeError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)
"""What the SDK raises where a server answers something else: it takes for granted what it is sent."""


class CallFailed(Exception):
    """The API did not answer; the breaker is to be told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


class TooLong(Exception):
    """This conversation does not fit the model any more; nothing is wrong with the API."""


class Malformed(Exception):
    """What the model gave a tool is not JSON."""


def translated(error: Exception, settings: Llm, key: Key) -> Exception:
    """What an exception of the SDK means; itself where it is nothing of the SDK's."""
    import anthropic
    import httpx2

    where, said = whom(settings), line(key.scrub(str(error)), most=200)
    match error:
        case anthropic.APIStatusError():
            return _refused(error, settings, key)
        case anthropic.APITimeoutError() | httpx2.TimeoutException():
            return _failed(f"{where} does not answer in time")
        case anthropic.APIConnectionError() | httpx2.HTTPError():
            return _failed(f"{where} cannot be reached: {said or type(error).__name__}")
        case anthropic.APIError():
            return _failed(f"the API failed: {said}")
    if isinstance(error, _GARBLED):
        return _failed(f"{where} does not answer as the Messages API does ({type(error).__name__}: {said})")
    return Malformed() if isinstance(error, ValueError) else error  # the SDK's word for tool input that is not JSON


def pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks us to wait; None where it does not say."""
    for name, second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) / second)
        except ValueError:
            continue  # not there, or a date
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def whom(settings: Llm) -> str:
    """Who is asked, for a person."""
    return settings.base_url or ANTHROPIC_URL


def _refused(error: anthropic.APIStatusError, settings: Llm, key: Key) -> CallFailed | TooLong:
    """What an answer other than 200 means, or an error in the middle of one."""
    said = line(key.scrub(str(error.api_message or error.message)), most=200)
    code, kind, where = error.status_code, str(error.type or ""), whom(settings)
    if code == 402 or kind == "billing_error" or error.error_code in _SPENT or "credit balance" in said:
        return _failed(f"the API's credit is used up ({said})", fatal=True)
    if code in (401, 403) or kind in ("authentication_error", "permission_error"):
        return _failed(f"{where} refuses the API key ({said})", fatal=True)
    if code == 404 or kind == "not_found_error":
        return _failed(f"{where} does not know the model {settings.model!r} ({said})", fatal=True)
    if code == 413 or any(words in said for words in _OUTGROWN):
        return TooLong(said)
    after = pause(error.response.headers)
    if code == 429 or kind == "rate_limit_error":
        return _failed(f"the API limits the rate ({said})", after=after)
    if code >= 500 or code in _PASSING or kind in _OUT_OF_ORDER:
        return _failed(f"the API is overloaded or out of order ({said})", after=after)
    return _failed(f"the API refuses the request ({said})", fatal=True)


def _failed(why: str, *, fatal: bool = False, after: float | None = None) -> CallFailed:
    return CallFailed(Failure(why=why, fatal=fatal, retry_after=after))
