"""What a lab can do: the values between planning and acting. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from autoresearchd.experiment import Device, Experiment, Gain, TreeOid, Verdict
from autoresearchd.promotion import Climb, Commits, Note, Promotion
from autoresearchd.proposal import Proposal, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBaseline:
    """Make experiment 0000 of the imported HEAD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExperiment:
    """Give a ready proposal its number and branch."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a ready proposal: best has moved since, and a new one costs nothing."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Finish a conclusion that is already on `best`."""

    experiment: Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Move an experiment onto the new `best` by three-way merge, or conclude it as stale."""

    experiment: Experiment
    alone: Gain | None = None
    """What it gained on its parent, if it has won there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFix:
    """Have a crash mended by who proposed the experiment; `verdict` is what it gets otherwise."""

    experiment: Experiment
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyFix:
    """Let an open experiment go on with corrected code; one that git cannot hold leaves it `verdict`."""

    experiment: Experiment
    verdict: Verdict
    correction: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcludeExperiment:
    """Write the verdict; for KEEP and BASELINE this moves `best`."""

    experiment: Experiment
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Train this tree with this seed on this device."""

    tree: TreeOid
    seed: int
    device: Device
    audit: bool = False
    """Evaluate it on the audit data too."""
    scale: str = ""
    """The rung that it trains on."""
    commits: Commits = ()
    """What the tree is a stack of, on what was promoted last: no ref holds such a tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Stop a live run: it cannot win any more."""

    run: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End a live run that nobody waits for any more; it leaves no measurement."""

    run: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Have proposals thought of, ahead of need."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskWish:
    """Have a change made of a person's words."""

    wish: Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The work of this session is done."""

    why: str


LedgerMove = OpenBaseline | OpenExperiment | Settle | Replay | ApplyFix | ConcludeExperiment | Climb | Note | Promotion
Action = LedgerMove | Drop | AskFix | AskWish | Start | Prune | Stop | Ask | Finish
