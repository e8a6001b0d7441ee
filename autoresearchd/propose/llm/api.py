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
from autoresearchd.propose.llm.failures import CallFailed, pause, translated, whom
from autoresearchd.propose.llm.fence import line
from autoresearchd.propose.llm.key import Key
from autoresearchd.propose.llm.prices import BYTES_A_TOKEN, Usage, read_usage
from autoresearchd.scrub import scrub
from autoresearchd.thinkers import SMALLEST_ANSWER, Llm

if TYPE_CHECKING:
    import anthropic

NO_KEY_NEEDED = "none"
"""What a gateway of one's own is told where there is no key."""
CONNECT_SECONDS = 15.0
LEAST_SILENCE_SECONDS, SILENCES = 60.0, 3
"""A call may go so long without a word, pings included; in long conversations a share of all their time."""
LONGEST_SLEEP_SECONDS = 30.0
"""That the SDK may sleep before it tries again: it would sleep for hours, and nobody would be told."""
_THINKING = {"off": "disabled", "between_tools": "between_tools", "adaptive": "adaptive"}
Block = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said."""

    blocks: tuple[Block, ...]
    stop: str
    """The API's word: end_turn, tool_use, max_tokens, refusal, …"""
    why: str = ""
    """Of a refusal, where the API says it."""


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

    async def load(self) -> None:
        """Import the SDK: it takes a second or more, which is no silence of the API's."""
        await asyncio.to_thread(_sdk)

    async def ask(self, settings: Llm, request: Request, *, retries: int, paid: Callable[[Usage], None]) -> Answer:
        """Make one call; `paid` hears what it used, also when it breaks off or is cancelled.

        Raises: CallFailed, TooLong, Malformed.
        """
        arguments, seen = _arguments(settings, request), _Seen()
        try:
            client = (await self._connect(settings)).with_options(max_retries=retries)
            async with client.messages.stream(**arguments) as stream:
                async for event in stream:
                    seen.note(event)
                message = await stream.get_final_message()
        except Exception as error:
            raise translated(error, settings, self._key) from error
        finally:
            paid(seen.used)
        if message.stop_reason is None:
            raise CallFailed(Failure(why=f"{whom(settings)} broke off in the middle of an answer"))
        return Answer(blocks=tuple(_plain(message.content)), stop=message.stop_reason, why=_reason(message))

    async def count(self, settings: Llm, request: Request) -> int:
        """Tokens of a request as the API counts them. Raises: CallFailed, TooLong."""
        client, arguments = await self._connect(settings), _arguments(settings, request)
        wanted = {name: arguments[name] for name in ("model", "system", "tools", "messages")}
        try:
            return (await client.messages.count_tokens(**wanted)).input_tokens
        except Exception as error:
            raise translated(error, settings, self._key) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connect(self, settings: Llm) -> anthropic.AsyncAnthropic:
        """The client, as patient as these settings are."""
        # The import takes a second; offline proposers are to go on meanwhile.
        anthropic = await asyncio.to_thread(_sdk)
        if self._client is None:
            self._client = anthropic.AsyncAnthropic(
                api_key=self._key.reveal() or NO_KEY_NEEDED,
                base_url=whom(self._settings),
                http_client=anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_sleep]}),
            )
        silence = max(LEAST_SILENCE_SECONDS, settings.max_seconds / SILENCES)
        return self._client.with_options(timeout=anthropic.Timeout(silence, connect=CONNECT_SECONDS))


async def _no_long_sleep(response: Any) -> None:
    """Have the SDK give up where the server asks for a long pause; the breaker takes care of it."""
    if (pause(response.headers) or 0.0) > LONGEST_SLEEP_SECONDS:
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
        budget = min(settings.thinking, request.max_tokens - SMALLEST_ANSWER)
        arguments["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif settings.thinking != "model":
        arguments["thinking"] = {"type": _THINKING[settings.thinking]}
    if settings.effort is not None:
        arguments["output_config"] = {"effort": settings.effort}
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


def _reason(message: Any) -> str:
    """Why a request was refused: the area of policy, and what the API says of it."""
    details = getattr(message, "stop_details", None)
    said = (getattr(details, name, None) for name in ("category", "explanation"))
    return line(": ".join(str(word) for word in said if word), most=300)
