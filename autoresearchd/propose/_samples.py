"""Optuna's samplers on the lab's history: the study lives in memory and is rebuilt from the observations each time.

Failures enter as failed trials, never as a loss. Coordinates are coarse steps, so that one box fits every constant.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from autoresearchd.propose._observations import Observation, Values, View
from autoresearchd.propose.constants import Constant

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Sampler = Literal["tpe", "cma-es", "random"]
STARTUP_TRIALS = 10
"""Until so many were measured TPE draws at random."""


def draw(sampler: Sampler, view: View, *, count: int, seed: int) -> list[Values]:
    """`count` whole settings of the constants, as the sampler draws them after the experiments of a view."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # CMA-ES knows numbers only: choices stay where best has them.
        drawn = [c for c in view.constants if c.range.is_numeric or sampler != "cma-es"]
        box = {constant.key: _distribution(constant) for constant in drawn}
        trials = [trial for o in view.observations if (trial := _trial(drawn, o, box)) is not None]
        study = optuna.create_study(sampler=_sampler(sampler, trials, seed))
        study.add_trials(trials)
        return [{**view.best, **_ask(study, drawn, box)} for _ in range(count)]


def _ask(study: Study, constants: Sequence[Constant], box: dict[str, BaseDistribution]) -> Values:
    trial: Trial = study.ask(box)
    return {c.key: c.range.at(float(trial.params[c.key])) for c in constants}


def _distribution(constant: Constant) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not constant.range.is_numeric:
        return CategoricalDistribution(range(len(constant.range.choices)))
    return FloatDistribution(*constant.range.bounds)


def _trial(constants: Sequence[Constant], o: Observation, box: dict[str, BaseDistribution]) -> FrozenTrial | None:
    """An experiment as a trial; None where it says nothing about these constants."""
    from optuna.trial import TrialState, create_trial

    if o.score is None and not (o.failed and o.pure):
        return None
    params: dict[str, float] = {}
    for constant in constants:
        place = constant.range.coordinate(o.values.get(constant.key, constant.value))
        if not constant.range.is_numeric and place < 0:
            return None
        params[constant.key] = place if constant.range.is_numeric else int(place)
    if o.score is None:
        return create_trial(state=TrialState.FAIL, params=params, distributions=box)
    return create_trial(value=-o.score, params=params, distributions=box)


def _sampler(name: Sampler, trials: list[FrozenTrial], seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler, RandomSampler, TPESampler
    from optuna.trial import TrialState

    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if name == "tpe":
        return TPESampler(multivariate=True, n_startup_trials=STARTUP_TRIALS, seed=seed)
    if name == "random" or not done or len(done[0].params) < 2:
        return RandomSampler(seed=seed)
    # Its mean and covariance start from the best tenth of what was measured (warm-starting CMA-ES, Nomura et al. 2021);
    # of fewer than ten there is no tenth, so each then counts several times.
    source = done * math.ceil(10 / len(done))
    return CmaEsSampler(seed=seed, source_trials=source, n_startup_trials=0, warn_independent_sampling=False)
