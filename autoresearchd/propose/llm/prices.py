"""What tokens cost, and how many a call used, by the API's own usage fields. Pure.

The table is a copy that nobody keeps fresh: [propose.llm.prices] in program.toml goes before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from autoresearchd.thinkers import Llm, Prices

MILLION = 1e6
BYTES_A_TOKEN = 3.0
"""Code and English have 3 to 4: an estimate of tokens from bytes with this is on the dear side."""
LONG_PROMPT_TOKENS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per million tokens."""

    input: float
    output: float
    cached: float
    cache_write: float
    cache_write_hour: float
    long: Rates | None = None
    """Of every token of a call with a long prompt, where those are others."""

    def at(self, prompt_tokens: int) -> Rates:
        """Of a call with so long a prompt, however much of it comes from the cache."""
        return self.long if self.long is not None and prompt_tokens > LONG_PROMPT_TOKENS else self


def _rates(input_: float, output: float, cached_share: float = 0.1) -> Rates:
    """Writing to the cache costs 1.25 times the input for five minutes, twice for an hour, at every model."""
    return Rates(
        input=input_,
        output=output,
        cached=cached_share * input_,
        cache_write=1.25 * input_,
        cache_write_hour=2.0 * input_,
    )


KNOWN = {
    "claude-fable-5-1": _rates(10.0, 50.0, 0.025),
    "claude-fable-5": _rates(10.0, 50.0),
    "claude-mythos": _rates(10.0, 50.0),
    "claude-opus-5-5": _rates(4.0, 20.0, 0.05),
    "claude-opus-5": _rates(5.0, 25.0),
    "claude-opus-4": _rates(5.0, 25.0),
    "claude-opus-4-0": _rates(15.0, 75.0),
    "claude-opus-4-1": _rates(15.0, 75.0),
    "claude-opus-4-2025": _rates(15.0, 75.0),  # 4.0 by its date
    "claude-sonnet-5-5": _rates(2.0, 10.0, 0.05),
    "claude-sonnet-5": _rates(2.0, 10.0),
    "claude-sonnet-4": _rates(3.0, 15.0),
    "claude-haiku-5-5": replace(_rates(0.1, 0.5), long=_rates(0.5, 2.5)),
    "claude-haiku-4": _rates(1.0, 5.0),
}
"""List prices in November 2026, by the beginning of a model's name.

From https://platform.claude.com/docs/en/about-claude/pricing; gateways and clouds have prices of their own.
"""
NOT_LISTED = ("claude-fable-5-2", "claude-mythos-5-2", "claude-mythos-preview")
"""Models that were not on that page: nothing is guessed from their kin."""
DEAREST = max(KNOWN.values(), key=lambda price: price.output)
"""For models that nobody told us the price of: never nothing, rather stop too early."""


def is_known(settings: Llm) -> bool:
    """Whether its price is in the table or in program.toml."""
    own = settings.prices
    return _listed(settings.model) is not None or (own.input is not None and own.output is not None)


def rates(settings: Llm) -> Rates:
    """The prices in force: program.toml's, else the table's; what only depends on the input price follows it."""
    listed = _listed(settings.model) or DEAREST
    long = None if listed.long is None else _overridden(listed.long, settings.prices)
    return replace(_overridden(listed, settings.prices), long=long)


def _overridden(listed: Rates, own: Prices) -> Rates:
    base = listed if own.input is None else _rates(own.input, listed.output, listed.cached / listed.input)
    return Rates(
        input=base.input,
        output=base.output if own.output is None else own.output,
        cached=base.cached if own.cached is None else own.cached,
        cache_write=base.cache_write if own.cache_write is None else own.cache_write,
        cache_write_hour=base.cache_write_hour if own.cache_write_hour is None else own.cache_write_hour,
    )


def _listed(model: str) -> Rates | None:
    if any(model == name or model.startswith(f"{name}-") for name in NOT_LISTED):
        return None  # not by its beginning: the date of a listed one may begin like a later version
    found = [name for name in KNOWN if model.startswith(name)]
    return KNOWN[max(found, key=len)] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call or of many; `input` is what neither came from the cache nor went there."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_hour: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cache_write=self.cache_write + other.cache_write,
            cache_write_hour=self.cache_write_hour + other.cache_write_hour,
        )

    @property
    def whole_input(self) -> int:
        """All that the model read."""
        return self.input + self.cached + self.cache_write + self.cache_write_hour

    def usd(self, rates: Rates) -> float:
        """What they cost as one call."""
        rates = rates.at(self.whole_input)
        return (
            self.input * rates.input
            + self.output * rates.output
            + self.cached * rates.cached
            + self.cache_write * rates.cache_write
            + self.cache_write_hour * rates.cache_write_hour
        ) / MILLION


def read_usage(found: Any) -> Usage:
    """The API's usage object as ours; what a gateway leaves out counts as nothing, what it invents as well."""
    written = _count(found, "cache_creation_input_tokens")
    hour = _count(getattr(found, "cache_creation", None), "ephemeral_1h_input_tokens")
    return Usage(
        input=_count(found, "input_tokens"),
        output=_count(found, "output_tokens"),
        cached=_count(found, "cache_read_input_tokens"),
        cache_write=max(0, written - hour),
        cache_write_hour=hour,
    )


def _count(found: Any, name: str) -> int:
    value = getattr(found, name, None)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def estimate_tokens(text_bytes: int) -> int:
    """About how many tokens so many bytes of prompt are; on the dear side."""
    return int(text_bytes / BYTES_A_TOKEN) + 1
