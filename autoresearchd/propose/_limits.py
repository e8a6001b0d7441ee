"""What is not worth a run because it will fail: more memory than there is, or a failed change taken at least as far.

Learns from the history's runs and failures; says what is hopeless, not what is good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoresearchd.experiment import Outcome
from autoresearchd.propose._observations import PEAK_MEMORY, Observation, Values, View
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._ranges import memory_slope
from autoresearchd.propose.constants import Constant

HEADROOM = 0.98
"""Of a device's memory that a training can have."""
CERTAINTY = 20.0
"""How many doublings of a constant the runs must show before they outweigh what its name says, squared."""


class Limits:
    """The region where a change of best would fail."""

    def __init__(self, view: View, context: Context) -> None:
        self._view = view
        self._by_key = {constant.key: constant for constant in view.constants}
        self._slopes = _slopes(view)
        self._failures = [o for o in view.observations if o.failed and o.pure and o.changed]
        self._log_limit = self._memory_limit(context)

    def allow(self, changes: Values) -> bool:
        """Whether best with these constants changed may be tried."""
        if self.memory(changes) > self._log_limit:
            return False
        values = {**self._view.best, **changes}
        return not any(self._at_least_as_far(values, failure) for failure in self._failures)

    def memory(self, changes: Values) -> float:
        """Predicted log2 of peak MiB, or of peak over best's peak where that was never measured."""
        return self._level + sum(
            self._slopes[key] * self._steps(self._by_key[key], value, self._view.best[key])
            for key, value in changes.items()
        )

    @property
    def _level(self) -> float:
        return math.log2(self._view.best_memory_mib) if self._view.best_memory_mib else 0.0

    def _memory_limit(self, context: Context) -> float:
        view, limits = self._view, [math.inf]
        if view.best_memory_mib:
            if context.memory_mib:
                limits.append(math.log2(context.memory_mib * HEADROOM))
            for bound in context.program.constraint:
                unit = view.baseline_memory_mib if bound.relative_to == "baseline" else 1.0
                if bound.metric == PEAK_MEMORY and bound.max and unit:
                    limits.append(math.log2(bound.max * unit))
        fits = max((self._predicted(o) for o in view.observations if o.peak_memory_mib and not o.failed), default=None)
        overflows = (o for o in self._failures if o.outcome is Outcome.OUT_OF_MEMORY)
        # What is known to fit outranks a model that says it cannot.
        known = -math.inf if fits is None else fits
        limits.extend(max(self._predicted(o) - 1e-6, known) for o in overflows)
        return max(min(limits), self._level)

    def _predicted(self, observation: Observation) -> float:
        known = {key: value for key, value in observation.values.items() if key in self._by_key}
        return self.memory(known)

    def _at_least_as_far(self, values: Values, failure: Observation) -> bool:
        """Whether all that a failure changed is here as well, as far or farther."""
        for key in failure.changed:
            constant = self._by_key.get(key)
            if constant is None:
                return False
            there = self._steps(constant, failure.values[key], failure.before[key])
            here = self._steps(constant, values[key], failure.before[key])
            if not constant.range.is_numeric:
                if values[key] != failure.values[key]:
                    return False
            elif there == 0 or here / there < 1 - 1e-9:
                return False
        return True

    @staticmethod
    def _steps(constant: Constant, value: object, since: object) -> float:
        assert isinstance(value, bool | int | float | str)
        assert isinstance(since, bool | int | float | str)
        if not constant.range.is_numeric:
            return float(value != since)
        return constant.range.coordinate(value) - constant.range.coordinate(since)


def _slopes(view: View) -> dict[str, float]:
    """log2 of peak memory a step of each constant: ridge regression on changes, shrunk towards what names say."""
    prior = np.array([memory_slope(constant.name) if constant.range.is_numeric else 0.0 for constant in view.constants])
    used = [o for o in view.observations if o.pure and o.changed and o.peak_memory_mib and o.parent_memory_mib]
    if not used:
        return dict(zip(view.best, prior.tolist(), strict=True))
    steps = _changes(view.constants, used)
    grown = np.array([math.log2((o.peak_memory_mib or 1) / (o.parent_memory_mib or 1)) for o in used])
    unit = np.eye(len(prior)) / CERTAINTY
    found = prior + np.linalg.solve(steps.T @ steps + unit, steps.T @ (grown - steps @ prior))
    return dict(zip(view.best, found.tolist(), strict=True))


def _changes(constants: Sequence[Constant], used: Sequence[Observation]) -> NDArray[np.float64]:
    """Steps [used, constants] by which each experiment moved each constant from its parent."""
    rows = []
    for o in used:
        pairs = [(c, o.values.get(c.key, c.value), o.before.get(c.key, c.value)) for c in constants]
        rows.append([Limits._steps(c, new, old) for c, new, old in pairs])
    return np.array(rows, dtype=np.float64)
