"""[propose.llm] and [propose.command]: the tables of program.toml for proposers that think outside this process.

Values only; what is done with them is theirs. A key is never among them: it comes from the environment.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
OUR_KEY = "ANTHROPIC_API_KEY"
SMALLEST_ANSWER = 512
"""Tokens; with less left to pay for, an answer is not worth asking for."""
LEAST_THINKING = 1024
"""Tokens; the API takes no smaller budget."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Prices(_Section):
    """[propose.llm.prices]: USD per million tokens; what is not given comes from the table of known models."""

    input: Usd | None = None
    output: Usd | None = None
    cached: Usd | None = None
    """Input read from the cache."""
    cache_write: Usd | None = None
    """Input written to the cache for five minutes."""
    cache_write_hour: Usd | None = None
    """Input written to the cache for an hour."""


class Llm(_Section):
    """[propose.llm]: a language model that reads code and history, and edits."""

    enabled: bool | None = None
    """Default: whenever there is a key."""
    model: Annotated[str, Field(min_length=1)] = "claude-sonnet-5-5"
    base_url: str | None = None
    """Any server that speaks the Messages API; default: Anthropic's."""
    thinking: Literal["model", "off", "between_tools", "adaptive"] | Annotated[int, Field(ge=LEAST_THINKING)] = "model"
    """`model` leaves it to the model's default; a number is a budget in tokens, below `max_tokens`.

    Models refuse what is not theirs: Sonnet 5.5 knows `between_tools` in place of `off`, and no budget.
    """
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much the model puts into an answer; default: the model's."""
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """For older models and gateways; the newest ones refuse it."""
    cache_hour: bool = True
    """Keep the prompt's stable part cached for an hour: conversations are minutes apart."""
    prices: Prices = Prices()
    usd_per_day: Usd = 10.0
    """Per calendar day in UTC; at a limit the model pauses and the others go on."""
    usd_total: Usd | None = None
    usd_per_experiment: Usd = 0.5
    """A conversation that would cost more is abandoned."""
    fix_attempts: Annotated[int, Field(ge=0, le=10)] = 2
    """So often a crashed experiment of the model's own is given back to it for correction."""
    steer_share: Share = 0.3
    """Share of the numeric sampler's turns whose next point is shown to the model, to be overridden."""
    plateau: Annotated[int, Field(ge=1)] = 30
    """After this many experiments without a keep new mechanisms are asked for more often."""
    check: str | None = None
    """Cheap command that a draft must pass; default: `train.check`, else that the changed Python files compile."""
    check_seconds: Seconds = 120.0
    max_turns: Annotated[int, Field(ge=1, le=200)] = 24
    max_tokens: Annotated[int, Field(ge=256)] = 16_000
    """Of one answer, thinking included."""
    max_output_tokens: Annotated[int, Field(ge=256)] = 64_000
    """Of one conversation."""
    max_seconds: Seconds = 900.0
    """Of one conversation, wall time."""
    in_flight: Annotated[int, Field(ge=1, le=6)] = 2
    """Conversations at the same time, finished ones that wait for a device included."""

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("a URL that begins with http:// or https://")
        return value

    @field_validator("thinking", mode="wrap")
    @classmethod
    def _is_a_word_or_a_budget(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        """The words and the numbers that are allowed are one sentence, whichever of them was meant."""
        try:
            return check(value)
        except ValidationError as error:
            words = "'model', 'off', 'between_tools' or 'adaptive'"
            raise ValueError(f"{words}, or a number of tokens from {LEAST_THINKING} up") from error

    @field_validator("check")
    @classmethod
    def _splits_like_a_shell(cls, value: str | None) -> str | None:
        return _command(value)

    @model_validator(mode="after")
    def _thinking_leaves_room_to_answer(self) -> Llm:
        least = LEAST_THINKING + SMALLEST_ANSWER
        if isinstance(self.thinking, int) and min(self.max_tokens, self.max_output_tokens) < least:
            raise ValueError(f"with a budget for `thinking`, `max_tokens` and `max_output_tokens` are {least} or more")
        return self


class Command(_Section):
    """[propose.command]: any program that edits files, run in a throw-away checkout of best."""

    command: str | None = None
    """Without it this proposer is silent. `$AUTORESEARCH_DIGEST` names a file with the lab's history."""
    enabled: bool = True
    seconds: Seconds = 600.0
    """Wall time after which it is ended."""
    environment: tuple[str, ...] = ()
    """Names of variables of the daemon's that it gets as well (a key of its own); never the daemon's key."""
    network: bool = False
    """Whether it may reach the network, this machine's own services included; nothing else of its box changes."""

    @field_validator("command")
    @classmethod
    def _splits_like_a_shell(cls, value: str | None) -> str | None:
        return _command(value)

    @field_validator("environment", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("environment")
    @classmethod
    def _keeps_our_key(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if OUR_KEY in value:
            raise ValueError(f"anything but {OUR_KEY}, which stays with the daemon: give the command a key of its own")
        return value


def _command(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"a command line ({error})") from error
    if not words:
        raise ValueError("a command line that names a program")
    return value
