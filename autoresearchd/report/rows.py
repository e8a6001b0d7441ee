"""One experiment as a row of plain values, the same for every view. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import FAILED, ON_BEST, CommitOid, Concluded, Direction, Experiment, Measurement
from autoresearchd.report.words import gain_of

OPEN = "open"
"""The word shown in place of the verdict of an experiment that has none yet."""
NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One experiment; what it does not have (yet) is None or empty. Texts are untrusted."""

    number: int
    verdict: str
    """The word of the outcome, or `open`."""
    title: str
    category: str
    proposer: str
    why: str
    """Of the verdict, one sentence."""
    flag: str
    """Why a person should look at the verdict before believing it; empty mostly."""
    metric: float | None
    baseline: float | None
    """The parent's value, measured beside it."""
    gain: float | None
    """On the parent; positive is better."""
    std_error: float | None
    """Of the gain."""
    confidence: float | None
    runs: int
    train_seconds: float
    """Of all its runs together."""
    device: str
    cost_usd: float | None
    lines_added: int
    lines_removed: int
    opened: float
    """Unix time."""
    commit: str
    tree: str
    ref: str
    parent: int | None
    """Number of the best that it was made from; None for the imported commit."""

    @property
    def is_concluded(self) -> bool:
        return self.verdict != OPEN

    @property
    def is_step(self) -> bool:
        """Whether `best` moved to it."""
        return self.verdict in ON_BEST

    @property
    def start(self) -> float | None:
        """Of a baseline: the number of the user's project as it is, without what a rebase carried over."""
        return self.metric if self.baseline is None else self.baseline

    @property
    def is_failed(self) -> bool:
        """Whether it gave no number because it broke."""
        return self.verdict in FAILED

    @property
    def interval(self) -> tuple[float, float] | None:
        """The gain's 95 % confidence interval."""
        if self.gain is None or self.std_error is None:
            return None
        reach = NORMAL_95 * self.std_error
        return self.gain - reach, self.gain + reach

    @property
    def sigmas(self) -> float | None:
        """The gain in standard errors."""
        return None if self.gain is None or not self.std_error else self.gain / self.std_error


def row(found: Experiment | Concluded, *, direction: Direction, made: Mapping[CommitOid, int]) -> Row:
    """The row of an experiment; `made` gives the numbers of the steps of best by their commits."""
    experiment, verdict = (found.experiment, found.verdict) if isinstance(found, Concluded) else (found, None)
    return Row(
        number=experiment.number,
        verdict=verdict.outcome.value if verdict else OPEN,
        title=experiment.title,
        category=experiment.category,
        proposer=experiment.proposer,
        why=verdict.why if verdict else "",
        flag=verdict.flag if verdict else "",
        metric=verdict.metric if verdict else None,
        baseline=verdict.baseline if verdict else None,
        gain=gain_of(verdict, direction) if verdict else None,
        std_error=verdict.std_error if verdict else None,
        confidence=verdict.confidence if verdict else None,
        runs=verdict.runs if verdict else 0,
        train_seconds=verdict.train_seconds if verdict else 0.0,
        device=verdict.device if verdict else "",
        cost_usd=experiment.cost_usd,
        lines_added=experiment.lines.added,
        lines_removed=experiment.lines.removed,
        opened=experiment.opened,
        commit=experiment.commit,
        tree=experiment.tree,
        ref=experiment.ref,
        parent=made.get(experiment.parent),
    )


def comparable(runs: Sequence[Measurement], found: Concluded | Experiment) -> Sequence[Measurement]:
    """Those of the environment that its verdict rests on; all before there is one. A larger scale is another one."""
    wanted = found.verdict.environment if isinstance(found, Concluded) else ""
    return [run for run in runs if run.environment == wanted] if wanted else runs
