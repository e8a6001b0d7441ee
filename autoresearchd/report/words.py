"""Figures and other people's words as text for a person: the one place that makes untrusted text safe to print. Pure.

Titles, reasons, logs and diffs come from experiments, models and branches: a terminal must never obey them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from autoresearchd.experiment import Direction, Experiment, Verdict

TAB = 4
IDLE = {
    "machine": "disk full, or no device fit to train",
    "best_fails": "best itself fails",
    "ending": "the end awaited",
}
"""The reasons in `status.Idle` that say too little by their names."""
MINUTE, HOUR, DAY = 60, 3600, 86400


def plain(text: str) -> str:
    """One line without anything that a terminal would act on; odd characters are shown as their escapes.

    Control and format characters (escape sequences, bidirectional overrides, zero-width ones) become `\\x1b` and the
    like; every kind of space or line end becomes one blank.
    """
    return " ".join("".join(_shown(char) for char in text).split())


def block(text: str) -> str:
    """Several lines, each made safe as in `plain`, indentation kept; lines end with `\\n` only."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(_shown(char) for char in line.expandtabs(TAB)).rstrip() for line in lines).strip("\n")


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    if char.isspace() and (char in "\n\t" or unicodedata.category(char) in {"Zs", "Zl", "Zp"}):
        return " "
    return char.encode("unicode_escape").decode("ascii")


def figure(value: float | None) -> str:
    """A metric value with six significant digits, trailing zeros kept; `-` where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size == 0 or not 1e-3 <= size < 1e6:
        return f"{value:.6g}"
    return f"{value:.{_decimals(value, digits=6)}f}"


def gain_figure(gain: float | None, std_error: float | None = None) -> str:
    """An improvement with its sign (plus is better), to two digits of its standard error: `+0.0123 ± 0.0021`."""
    if gain is None or not math.isfinite(gain):
        return "-"
    if std_error is None or not math.isfinite(std_error) or std_error <= 0:
        return f"{gain:+.{_decimals(gain, digits=3)}f}"
    places = _decimals(std_error, digits=2)
    return f"{gain:+.{places}f} ± {std_error:.{places}f}"


def _decimals(value: float, *, digits: int) -> int:
    """Decimal places that show so many significant digits of the value as it is after rounding."""
    if value == 0:
        return digits
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return min(10, max(0, digits - 1 - exponent))


def gain_of(verdict: Verdict, direction: Direction) -> float | None:
    """By how much the experiment was better than its parent; negative if worse, None without both numbers."""
    if verdict.metric is None or verdict.baseline is None:
        return None
    return direction.gain(verdict.metric, verdict.baseline)


def number(experiment: Experiment | int | None) -> str:
    """An experiment's number as its branch spells it."""
    value = experiment.number if isinstance(experiment, Experiment) else experiment
    return "-" if value is None else f"{value:04d}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`; `-` for what is no time."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def minute(at: float) -> str:
    """A Unix time by the machine's clock: `2026-11-20 23:14`."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def idle(reason: str) -> str:
    """Why a device trained nothing, as a person says it; also of a status that another version wrote."""
    return IDLE.get(reason, plain(reason.replace("_", " ")))


def counted(count: int, noun: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def finite(value: Any) -> Any:
    """Plain data for strict JSON readers: NaN and infinity become null, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def share(new: float | None, old: float | None, direction: Direction) -> float | None:
    """By how much of the old value the new one is better; None where one is not known, or the old one is zero."""
    return None if new is None or not old else direction.gain(new, old) / abs(old)


def better(part: float) -> str:
    """Such a share: `6.67% better`."""
    return f"{abs(part):.2%} {'better' if part >= 0 else 'worse'}"


def evidence(text: str) -> str:
    """What commits and notes say was measured on a rung, as a person writes it: they say `+-` for `±`."""
    return plain(text).replace("+-", "± ")


def skip_asked(which: int) -> str:
    """What whoever asks for the end of an experiment is told."""
    return f"{number(which)} is skipped as soon as the daemon looks"


def side_by_side(fates: Mapping[str, int]) -> str:
    """`3 wins found beside a faster one: 1 added up, 2 conflicted`."""
    count = sum(fates.values())
    ends = ", ".join(f"{many} {plain(end)}" for end, many in sorted(fates.items()))
    return f"{count} {'win' if count == 1 else 'wins'} found beside a faster one: {ends}"
