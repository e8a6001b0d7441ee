"""One proposal is one bounded conversation: the model calls tools, we answer, until it submits or a limit ends it.

The loop is ours: turns, tokens, seconds and dollars are counted here, and what hits a limit is abandoned and said.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from autoresearchd.proposal import Proposal
from autoresearchd.propose.llm.api import Answer, Api, Block, Request
from autoresearchd.propose.llm.breaker import Breaker, Failure
from autoresearchd.propose.llm.desk import Desk
from autoresearchd.propose.llm.failures import Malformed, TooLong
from autoresearchd.propose.llm.prices import MILLION, Rates, Usage, estimate_tokens
from autoresearchd.propose.llm.tools import ToolError
from autoresearchd.thinkers import LEAST_THINKING, SMALLEST_ANSWER, Llm

PATIENCE = 2
"""So often an answer that leads nowhere (cut off, malformed, no tool) may come before the conversation is given up."""
MOST_CALLS = 16
"""Tool calls in one answer."""


class Ending(StrEnum):
    """How a conversation ended; the words are counted in the status."""

    PROPOSED = "proposed"
    DECLINED = "declined"  # a wish, and why is said
    REFUSED = "refused"
    CUT_OFF = "cut off"  # max_tokens, again and again
    MALFORMED = "malformed"
    SILENT = "no submission"
    TURNS = "too many turns"
    TOKENS = "too many tokens"
    TIME = "too long"
    PRICE = "too dear"
    MONEY = "over budget"
    PROMPT = "prompt too long"
    FAILED = "api failed"
    CANCELLED = "cancelled"


class Abandoned(Exception):
    """The conversation leads to no proposal."""

    def __init__(self, ending: Ending, failure: Failure | None = None, *, words: str = "") -> None:
        """`failure` is what the breaker is to be told; `words` are the model's own reason."""
        super().__init__(ending.value)
        self.ending, self.failure, self.words = ending, failure, words


@dataclass(slots=True, kw_only=True)
class Meter:
    """What a conversation has used, and how it pays."""

    rates: Rates
    pay: Callable[[Usage], None]
    """Writes a call down."""
    afford: Callable[[float], bool]
    """Holds back what the next call may cost; False if that is not there. 0 gives it back."""
    used: Usage = field(default_factory=Usage)
    last: Usage = field(default_factory=Usage)
    usd: float = 0.0
    """What they cost, each by the length of its own prompt."""
    calls: int = 0
    answers: int = 0
    """Calls that went through."""

    @property
    def is_unanswered(self) -> bool:
        """Whether the last call ended without a word of the API's."""
        return self.calls > self.answers and self.last == Usage()

    def note(self, usage: Usage) -> None:
        """A call is over, however it went."""
        self.calls += 1
        self.used, self.last = self.used + usage, usage
        self.usd += usage.usd(self.rates)
        self.pay(usage)


class Conversation:
    """The messages so far, and what remains."""

    def __init__(self, api: Api, settings: Llm, desk: Desk, meter: Meter, breaker: Breaker) -> None:
        self._api, self._settings, self._desk, self._meter, self._breaker = api, settings, desk, meter, breaker
        self._messages: list[Block] = []
        self._sent = 0
        """Bytes of the prompt that the last call's usage counts."""
        self._stumbles = 0

    async def hold(self, system: list[Block], tools: list[Block], opening: list[Block]) -> Proposal:
        """Talk until the model submits.

        Raises: Abandoned, CallFailed.
        """
        self._messages = [{"role": "user", "content": list(opening)}]
        await self._api.load()
        try:
            async with asyncio.timeout(self._settings.max_seconds):
                for _ in range(self._settings.max_turns):
                    await self._turn(system, tools)
                    if self._desk.submitted is not None:
                        return self._desk.submitted
                    if self._desk.declined:
                        raise Abandoned(Ending.DECLINED, words=self._desk.declined)
        except TimeoutError as error:
            why = f"the API was silent until the {self._settings.max_seconds:g} s of a conversation were over"
            raise Abandoned(Ending.TIME, Failure(why=why) if self._meter.is_unanswered else None) from error
        except TooLong as error:
            # The next conversation begins like this one: where the opening does not fit, that one's will not either.
            failure = None if self._meter.answers else Failure(why=f"the prompt does not fit the model ({error})")
            raise Abandoned(Ending.PROMPT, failure) from error
        raise Abandoned(Ending.TURNS)

    async def _turn(self, system: list[Block], tools: list[Block]) -> None:
        request = self._request(system, tools)
        retries = self._breaker.retries(self._settings.in_flight)
        try:
            answer = await self._api.ask(self._settings, request, retries=retries, paid=self._meter.note)
        except Malformed:
            self._meter.answers += 1
            self._stumble(Ending.MALFORMED, "Your last tool call was not valid JSON and was dropped. Send it again.")
            return
        finally:
            self._meter.afford(0.0)
        self._meter.answers += 1
        if answer.stop == "refusal":
            raise Abandoned(Ending.REFUSED, words=answer.why)
        if answer.stop in ("max_tokens", "model_context_window_exceeded"):
            words = f"Your last answer was cut off at {request.max_tokens} tokens and dropped. Make it shorter."
            self._stumble(Ending.CUT_OFF, words)
            return
        await self._answer(answer)

    async def _answer(self, answer: Answer) -> None:
        calls = [block for block in answer.blocks if block["type"] == "tool_use"]
        if answer.blocks:
            self._messages.append({"role": "assistant", "content": list(answer.blocks)})
        if not calls:
            if answer.stop != "pause_turn" or not answer.blocks:
                self._stumble(Ending.SILENT, "Go on with the tools: edit_file, check, then submit.")
            return
        results = []
        for number, call in enumerate(calls):
            results.append(await self._result(call, refused=number >= MOST_CALLS))
        self._messages.append({"role": "user", "content": results})

    async def _result(self, call: Block, *, refused: bool) -> Block:
        result: Block = {"type": "tool_result", "tool_use_id": call["id"]}
        if refused or self._desk.submitted is not None or self._desk.declined:
            return {**result, "content": "not done", "is_error": True}
        try:
            return {**result, "content": await self._desk.use(call["name"], call["input"])}
        except ToolError as error:
            return {**result, "content": str(error), "is_error": True}

    def _stumble(self, ending: Ending, words: str) -> None:
        """Say what went wrong, in the last message of ours; too often is the end."""
        self._stumbles += 1
        if self._stumbles > PATIENCE:
            raise Abandoned(ending)
        block = {"type": "text", "text": words}
        if self._messages[-1]["role"] == "user":
            self._messages[-1]["content"].append(block)
        else:
            self._messages.append({"role": "user", "content": [block]})

    def _request(self, system: list[Block], tools: list[Block]) -> Request:
        """The next call, as large as the conversation's limits leave it."""
        settings, meter = self._settings, self._meter
        smallest = SMALLEST_ANSWER + (LEAST_THINKING if isinstance(settings.thinking, int) else 0)
        tokens_left = settings.max_output_tokens - meter.used.output
        if tokens_left < smallest:
            raise Abandoned(Ending.TOKENS)
        size = len(json.dumps([system, tools, self._messages], ensure_ascii=False).encode())
        rates, reading = self._reading(size)
        affordable = (settings.usd_per_experiment - meter.usd - reading) * MILLION / max(rates.output, 1e-9)
        if affordable < smallest:
            raise Abandoned(Ending.PRICE)
        most = int(min(settings.max_tokens, tokens_left, affordable))
        if not meter.afford(reading + most * rates.output / MILLION):
            raise Abandoned(Ending.MONEY)
        self._sent = size
        return Request(system=system, tools=tools, messages=_marked(self._messages), max_tokens=most)

    def _reading(self, size: int) -> tuple[Rates, float]:
        """The rates of a call with a prompt of so many bytes, and USD that reading it may cost.

        What is new in it is written to the cache.
        """
        meter, last = self._meter, self._meter.last
        if not self._sent or not last.whole_input:
            fresh = estimate_tokens(size)
            rates = meter.rates.at(fresh)
            return rates, fresh * max(rates.cache_write, rates.cache_write_hour, rates.input) / MILLION
        fresh = estimate_tokens(max(0, size - self._sent)) + last.output
        rates = meter.rates.at(last.whole_input + fresh)
        return rates, (last.whole_input * rates.cached + fresh * max(rates.cache_write, rates.input)) / MILLION


def _marked(messages: list[Block]) -> list[Block]:
    """The messages with the end of the last one marked for the cache; the opening carries marks of its own.

    What the model said is sent back as it is: a mark is refused on some of its blocks.
    """
    *before, last = messages
    if not before or last["role"] == "assistant":
        return messages
    blocks = [*last["content"][:-1], {**last["content"][-1], "cache_control": {"type": "ephemeral"}}]
    return [*before, {**last, "content": blocks}]
