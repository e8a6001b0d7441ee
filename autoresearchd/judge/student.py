"""Tail probabilities of Student's t, so that a spread known from few runs counts as little as it should.

Plain mathematics: scipy would cost the daemon 0.8 s at start for these forty lines.
"""

from __future__ import annotations

import math

PRECISION = 1e-12
MANY_DEGREES = 1e6
"""From here on Student's t is the normal distribution to every digit that matters."""


def upper_tail(t: float, degrees: float) -> float:
    """P(T > t) for Student's t; `degrees` may be any number above 0.

    Source: Abramowitz & Stegun 26.7.1 with 26.5.8, the continued fraction of the incomplete beta function.
    """
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if degrees >= MANY_DEGREES:
        return 0.5 * math.erfc(t / math.sqrt(2.0))
    half = 0.5 * _incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t), t * t / (degrees + t * t))
    return half if t >= 0 else 1.0 - half


def chance(excess: float, std_error: float, degrees: int) -> float:
    """How often chance alone shows this much or more; 1 as long as nothing is known of the noise."""
    if degrees == 0:
        return 1.0
    if std_error == 0.0:
        return 0.0 if excess > 0.0 else 1.0
    return upper_tail(excess / std_error, degrees)


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function I_x(a, b); `rest` is 1 - x without its cancellation."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    scale = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1.0) / (a + b + 2.0):
        return scale * _fraction(a, b, x) / a
    return 1.0 - scale * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of A&S 26.5.8, evaluated from the front (modified Lentz)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    result = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + term * d, tiny)
            c = _away_from_zero(1.0 + term / c, tiny)
            result *= c * d
        if abs(c * d - 1.0) < PRECISION:
            break
    return result


def _away_from_zero(number: float, tiny: float) -> float:
    return number if abs(number) > tiny else tiny
