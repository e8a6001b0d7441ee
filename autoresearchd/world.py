"""What the lab knows at one instant: the values between observing and planning. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoresearchd.experiment import CommitOid, Device, Environment, Experiment, Measurement, Outcome, Progress, TreeOid
from autoresearchd.judge import Spread
from autoresearchd.program import Program
from autoresearchd.promotion import Ladder, Move
from autoresearchd.proposal import Change, Proposal, Wish


@dataclass(slots=True, kw_only=True)
class Session:
    """What was asked of this start of the daemon."""

    started: float
    experiments: int | None = None
    """Open at most this many."""
    deadline: float | None = None
    """Unix time after which nothing new begins."""
    waiting: set[int] = field(default_factory=set)
    """The experiments that were opened and have no verdict yet."""
    tried: int = 0
    """How many of those that were opened have their verdict, without those that had it before any training."""
    stopping: str = ""
    """Why a person wants it to end; empty while it goes on."""
    until_exhausted: str = ""
    """Why it ends once there is nothing left to propose; empty where it waits for ideas."""
    sandbox: str = ""
    """What the runs are kept in."""

    @property
    def opened(self) -> int:
        return self.tried + len(self.waiting)

    def settled(self, number: int, *, is_trained: bool) -> None:
        """An experiment has its verdict; one without a training was none of those that were asked for."""
        self.tried += is_trained and number in self.waiting
        self.waiting.discard(number)

    def over(self, now: float) -> str:
        """Why nothing new may begin any more; empty while something may."""
        if self.stopping:
            return self.stopping
        return "the hours of this session are over" if self.deadline is not None and now >= self.deadline else ""

    def remaining(self, tried: int, total: int | None) -> int | None:
        """How many more experiments may be opened of `total` in the whole lab; None is no limit."""
        limits = ((total, tried), (self.experiments, self.opened))
        left = [limit - used for limit, used in limits if limit is not None]
        return max(0, min(left)) if left else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An experiment without a verdict, as the ledger holds it."""

    experiment: Experiment
    changes: tuple[Change, ...] = ()
    landed: bool = False
    """Its conclusion is already on `best`: the daemon died between the two ref moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A device that fails where others do not: nothing but a try of best is run there, and not before `until`."""

    why: str
    until: float
    runs: frozenset[str]
    """Those that it is to blame for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Devices that share an environment in which best is not led."""

    environment: Environment
    devices: tuple[Device, ...]
    spread: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What was concluded in this lab so far, as far as decisions need it."""

    known: Mapping[TreeOid, int] = field(default_factory=dict)
    """For each tree that was tried: the lowest experiment number that has it."""
    keeps: int = 0
    """Experiments that were kept, the baseline not counted."""
    largest_gain: float | None = None
    """Of all that was kept in this environment, in the metric's unit."""
    last_failures: tuple[tuple[Outcome, str], ...] = ()
    """Outcome and reason of the newest concluded experiments as long as they failed, newest first; no more than tell
    broken code from a broken machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideas:
    """What proposers have given, and what they were asked for."""

    ready: tuple[Proposal, ...] = ()
    asked: int = 0
    """Proposals being thought of."""
    is_silent: bool = False
    """Whoever was asked last had nothing to propose, or failed, though nothing else waited."""
    lack: str = ""
    """What best lacks for ideas to come of themselves, where that is why."""
    fixes_asked: frozenset[CommitOid] = frozenset()
    """Commits of the crashed experiments whose correction was asked for."""
    fixes: Mapping[CommitOid, Proposal | None] = field(default_factory=dict)
    """The answers so far; None where there is no correction."""
    wishes: tuple[Wish, ...] = ()
    """What people want tried, in words, and nobody was asked yet to make a change of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What people and their limits say now."""

    paused: bool = False
    closing: str = ""
    """Why nothing new may begin; empty while things may begin."""
    remaining: int | None = None
    """How many more experiments may be opened; None is no limit."""
    skips: frozenset[int] = frozenset()
    """Open experiments that a person wants to see the end of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is wrong with what the runs train on."""

    trouble: str = ""
    """Why this machine cannot run anything now (a full disk); empty while it can."""
    aside: Mapping[str, Aside] = field(default_factory=dict)
    """Devices, by name."""
    excused: frozenset[str] = frozenset()
    """Runs that failed by their device: they say nothing about the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is known at `now` (Unix time)."""

    now: float
    program: Program
    environment: Environment
    """In which best is led: every keep is decided by runs of this one."""
    devices: tuple[Device, ...]
    """Of that environment."""
    screens: tuple[Screen, ...] = ()
    """The devices of other environments: they sort out what is worse there."""
    leads: bool = True
    """False where this is the world as a screening environment sees it."""
    best: CommitOid
    best_tree: TreeOid
    unbacked: str = ""
    """Why nobody may go on from best, with the way out; empty where a kept line leads to it."""
    baseline_tree: TreeOid | None = None
    """The user's project as best grows on it, measured alone; None until experiment 0000 is opened."""
    is_begun: bool = False
    """A number was given: without a baseline its branch was deleted before best moved."""
    opened: tuple[Open, ...] = ()
    past: Past = Past()
    runs: Mapping[TreeOid, Sequence[Measurement]] = field(default_factory=dict)
    """Filed runs of every tree that matters now, in any environment."""
    spread: Spread
    live: tuple[Progress, ...] = ()
    ideas: Ideas = Ideas()
    orders: Orders = Orders()
    health: Health = Health()
    ladder: Ladder | None = None
    """None without rungs above the first, and before the baseline is known."""
    climb: Move | None = None
    """What promotion wants next, of that ladder; None where nothing waits for it."""

    @property
    def all_devices(self) -> tuple[Device, ...]:
        """The leading ones first."""
        return (*self.devices, *(device for screen in self.screens for device in screen.devices))

    def of(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The comparable runs of a tree, oldest first."""
        found = [run for run in self.runs.get(tree, ()) if run.environment == self.environment]
        return tuple(sorted(found, key=lambda run: (run.started, run.run)))
