"""The nouns of the lab, as frozen values: what was opened, run, measured and decided; `proposal` is before that.

Measurements belong to trees, verdicts belong to commits. This module does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from autoresearchd.incident import Incident

TreeOid = NewType("TreeOid", str)
CommitOid = NewType("CommitOid", str)
RefName = NewType("RefName", str)
Environment = NewType("Environment", str)
"""What must be equal for two runs to be compared: device model, torch, budget, evaluator, data; a label and a hash."""

BASELINE_NUMBER = 0
PERSON = "person"
"""The proposer of what comes through the inbox."""
LLM = "llm"
"""The proposer whose crashed experiments are given back to it, to be mended."""
AGENT = "command"
"""The proposer that has an agent of the user's own write the change."""
NULL = "null"
"""The category of experiments that change nothing that runs: tests of the judge, never kept."""
ABLATE = "ablate"
"""The proposer that takes kept changes out of best again, to see what each is worth today."""
IMPORTED = "imported"
"""Proposer, category and trust of what another program tried and measured."""
FALSE_KEEP = "false keep"
"""How the reason of a null experiment begins that the judge would have kept."""


class Direction(StrEnum):
    """Which way the metric is better. Everywhere else an improvement is a positive number."""

    LOWER = "lower"
    HIGHER = "higher"

    def gain(self, new: float, old: float) -> float:
        """By how much `new` is better than `old`; negative if it is worse."""
        return old - new if self is Direction.LOWER else new - old


class Ending(StrEnum):
    """How one run ended; the word is written to disk."""

    FINISHED = "finished"
    CRASH = "crash"
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    UNSTABLE = "unstable"  # NaN, infinity or an exploding loss
    PRUNED = "pruned"  # stopped by us: hopeless at equal training time
    TAMPERED = "tampered"  # the run tried to win other than by being better


class Outcome(StrEnum):
    """The word of a verdict; written to the `Verdict` trailer."""

    BASELINE = "baseline"
    KEEP = "keep"
    DISCARD = "discard"
    INCONCLUSIVE = "inconclusive"
    CRASH = "crash"
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    UNSTABLE = "unstable"
    PRUNED = "pruned"
    REJECTED = "rejected"  # breaks a rule or a constraint
    DUPLICATE = "duplicate"  # the same tree is already known
    STALE = "stale"  # could not be replayed on the new best
    TAMPERED = "tampered"
    SKIPPED = "skipped"  # by a person
    KEPT_ELSEWHERE = "kept-elsewhere"  # by the program that it was imported from: best has never held it


ON_BEST = frozenset({Outcome.BASELINE, Outcome.KEEP})
"""The outcomes that move `best`."""
FAILED = frozenset({Outcome.CRASH, Outcome.OUT_OF_MEMORY, Outcome.TIMEOUT, Outcome.UNSTABLE})
"""The outcomes of experiments that never gave a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Size of a change, as `git diff --numstat` counts it."""

    added: int
    removed: int

    @property
    def net(self) -> int:
        return self.added - self.removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """By how much something is better than what it was compared with; positive is better, in the metric's unit."""

    value: float
    std_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """How a baseline came to begin a new line of best."""

    old: CommitOid
    """Where best was; the line that ends there stays as `line/…`."""
    onto: CommitOid
    """The commit of the user's project that the new line grows on."""
    carried: tuple[int, ...] = ()
    """The kept experiments that were replayed on it and lie below the baseline, in the order of history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A proposal that has a number and a branch: exactly one commit on top of the `best` it was made from."""

    number: int
    slug: str
    ref: RefName
    commit: CommitOid
    tree: TreeOid
    parent: CommitOid
    parent_tree: TreeOid
    title: str
    rationale: str
    category: str
    proposer: str
    lines: Lines
    opened: float
    """Unix time at which the commit was first made."""
    reason: str = ""
    cost_usd: float | None = None
    """Of the proposal and of its corrections."""
    fix_attempts: int = 0
    """So often its code was corrected after a crash."""
    imported: str = ""
    """Where the record of another program's experiment is from: `name:line`, and its commit there; empty for ours."""
    alone: Gain | None = None
    """What it had gained on the best that it was made for when a faster win moved best; it is measured again since."""
    wish: CommitOid | None = None
    """The wish that it was made of."""
    rebased: Rebased | None = None
    """Of a baseline that began a new line of best on other commits of the user's project."""

    @property
    def is_lost(self) -> bool:
        """Whether it is a record without code: another program's, with its parent's tree in place of its own."""
        return bool(self.imported) and self.tree == self.parent_tree

    @property
    def is_baseline(self) -> bool:
        """Whether a line of best begins with it: the first one, and one for each rebase."""
        return self.number == BASELINE_NUMBER or self.rebased is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One line of metrics.jsonl: where training was, after how much training time."""

    step: int
    seconds: float
    train_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one run of one tree gave. Without a metric there is no number at all, never a sentinel."""

    run: str
    """Name of the run, unique in the lab."""
    tree: TreeOid
    seed: int
    environment: Environment
    device: str
    ending: Ending
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Every number that the run reported, the program's metric among them."""
    curve: tuple[CurvePoint, ...] = ()
    started: float
    """Unix time."""
    train_seconds: float
    """Time in training as the target said it, else as the daemon saw it."""
    wall_seconds: float
    """From start of the process until it was reaped."""
    train_wall_seconds: float | None = None
    """Of the training command alone, by the daemon's clock; None in records from before that was noted."""
    log_tail: str = ""
    why: str = ""
    """One sentence for a person where the ending is not FINISHED, or the audit gave no number."""
    audited: bool = False
    """It was to be evaluated on the audit data as well; that number is `audit_<the metric's name>`."""
    incidents: tuple[Incident, ...] = ()
    """What besides it went on on its device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision about an experiment, with its evidence. Metric values are in the metric's own unit and direction."""

    outcome: Outcome
    why: str = ""
    """One sentence for a person; becomes the `Why` trailer."""
    metric: float | None = None
    baseline: float | None = None
    """The parent's value, measured the same way."""
    std_error: float | None = None
    """Of the difference between the two."""
    confidence: float | None = None
    """That the change is an improvement, 0 to 1."""
    runs: int = 0
    seeds: tuple[int, ...] = ()
    train_seconds: float = 0.0
    device: str = ""
    peak_memory_mib: float | None = None
    throughput: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    environment: Environment = Environment("")
    together: Gain | None = None
    """What it gains on top of the win that was faster, where the experiment has its gain `alone`."""
    trust: str = ""
    """`self-reported` where the training said its own number; empty where protected code measured it."""
    flag: str = ""
    """What a person should look at before believing it: a gain beyond the sanity bound."""

    @property
    def start(self) -> float | None:
        """Of a baseline: the number of the user's project as it is, without what a rebase carried over."""
        return self.metric if self.baseline is None else self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """An experiment with its verdict: one line of the lab's memory."""

    experiment: Experiment
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A slot that trains one thing at a time: `cuda:0`, `cpu:0` for a CPU slot, `ray:0` or `cuda:ray-0` far away."""

    name: str
    model: str = ""
    """What the hardware calls itself; part of the environment."""
    memory_mib: float | None = None
    index: int = 0

    @property
    def is_cuda(self) -> bool:
        return self.name.startswith("cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One training to be done: the tree, the seed, the device, and the environment that the result will count for."""

    run: str
    tree: TreeOid
    seed: int
    device: Device
    environment: Environment
    audit: bool = False
    """Evaluate it on the audit data as well."""
    scale: str = ""
    """The rung of the ladder that it trains on; empty is the first, [train] itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a live run is."""

    spec: RunSpec
    started: float
    step: int = 0
    train_seconds: float = 0.0
    fraction: float | None = None
    """Of the budget used, 0 to 1; None while starting up or for scripts that write no curve."""
    curve: tuple[CurvePoint, ...] = ()
    phase: str = "starting"
    """queued, starting, training, evaluating"""
    incidents: tuple[Incident, ...] = ()
