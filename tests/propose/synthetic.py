"""A trainer that is a formula: 15 numbers, 5 choices, each best near where its author left it, and a noisy metric."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Edit
from autoresearchd.propose._protocol import Proposer
from autoresearchd.propose.constants import Value, find
from tests.propose.fakes import FakeLab, apply

NAMES: tuple[str, ...] = ("MATRIX_LR", "EMBED_LR", "HEAD_LR", "SCALAR_LR", "BATCH_SIZE", "DEPTH", "WIDTH")
NAMES += ("MUON_MOMENTUM", "ADAM_BETA2", "WEIGHT_DECAY", "WARMDOWN_FRAC", "ROPE_BASE")
NAMES += ("INIT_SCALE", "SOFTCAP", "MLP_MULT")
TEXTS: tuple[str, ...] = ("0.02", "0.3", "4e-3", "0.5", "2**16", "6", "768", "0.95", "0.99", "0.1", "0.4")
TEXTS += ("10_000.0", "1.0", "15.0", "4.0")
CHOICES = """from typing import Literal
ACTIVATION: Literal["relu2", "gelu", "silu"] = "relu2"
NORM: Literal["rms", "layer"] = "rms"
QK_NORM = True
NESTEROV = True
PATTERN: Literal["L", "SL", "SSL", "SSSL"] = "SL"
"""
SOURCE = CHOICES + "".join(f"{name} = {text}\n" for name, text in zip(NAMES, TEXTS, strict=True))


@dataclass(frozen=True)
class Objective:
    """Bits per byte: a bowl in coarse steps around a hidden optimum, a few constants mattering most."""

    optimum: Mapping[str, float]
    weights: Mapping[str, float]
    noise: float

    @classmethod
    def drawn(cls, seed: int, *, noise: float = 0.004, distance: float = 1.2) -> Objective:
        rng = random.Random(f"objective/{seed}")
        constants = find({"train.py": SOURCE.encode()})
        optimum = {}
        for c in constants:
            place = c.range.coordinate(c.value)
            if c.range.is_numeric:
                optimum[c.name] = place + rng.gauss(0, distance)
            else:
                optimum[c.name] = place if rng.random() < 0.7 else rng.randrange(len(c.range.choices))
        return cls(optimum, {c.name: math.exp(rng.gauss(-5.0, 1.0)) for c in constants}, noise)

    def true(self, values: Mapping[str, Value]) -> float:
        """The metric without noise, of values by name."""
        spans = {c.name: c.range for c in find({"train.py": SOURCE.encode()})}
        away = {name: spans[name].coordinate(value) - self.optimum[name] for name, value in values.items()}
        away |= {name: float(steps != 0) for name, steps in away.items() if not spans[name].is_numeric}
        return 1.0 + sum(self.weights[name] * steps**2 for name, steps in away.items())


def values_of(files: Mapping[str, bytes]) -> dict[str, Value]:
    return {constant.name: constant.value for constant in find(files)}


def search(proposer: Proposer, objective: Objective, *, trials: int, seed: int, toml: str = "") -> FakeLab:
    """A night: a keep is what measures two noises better than best did."""
    rng = random.Random(f"noise/{seed}")

    def measured(files: Mapping[str, bytes]) -> float:
        return objective.true(values_of(files)) + rng.gauss(0, objective.noise)

    lab = FakeLab({"train.py": SOURCE}, value=measured({"train.py": SOURCE.encode()}), toml=toml, seed=seed)
    for _ in range(trials):
        proposal = asyncio.run(proposer.propose(lab.context()))
        if proposal is None:
            break
        value, best = measured(apply(lab.files, proposal.edits)), lab.value_of_best()
        assert best is not None
        better = best - value > 2 * objective.noise
        lab.try_proposal(proposal, Outcome.KEEP if better else Outcome.DISCARD, value)
    return lab


def edit_of(name: str, old: str, new: str) -> Edit:
    return Edit(path="train.py", content=SOURCE.replace(f"{name} = {old}\n", f"{name} = {new}\n").encode())
