"""The phases of a run: which command each one starts, for how long, and on which data. Starts nothing itself."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from autoresearchd.program import Program

CHECK_SECONDS = 60.0


class Phase(StrEnum):
    """What a run is doing; the word of the folder and of sentences."""

    CHECK = "check"
    TRAIN = "train"
    EVALUATE = "evaluate"
    AUDIT = "audit"
    """The evaluation once more on data that decides nothing: for best only, after its number is known."""

    @property
    def measures(self) -> bool:
        """Whether it runs protected code on a finished training."""
        return self in (Phase.EVALUATE, Phase.AUDIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command of a run."""

    words: tuple[str, ...]
    seconds: float
    """Wall time after which it is ended."""
    data: str | None
    """Folder that it may read, relative to program.toml."""


def order(program: Program, phase: Phase) -> Order:
    """What the program says about a phase; only of phases that it has."""
    train, metric = program.train, program.metric
    match phase:
        case Phase.CHECK:
            return Order(words=tuple(shlex.split(train.check or "")), seconds=CHECK_SECONDS, data=train.data)
        case Phase.TRAIN:
            return Order(words=train.argv, seconds=train.deadline, data=train.data)
        case Phase.EVALUATE | Phase.AUDIT:
            assert metric.evaluate_argv is not None
            data = metric.data if phase is Phase.EVALUATE else metric.audit
            return Order(words=metric.evaluate_argv, seconds=metric.evaluate_seconds, data=data)
        case _:
            assert_never(phase)
