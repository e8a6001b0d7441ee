"""What the lab's history says about constants: which values were tried, what each change gained, what failed.

Reads the history, decides nothing. Scores are gains accumulated along the line of best, so that experiments on
different bests compare; a failure has no score at all.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import (
    FAILED,
    ON_BEST,
    CommitOid,
    Concluded,
    Ending,
    Environment,
    Outcome,
    Proposal,
    TreeOid,
)
from autoresearchd.program import Tunable
from autoresearchd.propose._misses import leading, with_code
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.constants import Constant, Value, find, skeleton

RECENT = 400
"""So many of the newest experiments are looked into; what is older is summed up by where best stands."""
PEAK_MEMORY = "peak_memory_mib"

Values = Mapping[str, Value]
Signature = tuple[str, tuple[tuple[str, str], ...]]
"""What makes a tree: everything but the constants, and the constants' values however they are spelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One experiment as a change of constants."""

    number: int
    outcome: Outcome
    values: Values
    before: Values
    """The parent's."""
    pure: bool
    """Nothing but constants differs from the parent."""
    score: float | None = None
    """Better than the baseline by so much, in the metric's unit; positive is better."""
    gain: float | None = None
    """Better than its parent by so much."""
    runs: int = 1
    peak_memory_mib: float | None = None
    parent_memory_mib: float | None = None

    @property
    def failed(self) -> bool:
        return self.outcome in FAILED

    @property
    def changed(self) -> tuple[str, ...]:
        """Keys of the constants that differ from the parent's."""
        return tuple(key for key, value in self.values.items() if key in self.before and self.before[key] != value)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a search over constants starts from."""

    constants: tuple[Constant, ...]
    """Of best."""
    best: Values
    """The constants' values."""
    observations: tuple[Observation, ...]
    """Oldest first; the baseline has gain 0."""
    pending: tuple[Values, ...]
    known: frozenset[Signature]
    frame: str
    """Best without its constants."""
    noise: float | None
    """Standard deviation of one run, where repeats show it."""
    baseline_memory_mib: float | None = None
    best_memory_mib: float | None = None

    def is_new(self, changes: Values) -> bool:
        """Whether best with these constants changed was never tried and is not waiting."""
        return _signature(self.frame, {**self.best, **changes}) not in self.known


@dataclass(frozen=True, slots=True)
class _Tree:
    frame: str
    values: Values

    @property
    def signature(self) -> Signature:
        return _signature(self.frame, self.values)


class Observations:
    """Reads the history of one lab; a tree is parsed once."""

    def __init__(self) -> None:
        self._trees: dict[TreeOid, _Tree] = {}
        self._tunables: Mapping[str, Tunable] = {}

    def read(self, context: Context) -> View:
        """The lab as it is now."""
        tunables = context.program.propose.space.constants
        if tunables != self._tunables:
            self._trees.clear()
            self._tunables = tunables
        concluded = context.history.concluded()
        recent = concluded[-RECENT:]
        constants = find(context.files, tunables)
        pending = self._pending(context, recent)
        trees = [self._tree(context, c.experiment.tree) for c in (*recent, *with_code(context))]
        frame = skeleton(context.files, constants)
        best = _Tree(frame, {c.key: c.value for c in constants})
        metric = context.program.metric.compared
        first, here = [c.experiment.tree for c in concluded[:1]], leading(context)
        return View(
            constants=constants,
            best=best.values,
            observations=tuple(self._observe(context, concluded)),
            pending=tuple(tree.values for tree in pending),
            known=frozenset(tree.signature for tree in (*trees, *pending, best)),
            frame=frame,
            noise=_noise([_values(context, c.experiment.tree, here, metric) for c in recent]),
            baseline_memory_mib=_mean(context, first[0], None, PEAK_MEMORY)[0] if first else None,
            best_memory_mib=_mean(context, context.best_tree, None, PEAK_MEMORY)[0],
        )

    def _tree(self, context: Context, tree: TreeOid) -> _Tree:
        if tree not in self._trees:
            self._trees[tree] = _read(context.history.files(tree), self._tunables)
        return self._trees[tree]

    def _pending(self, context: Context, recent: Sequence[Concluded]) -> list[_Tree]:
        parents: dict[CommitOid, TreeOid] = {c.experiment.commit: c.experiment.tree for c in recent}
        found = []
        for item in context.pending:
            if not isinstance(item, Proposal):
                found.append(self._tree(context, item.tree))
                continue
            if item.parent == context.best:
                files = dict(context.files)
            elif item.parent in parents:
                files = dict(context.history.files(parents[item.parent]))
            else:
                continue  # made on a best that is long gone; the ledger will find it stale
            for edit in item.edits:
                files.pop(edit.path, None)
                if edit.content is not None and context.program.may_edit(edit.path):
                    files[edit.path] = edit.content
            found.append(_read(files, self._tunables))
        return found

    def _observe(self, context: Context, concluded: Sequence[Concluded]) -> Iterable[Observation]:
        """Scores need the whole line of best, trees only what is recent."""
        scores: dict[TreeOid, float] = {}
        tips: dict[CommitOid, float] = {}
        oldest = len(concluded) - RECENT
        for index, item in enumerate(concluded):
            experiment, verdict = item.experiment, item.verdict
            on_best = verdict.outcome in ON_BEST
            if index < oldest and not on_best:
                continue
            gain, runs = _gain(context, item)
            rebased = experiment.rebased
            if rebased is None:
                before = scores.get(experiment.parent_tree, 0.0)
            else:  # what was carried over is worth what it was
                before = tips.get(rebased.old, 0.0) if rebased.carried else 0.0
            score = None if gain is None else before + gain
            if on_best:
                scores[experiment.tree] = tips[experiment.commit] = score or 0.0
            if index < oldest:
                continue
            tree = self._tree(context, experiment.tree)
            parent = tree if experiment.is_baseline else self._tree(context, experiment.parent_tree)
            environment = verdict.environment
            yield Observation(
                number=experiment.number,
                outcome=verdict.outcome,
                values=tree.values,
                before=parent.values,
                pure=tree.frame == parent.frame,
                score=score,
                gain=gain,
                runs=max(runs, 1),
                peak_memory_mib=verdict.peak_memory_mib or _mean(context, experiment.tree, environment, PEAK_MEMORY)[0],
                parent_memory_mib=_mean(context, experiment.parent_tree, environment, PEAK_MEMORY)[0],
            )


def _read(files: Mapping[str, bytes], tunables: Mapping[str, Tunable]) -> _Tree:
    constants = find(files, tunables)
    return _Tree(skeleton(files, constants), {c.key: c.value for c in constants})


def _signature(frame: str, values: Values) -> Signature:
    return frame, tuple(sorted((key, repr(value)) for key, value in values.items()))


def _gain(context: Context, item: Concluded) -> tuple[float | None, int]:
    """By how much an experiment beat its parent in its own environment, and from how many runs of its own."""
    experiment, verdict, program = item.experiment, item.verdict, context.program
    if verdict.outcome in FAILED:
        return None, 0
    if experiment.is_baseline:
        return 0.0, _mean(context, experiment.tree, verdict.environment, program.metric.compared)[1]
    mine, runs = _mean(context, experiment.tree, verdict.environment, program.metric.compared)
    theirs, _ = _mean(context, experiment.parent_tree, verdict.environment, program.metric.compared)
    if mine is None or theirs is None:
        mine, theirs, runs = verdict.metric, verdict.baseline, verdict.runs
    if mine is None or theirs is None:
        return None, 0
    return program.metric.direction.gain(mine, theirs), runs


def _mean(context: Context, tree: TreeOid, environment: Environment | None, metric: str) -> tuple[float | None, int]:
    values = _values(context, tree, environment, metric)
    return (statistics.fmean(values) if values else None), len(values)


def _values(context: Context, tree: TreeOid, environment: Environment | None, metric: str) -> list[float]:
    """What its finished runs in one environment measured, or in all of them."""
    return [
        run.metrics[metric]
        for run in context.history.measurements(tree)
        if run.ending is Ending.FINISHED and metric in run.metrics and environment in (None, run.environment)
    ]


def _noise(pools: Sequence[Sequence[float]]) -> float | None:
    """Pooled standard deviation between runs of one tree; None from fewer than two differences."""
    squares, freedom = 0.0, 0
    for values in filter(None, pools):
        mean = statistics.fmean(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return (squares / freedom) ** 0.5 if freedom >= 2 and squares > 0 else None
