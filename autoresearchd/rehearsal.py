"""What the language model would be asked now, word for word, and what that would cost. Asks it nothing.

Tokens are counted by the API where there is a key, else estimated and said to be.
"""

from __future__ import annotations

import asyncio
import json
import random

from autoresearchd.context import context_of
from autoresearchd.experiment import LLM
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.propose.llm import Key, prompt, take_key
from autoresearchd.propose.llm.api import Api, Request
from autoresearchd.propose.llm.failures import CallFailed, TooLong
from autoresearchd.propose.llm.modes import choose
from autoresearchd.propose.llm.prices import Usage, estimate_tokens, is_known, rates
from autoresearchd.thinkers import Llm

TURNS, ANSWER_TOKENS, TOOL_TOKENS = 6, 700, 900
"""A usual conversation, for a lab that has held none: calls, tokens of an answer, tokens of what tools say to it."""


def text(program: Program, ledger: Ledger) -> str:
    """The prompt, its size, and the price of a proposal."""
    context = context_of(ledger, program, ledger.opened())
    request = Request(
        system=prompt.system(context),
        tools=prompt.tools(),
        messages=[{"role": "user", "content": prompt.opening(context, choose(context, random.Random(0)))}],
        max_tokens=program.propose.llm.max_tokens,
    )
    tokens, how = asyncio.run(_tokens(program.propose.llm, request, take_key()))
    paid = [
        line.experiment.cost_usd
        for line in context.history.concluded()
        if line.experiment.proposer == LLM and line.experiment.cost_usd is not None
    ]
    return "\n".join([*_shown(request), "", f"{tokens} tokens ({how})", *_prices(program.propose.llm, tokens, paid)])


async def _tokens(settings: Llm, request: Request, key: Key) -> tuple[int, str]:
    size = len(json.dumps([request.system, request.tools, request.messages], ensure_ascii=False).encode())
    if not key and settings.base_url is None:
        return estimate_tokens(size), "estimated from the size: there is no API key to have them counted"
    api = Api(settings, key)
    try:
        return await api.count(settings, request), "counted by the API"
    except (CallFailed, TooLong) as failed:
        return estimate_tokens(size), f"estimated from the size: {failed}"
    finally:
        await api.close()


def _shown(request: Request) -> list[str]:
    """What is sent, in the order in which the API reads it; `━` marks the ends of what it is to cache."""
    lines = ["━━ tools", *(json.dumps(each, ensure_ascii=False) for each in request.tools), "━━ system"]
    for block in (*request.system, *request.messages[0]["content"]):
        lines.append(block["text"])
        mark = block.get("cache_control")
        if mark is not None:
            lines.append(f"━━ cached up to here for {'an hour' if mark.get('ttl') == '1h' else 'five minutes'}")
    return lines


def _prices(settings: Llm, tokens: int, paid: list[float]) -> list[str]:
    price, count = rates(settings), TURNS
    # Every later call reads what was there from the cache and writes what was added.
    added = ANSWER_TOKENS + TOOL_TOKENS
    later = [Usage(cached=tokens + n * added, cache_write=added, output=ANSWER_TOKENS) for n in range(1, count)]
    rest = sum(usage.usd(price) for usage in later)
    whole = rest + Usage(cache_write_hour=tokens, output=ANSWER_TOKENS).usd(price)
    cached = rest + Usage(cached=tokens, output=ANSWER_TOKENS).usd(price)
    about = (
        f"about ${whole:.4f} a proposal with {settings.model}: {count} calls, nothing cached before "
        f"(${cached:.4f} with the prompt in the cache); "
        f"at most ${settings.usd_per_experiment:.2f}, ${settings.usd_per_day:.2f} a day"
    )
    lines = [about]
    if paid:
        lines.append(f"so far {len(paid)} proposals of this lab cost ${sum(paid) / len(paid):.4f} on average")
    if not is_known(settings):
        lines.append(f"the price of {settings.model} is not known: set [propose.llm.prices]; the dearest is assumed")
    return lines
