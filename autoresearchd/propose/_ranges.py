"""How far and on which scale a constant may move, read from its name and its value; pure arithmetic.

Coordinates count coarse steps: one step doubles a learning rate, halves 1 - beta, moves a fraction by a seventh.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from autoresearchd.program import Tunable

Value = bool | int | float | str
SIGNIFICANT_DIGITS = 3
FLOAT_FACTOR, INTEGER_FACTOR, POWER_FACTOR = 16.0, 4.0, 8.0
"""How far from where it stands a constant may go, up and down."""
LINEAR_STEPS = 7.0
WORKING_MULTIPLE = 64
"""Sizes move by what they share with this, so that heads, tiles and batches still divide."""


class Kind(StrEnum):
    """What values a constant takes."""

    FLOAT = "float"
    INTEGER = "integer"
    POWER_OF_TWO = "power of two"
    CHOICE = "choice"


class Scale(StrEnum):
    """What an equal step means."""

    LINEAR = "linear"
    LOG = "log"
    COMPLEMENT = "complement"  # log of 1 - x: betas, momenta
    SHIFTED = "shifted"  # log of 1 + x / unit: what may be exactly zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a constant may take, and their coordinates in coarse steps (an index for choices)."""

    kind: Kind
    scale: Scale = Scale.LINEAR
    low: float = 0.0
    high: float = 1.0
    unit: float = 1.0
    """Of a linear or shifted scale: the size of a step, the first step's size."""
    multiple: int = 1
    choices: tuple[Value, ...] = ()

    @property
    def is_numeric(self) -> bool:
        return self.kind is not Kind.CHOICE

    @property
    def bounds(self) -> tuple[float, float]:
        """Coordinates of the lowest and the highest value."""
        return self.coordinate(self.low), self.coordinate(self.high)

    def coordinate(self, value: Value) -> float:
        """Where a value lies, in steps; a value outside lies on the nearest bound, an unknown choice at -1."""
        if not self.is_numeric:
            return float(_index(self.choices, value))
        if isinstance(value, str):
            return self.coordinate(self.low)
        x = min(max(float(value), self.low), self.high)
        match self.scale:
            case Scale.LOG:
                return math.log2(x)
            case Scale.COMPLEMENT:
                return -math.log2(1.0 - x)
            case Scale.SHIFTED:
                return math.log2(1.0 + x / self.unit)
            case Scale.LINEAR:
                return x / self.unit

    def at(self, coordinate: float) -> Value:
        """The nearest allowed value to a coordinate, rounded to what a person would write."""
        if not self.is_numeric:
            return self.choices[round(min(max(coordinate, 0), len(self.choices) - 1))]
        low, high = self.bounds
        coordinate = min(max(coordinate, low), high)
        if self.kind is Kind.POWER_OF_TWO:
            return int(2 ** min(max(round(coordinate), math.ceil(low)), math.floor(high)))
        match self.scale:
            case Scale.LOG:
                x = 2.0**coordinate
            case Scale.COMPLEMENT:
                x = round(1.0 - _rounded(2.0**-coordinate), 12)
            case Scale.SHIFTED:
                x = self.unit * (2.0**coordinate - 1.0)
            case Scale.LINEAR:
                x = self.unit * coordinate
        if self.kind is Kind.INTEGER:
            return self._integer(x)
        return min(max(x if self.scale is Scale.COMPLEMENT else _rounded(x), self.low), self.high)

    def _integer(self, x: float) -> int:
        low, high = math.ceil(self.low / self.multiple), math.floor(self.high / self.multiple)
        return self.multiple * min(max(round(x / self.multiple), low), high)


def words(name: str) -> frozenset[str]:
    """`GPTConfig.warmupSteps` → {gpt, config, warmup, steps}."""
    parts = re.split(r"[^A-Za-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name))
    return frozenset(part.lower() for part in parts if part)


_FRACTIONS = frozenset({"frac", "fraction", "ratio", "dropout", "drop", "prob", "probability", "warmup", "warmdown"})
_FRACTIONS |= {"cooldown", "portion", "rampdown", "final"}
_MEMORIES = frozenset({"beta", "betas", "beta1", "beta2", "momentum", "ema", "mu"})
_OFF = {"decay": 0.01, "wd": 0.01, "clip": 1.0, "cap": 15.0, "softcap": 15.0}
"""The usual first value of what is switched off by zero."""
_WEIGHTS = (
    (1.0, {"lr", "rate", "batch"}),
    (0.8, {"depth", "layer", "layers", "dim", "width", "embd", "hidden", "aspect", "warmdown", "cooldown", "decay"}),
    (0.7, {"warmup", "frac", "ratio", "momentum", "beta", "betas", "beta1", "beta2", "wd"}),
    (0.6, {"init", "scale", "std", "softcap", "cap", "base", "theta", "window", "head", "heads", "dropout", "mult"}),
)
_MEMORY_HUNGRY = frozenset(
    {"batch", "dim", "width", "depth", "layer", "layers", "seq", "len", "length", "context", "embd", "hidden", "aspect"}
)
_MEMORY_HUNGRY |= {"block", "expansion", "model"}
_HYPERPARAMETERS = _FRACTIONS.union(_MEMORIES, _OFF, _MEMORY_HUNGRY, *(known for _, known in _WEIGHTS))


def weight(name: str) -> float:
    """How much a step of a constant of this name usually matters, beside a learning rate's 1; a prior, data wins."""
    found = words(name)
    return next((weight for weight, known in _WEIGHTS if found & known), 0.5)


def is_hyperparameter(name: str) -> bool:
    """Whether a name has a word that hyperparameters have: what else does not say so may be anything."""
    return bool(words(name) & _HYPERPARAMETERS)


def memory_slope(name: str) -> float:
    """By how many doublings peak memory usually grows in a step of a constant of this name; a prior, data wins."""
    return 0.7 if words(name) & _MEMORY_HUNGRY else 0.0


def infer(name: str, value: Value, *, declared: tuple[Value, ...] = (), power: bool = False) -> Range | None:
    """The range of a constant that stands at `value`; None for what should be left alone.

    `declared` are the choices that the source names, `power` says that it is spelled as a power of two.
    """
    if declared:
        return Range(kind=Kind.CHOICE, choices=declared) if len(declared) > 1 and _index(declared, value) >= 0 else None
    if isinstance(value, bool):
        return Range(kind=Kind.CHOICE, choices=(False, True))
    if isinstance(value, str):
        return None
    return _integers(name, value, power=power) if isinstance(value, int) else _floats(words(name), value)


def override(found: Range | None, value: Value, tunable: Tunable) -> Range | None:
    """The range as program.toml wants it; None if the constant is to be left alone, or cannot be understood."""
    if tunable.fixed:
        return None
    if tunable.choices is not None:
        return Range(kind=Kind.CHOICE, choices=tunable.choices)
    if found is None and isinstance(value, int | float):
        found = infer("", value)
    if found is None or not found.is_numeric:
        return found
    low = found.low if tunable.low is None else tunable.low
    high = found.high if tunable.high is None else tunable.high
    if low >= high:
        return None
    scale = _scale(found, log=tunable.log, low=low, high=high)
    unit = found.unit if scale is Scale.SHIFTED else (high - low) / LINEAR_STEPS
    kind = found.kind if scale is Scale.LOG or found.kind is not Kind.POWER_OF_TWO else Kind.INTEGER
    return Range(kind=kind, scale=scale, low=low, high=high, unit=unit, multiple=found.multiple)


def _scale(found: Range, *, log: bool | None, low: float, high: float) -> Scale:
    if log is False:
        return Scale.LINEAR
    wanted = Scale.LOG if log else found.scale
    fits = {
        Scale.LOG: low > 0,
        Scale.COMPLEMENT: low >= 0 and high < 1,
        Scale.SHIFTED: low >= 0,
        Scale.LINEAR: True,
    }
    return wanted if fits[wanted] else Scale.LINEAR


def _integers(name: str, value: int, *, power: bool) -> Range | None:
    if value < 0:
        return None  # -1 and its like are marks, not amounts
    if value == 0:
        unit, high = (8.0, 256.0) if "steps" in words(name) else (1.0, 8.0)
        return Range(kind=Kind.INTEGER, scale=Scale.SHIFTED, low=0.0, high=high, unit=unit)
    if value & (value - 1) == 0 and (power or value >= 8):
        low, high = max(1.0, value / POWER_FACTOR), value * POWER_FACTOR
        return Range(kind=Kind.POWER_OF_TWO, scale=Scale.LOG, low=low, high=high)
    multiple = math.gcd(value, WORKING_MULTIPLE) if value >= 16 else 1
    low = max(float(multiple), value / INTEGER_FACTOR)
    return Range(kind=Kind.INTEGER, scale=Scale.LOG, low=low, high=value * INTEGER_FACTOR, multiple=multiple)


def _floats(found: frozenset[str], value: float) -> Range | None:
    if not math.isfinite(value):
        return None
    if found & _FRACTIONS and 0 <= value <= 1:
        high = 0.5 if found & {"dropout", "drop"} and value <= 0.5 else 1.0
        scale, unit = (Scale.SHIFTED, 0.05) if value < 0.3 else (Scale.LINEAR, high / LINEAR_STEPS)
        return Range(kind=Kind.FLOAT, scale=scale, low=0.0, high=high, unit=unit)
    if found & _MEMORIES and 0 < value < 1:
        rest = 1.0 - value
        low, high = max(0.0, 1.0 - rest * FLOAT_FACTOR), 1.0 - rest / FLOAT_FACTOR
        return Range(kind=Kind.FLOAT, scale=Scale.COMPLEMENT, low=low, high=high)
    if value == 0:
        unit = next((unit for word, unit in _OFF.items() if word in found), 0.05)
        return Range(kind=Kind.FLOAT, scale=Scale.SHIFTED, low=0.0, high=max(1.0, 8 * unit), unit=unit)
    if value < 0:
        return Range(kind=Kind.FLOAT, low=4 * value, high=-4 * value, unit=-value / 2)
    return Range(kind=Kind.FLOAT, scale=Scale.LOG, low=value / FLOAT_FACTOR, high=value * FLOAT_FACTOR)


def _rounded(x: float) -> float:
    return float(f"{x:.{SIGNIFICANT_DIGITS}g}")


def _index(choices: tuple[Value, ...], value: Value) -> int:
    """Position of a value; `True` is not `1`."""
    for index, choice in enumerate(choices):
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return index
    return -1
