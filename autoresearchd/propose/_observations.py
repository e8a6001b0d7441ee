"""What the lab's history says about constants: which values were tried, what each change gained, what failed.

Reads the history, decides nothing. Scores are gains accumulated along the line of best, so that experiments on
different bests compare; a failure has no score at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autoresearchd.experiment import FAILED, ON_BEST, CommitOid, Concluded, Experiment, Outcome, TreeOid
from autoresearchd.program import Tunable
from autoresearchd.proposal import Proposal
from autoresearchd.propose._measured import RECENT, gained, mean, noise
from autoresearchd.propose._misses import with_code, with_edits
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._trees import Trees
from autoresearchd.propose.constants import Constant, Value, find, skeleton

ENOUGH = 2
"""Degrees of freedom from which on the noise is known."""
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


@dataclass(slots=True)
class _Scores:
    """What each step of best was worth over the baseline: gains add up along the line."""

    _trees: dict[TreeOid, float] = field(default_factory=dict)
    _tips: dict[CommitOid, float] = field(default_factory=dict)

    def before(self, experiment: Experiment) -> float:
        """Of what an experiment was made from; what a rebase carried over is worth what it was."""
        rebased = experiment.rebased
        if rebased is None:
            return self._trees.get(experiment.parent_tree, 0.0)
        return self._tips.get(rebased.old, 0.0) if rebased.carried else 0.0

    def note(self, experiment: Experiment, score: float) -> None:
        """It is on best."""
        self._trees[experiment.tree] = self._tips[experiment.commit] = score


class Observations:
    """Reads the history of one lab. A tree is parsed once, and forgotten when nobody looks at it any more."""

    def __init__(self) -> None:
        self._files = Trees()
        self._trees: dict[TreeOid, _Tree | None] = {}
        """What this reading has looked at; None is lost."""
        self._before: dict[TreeOid, _Tree | None] = {}
        """What the reading before has."""
        self._tunables: Mapping[str, Tunable] = {}

    def read(self, context: Context) -> View:
        """The lab as it is now."""
        self._turn_over(context.program.propose.space.constants)
        concluded = context.history.concluded()
        recent = concluded[-RECENT:]
        constants = find(context.files, self._tunables)
        pending = self._pending(context, recent)
        trees = [self._tree(context, c.experiment.tree) for c in (*recent, *with_code(context))]
        best = _Tree(skeleton(context.files, constants), _values(constants))
        deviation, degrees = noise(context) or (0.0, 0)
        first = [c.experiment.tree for c in concluded[:1]]
        return View(
            constants=constants,
            best=best.values,
            observations=tuple(self._observe(context, concluded)),
            pending=tuple(tree.values for tree in pending),
            known=frozenset(tree.signature for tree in (*trees, *pending, best) if tree is not None),
            frame=best.frame,
            noise=deviation if degrees >= ENOUGH and deviation > 0 else None,
            baseline_memory_mib=mean(context, first[0], None, PEAK_MEMORY)[0] if first else None,
            best_memory_mib=mean(context, context.best_tree, None, PEAK_MEMORY)[0],
        )

    def _turn_over(self, tunables: Mapping[str, Tunable]) -> None:
        """Begin a reading: what it does not look at is let go of by the next one."""
        self._before, self._trees = self._trees, {}
        if tunables != self._tunables:
            self._before, self._tunables = {}, tunables

    def _tree(self, context: Context, tree: TreeOid) -> _Tree | None:
        if tree not in self._trees:
            self._trees[tree] = self._before.get(tree) or self._read(context, tree)
        return self._trees[tree]

    def _read(self, context: Context, tree: TreeOid) -> _Tree | None:
        files = self._files.files(context, tree)
        return None if files is None else _parsed(files, self._tunables)

    def _pending(self, context: Context, recent: Sequence[Concluded]) -> list[_Tree]:
        parents: dict[CommitOid, TreeOid] = {c.experiment.commit: c.experiment.tree for c in recent}
        found = list[_Tree | None]()
        for item in context.pending:
            if not isinstance(item, Proposal):
                found.append(self._tree(context, item.tree))
                continue
            files: Mapping[str, bytes] | None = None
            if item.parent == context.best:
                files = context.files
            elif item.parent in parents:
                files = self._files.files(context, parents[item.parent])
            if files is None:
                continue  # made on a best that is long gone; the ledger will find it stale
            edits = [edit for edit in item.edits if context.program.may_edit(edit.path)]
            found.append(_parsed(with_edits(files, edits), self._tunables))
        return [tree for tree in found if tree is not None]

    def _observe(self, context: Context, concluded: Sequence[Concluded]) -> Iterable[Observation]:
        """Scores need the whole line of best, trees only what is recent."""
        scores, oldest = _Scores(), len(concluded) - RECENT
        for index, item in enumerate(concluded):
            on_best = item.verdict.outcome in ON_BEST
            if index < oldest and not on_best:
                continue
            gain, runs = gained(context, item)
            score = None if gain is None else scores.before(item.experiment) + gain
            if on_best:
                scores.note(item.experiment, score or 0.0)
            if index >= oldest and (seen := self._observation(context, item, score=score, gain=gain, runs=runs)):
                yield seen

    def _observation(
        self, context: Context, item: Concluded, *, score: float | None, gain: float | None, runs: int
    ) -> Observation | None:
        """None where its files or its parent's are lost."""
        experiment, verdict = item.experiment, item.verdict
        tree = self._tree(context, experiment.tree)
        parent = tree if experiment.is_baseline else self._tree(context, experiment.parent_tree)
        if tree is None or parent is None:
            return None
        peak = verdict.peak_memory_mib or mean(context, experiment.tree, verdict.environment, PEAK_MEMORY)[0]
        return Observation(
            number=experiment.number,
            outcome=verdict.outcome,
            values=tree.values,
            before=parent.values,
            pure=tree.frame == parent.frame,
            score=score,
            gain=gain,
            runs=max(runs, 1),
            peak_memory_mib=peak,
            parent_memory_mib=mean(context, experiment.parent_tree, verdict.environment, PEAK_MEMORY)[0],
        )


def _parsed(files: Mapping[str, bytes], tunables: Mapping[str, Tunable]) -> _Tree:
    constants = find(files, tunables)
    return _Tree(skeleton(files, constants), _values(constants))


def _values(constants: Iterable[Constant]) -> Values:
    """By key; hundreds of trees have the same keys, and share them."""
    return {sys.intern(constant.key): constant.value for constant in constants}


def _signature(frame: str, values: Values) -> Signature:
    return frame, tuple(sorted((key, repr(value)) for key, value in values.items()))
