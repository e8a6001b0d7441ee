"""One call of the Messages API: the request in, blocks and usage out, every failure as one of ours. Decides nothing.

The SDK takes more than a second to import, so it is imported where it is used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoresearchd.propose.llm.breaker import Failure
from autoresearchd.propose.llm.fence import line
from autoresearchd.propose.llm.key import Key
from autoresearchd.propose.llm.prices import BYTES_A_TOKEN, Usage, read_usage
from autoresearchd.scrub import scrub
from autoresearchd.thinkers import Llm

if TYPE_CHECKING:
    import anthropic

ANTHROPIC_URL = "https://api.anthropic.com"
NO_KEY_NEEDED = "none"
"""What a gateway of one's own is told where there is no key."""
CONNECT_SECONDS = 15.0
LONGEST_SLEEP_SECONDS = 30.0
"""That the SDK may sleep before it tries again: it would sleep for hours, and nobody would be told."""
Block = dict[str, Any]


class CallFailed(Exception):
    """The API did not answer; the breaker is to be told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


class TooLong(Exception):
    """This conversation does not fit the model any more; nothing is wrong with the API."""


class Malformed(Exception):
    """What the model gave a tool is not JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said."""

    blocks: tuple[Block, ...]
    stop: str
    """The API's word: end_turn, tool_use, max_tokens, refusal, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All of one call but its settings."""

    system: list[Block]
    tools: list[Block]
    messages: list[Block]
    max_tokens: int


class Api:
    """The API as one program's settings and one key see it; belongs to one event loop."""

    def __init__(self, settings: Llm, key: Key) -> None:
        self._settings, self._key = settings, key
        self._client: anthropic.AsyncAnthropic | None = None

    async def ask(self, settings: Llm, request: Request, *, retries: int, paid: Callable[[Usage], None]) -> Answer:
        """Make one call; `paid` hears what it used, also when it breaks off or is cancelled.

        Raises: CallFailed, TooLong, Malformed.
        """
        import anthropic
        import httpx2

        client, seen = (await self._connect()).with_options(max_retries=retries), _Seen()
        try:
            async with client.messages.stream(**_arguments(settings, request)) as stream:
                async for event in stream:
                    seen.note(event)
                message = await stream.get_final_message()
        except anthropic.APIStatusError as error:
            raise _status(error, settings, self._key) from None
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            why = line(self._key.scrub(str(error)) or type(error).__name__)
            raise CallFailed(Failure(why=f"{_where(settings)} cannot be reached: {why}")) from None
        except anthropic.APIError as error:
            raise CallFailed(Failure(why=f"the API failed: {line(self._key.scrub(str(error)))}")) from None
        except ValueError as error:  # the SDK's word for tool input that is not JSON
            raise Malformed from error
        finally:
            paid(seen.used)
        if message.stop_reason is None:
            raise CallFailed(Failure(why=f"{_where(settings)} broke off in the middle of an answer"))
        return Answer(blocks=tuple(_plain(message.content)), stop=message.stop_reason)

    async def count(self, settings: Llm, request: Request) -> int:
        """Tokens of a request as the API counts them. Raises: CallFailed."""
        import anthropic

        arguments = _arguments(settings, request)
        wanted = {name: arguments[name] for name in ("model", "system", "tools", "messages")}
        try:
            counted = await (await self._connect()).messages.count_tokens(**wanted)
        except anthropic.APIStatusError as error:
            raise _status(error, settings, self._key) from None
        except anthropic.APIError as error:
            raise CallFailed(Failure(why=line(self._key.scrub(str(error))))) from None
        return counted.input_tokens

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> anthropic.AsyncAnthropic:
        # The import takes a second; offline proposers are to go on meanwhile.
        anthropic = await asyncio.to_thread(_sdk)
        if self._client is None:
            timeout = anthropic.Timeout(self._settings.max_seconds, connect=CONNECT_SECONDS)
            self._client = anthropic.AsyncAnthropic(
                api_key=self._key.reveal() or NO_KEY_NEEDED,
                base_url=self._settings.base_url or ANTHROPIC_URL,
                timeout=timeout,
                http_client=anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_sleep]}),
            )
        return self._client


async def _no_long_sleep(response: Any) -> None:
    """Have the SDK give up where the server asks for a long pause; the breaker takes care of it."""
    if (_seconds(response.headers.get("retry-after", "")) or 0.0) > LONGEST_SLEEP_SECONDS:
        response.headers["x-should-retry"] = "false"


def _sdk() -> Any:
    import anthropic

    return anthropic


class _Seen:
    """What a stream has used so far, for one that breaks off."""

    def __init__(self) -> None:
        self._told, self._bytes = Usage(), 0

    @property
    def used(self) -> Usage:
        """What the API has told, and an estimate of what it has said since."""
        return replace(self._told, output=self._told.output + math.ceil(self._bytes / BYTES_A_TOKEN))

    def note(self, event: Any) -> None:
        kind = event.type
        if kind == "content_block_delta":
            said = "".join(getattr(event.delta, name, None) or "" for name in ("text", "thinking", "partial_json"))
            self._bytes += len(said.encode(errors="surrogatepass"))
        elif kind in ("message_start", "message_stop"):
            self._told, self._bytes = read_usage(event.message.usage), 0


def _arguments(settings: Llm, request: Request) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": request.max_tokens,
        "system": without_keys(request.system),
        "tools": request.tools,
        # What the model said goes back as it is: it is signed.
        "messages": [said if said["role"] == "assistant" else without_keys(said) for said in request.messages],
    }
    if isinstance(settings.thinking, int):
        budget = min(settings.thinking, request.max_tokens - 1)
        arguments["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif settings.thinking == "adaptive":
        arguments["thinking"] = {"type": "adaptive"}
    elif settings.thinking == "off":
        arguments["thinking"] = {"type": "disabled"}
    if settings.temperature is not None:
        # The SDK no longer knows it: the newest models refuse it, older ones and gateways do not.
        arguments["extra_body"] = {"temperature": settings.temperature}
    return arguments


def without_keys(value: Any) -> Any:
    """The same plain data with its words scrubbed."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [without_keys(item) for item in value]
    if isinstance(value, dict):
        return {name: without_keys(item) for name, item in value.items()}
    return value


def _plain(content: Iterable[Any]) -> Iterable[Block]:
    """The blocks as they are sent back in the next call; what we do not know is left out."""
    wanted = {
        "text": ("text",),
        "thinking": ("thinking", "signature"),
        "redacted_thinking": ("data",),
        "tool_use": ("id", "name", "input"),
    }
    for block in content:
        if block.type in wanted and not (block.type == "text" and not block.text):
            yield {"type": block.type, **{name: getattr(block, name) for name in wanted[block.type]}}


def _status(error: anthropic.APIStatusError, settings: Llm, key: Key) -> CallFailed | TooLong:
    """What an error of the API means, in one sentence for a person."""
    body: Any = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    inner = inner if isinstance(inner, dict) else {}
    said = line(key.scrub(str(inner.get("message") or error.message)), most=200)
    code, kind = error.status_code, str(inner.get("type", ""))
    after = _seconds(error.response.headers.get("retry-after", ""))
    if code in (401, 403) or kind in ("authentication_error", "permission_error"):
        return CallFailed(Failure(why=f"{_where(settings)} refuses the API key ({said})", fatal=True))
    if code == 402 or "credit balance" in said:
        return CallFailed(Failure(why=f"the API's credit is used up ({said})", fatal=True))
    if code == 404 or kind == "not_found_error":
        why = f"{_where(settings)} does not know the model {settings.model!r} ({said})"
        return CallFailed(Failure(why=why, fatal=True))
    if code == 413 or "prompt is too long" in said:
        return TooLong(said)
    if code == 429 or kind == "rate_limit_error":
        return CallFailed(Failure(why=f"the API limits the rate ({said})", retry_after=after))
    if code >= 500 or kind in ("overloaded_error", "api_error"):
        return CallFailed(Failure(why=f"the API is overloaded or out of order ({said})", retry_after=after))
    return CallFailed(Failure(why=f"the API refuses the request ({said})", fatal=True))


def _seconds(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        return None  # not there, or a date, which this API does not send


def _where(settings: Llm) -> str:
    return settings.base_url or ANTHROPIC_URL
