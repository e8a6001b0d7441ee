"""What the daemon says about itself, as one value: every view (terminal, file, service manager) renders this. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from autoresearchd.experiment import FAILED, Concluded, CurvePoint, Direction, Experiment, Outcome, Progress

FORMAT = 1
"""Of status.json; raised when a field changes its meaning."""


class Idle(StrEnum):
    """Why a device trains nothing."""

    MACHINE = "machine"
    """It cannot run anything now: a full disk, something that could not be written, every device set aside."""
    BEST_FAILS = "best_fails"
    PAUSED = "paused"
    ENDING = "ending"
    BUDGET_SPENT = "budget_spent"
    NO_IDEA = "no_idea"
    """No run is wanted, and the proposers have not answered yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One slot, and what it does now; without an experiment it is idle or measures best again."""

    device: str
    model: str
    experiment: int | None = None
    title: str = ""
    seed: int | None = None
    phase: str = "idle"
    why: str = ""
    """Behind `set aside`."""
    until: float | None = None
    """When a device that is set aside is tried again."""
    fraction: float | None = None
    step: int = 0
    train_loss: float | None = None
    started: float | None = None
    screens: bool = False
    """Of another environment than best's: it discards what is worse there, and decides no keep."""
    incidents: tuple[str, ...] = ()
    """What besides its run goes on there."""
    residents: tuple[str, ...] = ()
    """Who that is none of ours computes there now, by name, number and memory; also while it is idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmStatus:
    """The language model among the proposers; tokens and calls are of this session."""

    model: str
    state: str
    """ready, thinking, waiting (after a failure), blocked (a person has to act), over budget; off without a daemon"""
    why: str = ""
    until: float | None = None
    """When it goes on by itself."""
    spent_today: float = 0.0
    """USD since midnight UTC."""
    spent_total: float = 0.0
    usd_per_day: float = 0.0
    usd_total: float | None = None
    thinking: int = 0
    ready: int = 0
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    """Of these, read from the cache."""
    output_tokens: int = 0
    is_price_known: bool = True
    """Else the dearest is assumed."""
    endings: Mapping[str, int] = field(default_factory=dict)
    """How conversations ended, counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedIdea:
    """Something out of the inbox that was not tried."""

    ref: str
    title: str
    """Untrusted."""
    why: str
    at: float
    """When that was said, Unix time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """One kept experiment on both sets of data, by one training."""

    number: int
    value: float
    """On the data that it was chosen by."""
    audit: float
    """On the data that nothing was ever chosen by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungStatus:
    """One rung of the ladder above the first: experiments by number, of all that were kept and not promoted."""

    scale: str
    holds: tuple[int, ...] = ()
    falls: tuple[int, ...] = ()
    """They do not hold here."""
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The lab at `now`; times are Unix seconds, metric values in the metric's own unit and direction."""

    format: int = FORMAT
    now: float
    pid: int
    program: str
    metric: str
    direction: str
    state: str
    """starting, training, ending (what trains is judged, nothing is begun), held, paused, idle, finished, stopped"""
    why: str = ""
    """Behind a state other than training: the reason, for a person."""
    until: float | None = None
    """When a held daemon tries again."""
    best: float | None = None
    best_number: int | None = None
    best_title: str = ""
    baseline: float | None = None
    verdicts: Mapping[str, int]
    open: tuple[int, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    ready: int = 0
    thinking: int = 0
    sandbox: str = ""
    """bubblewrap, landlock or none: what keeps runs to what is theirs."""
    session_started: float
    session_opened: int = 0
    session_limit: int | None = None
    session_deadline: float | None = None
    busy_share: float | None = None
    """Share of the devices' time since the session began that went into runs, 0 to 1."""
    idle_seconds: Mapping[str, float] = field(default_factory=dict)
    """Device seconds of this session in which nothing trained, by `Idle`."""
    disturbed: int = 0
    """Runs of this session that something else slowed down: they are repeated, and not judged."""
    disturbed_why: str = ""
    """What it was with the newest of them."""
    side_by_side: Mapping[str, int] = field(default_factory=dict)
    """Wins of this session that another win was faster than, by what became of them on top of it (`judge.Fate`)."""
    experiments_per_hour: float | None = None
    """Concluded in this session, over its length; None before the first."""
    llm: LlmStatus | None = None
    """None where none is enabled."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """The proposers that go on failing and are asked less and less, with why; the others go on."""
    wishes: int = 0
    """Wishes in words that wait for the language model to make a change of them."""
    wishes_why: str = ""
    """Why it does not now."""
    refused_ideas: tuple[RefusedIdea, ...] = ()
    """The last of this lab, the newest at the end."""
    damaged: tuple[str, ...] = ()
    """What was met in experiments.git and cannot be read, with why: left as it is, counted nowhere."""
    audits: tuple[AuditStatus, ...] = ()
    """Along the kept line, oldest first."""
    audit_word: str = ""
    """`overfitting` where the number that is judged by improved since the first audit and the audited one did not."""
    promoted: tuple[int, ...] = ()
    """The experiments that hold on every rung, by number."""
    rungs: tuple[RungStatus, ...] = ()
    """Empty without a ladder."""
    rung_share: float | None = None
    """Of the devices' time of this session, what went to the rungs above the first."""
    rung_why: str = ""
    """Why nothing can be compared on a rung."""
    program_refused: str = ""
    """Why the program.toml that was saved last is not in force; the one before it is."""

    @property
    def tried(self) -> int:
        """Experiments with a verdict, the baseline not counted."""
        return sum(count for word, count in self.verdicts.items() if word != Outcome.BASELINE)

    @property
    def kept(self) -> int:
        return self.verdicts.get(Outcome.KEEP, 0)

    @property
    def failed(self) -> int:
        return sum(self.verdicts.get(outcome, 0) for outcome in FAILED)

    @property
    def gain(self) -> float | None:
        """By how much best is better than the baseline; None while it is the baseline, or one of them is not known."""
        if self.best is None or self.baseline is None or not self.best_number:
            return None
        return Direction(self.direction).gain(self.best, self.baseline)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the documented shape of status.json."""
        return asdict(self) | {"tried": self.tried, "kept": self.kept, "failed": self.failed}


def with_best(status: Status, best: Concluded | None, baseline: Experiment | Concluded | None) -> Status:
    """The status with what the ledger says of best and of where its line began."""
    return replace(
        status,
        best=best.verdict.metric if best else None,
        best_number=best.experiment.number if best else None,
        best_title=best.experiment.title if best else "",
        baseline=baseline.verdict.start if isinstance(baseline, Concluded) else None,
    )


def wishes_wait(model: LlmStatus | None) -> str:
    """Why no change is made of a wish now; empty where one may be."""
    if model is None:
        return "no language model is in force: set ANTHROPIC_API_KEY and start again, or see [propose.llm]"
    return "" if model.state in ("ready", "thinking") else model.why


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """One training as it goes on; too much for status.json, so live.json has it."""

    run: str
    experiment: int | None
    """None where the first measurement of the imported commit has no number yet."""
    device: str
    seed: int
    curve: tuple[CurvePoint, ...]
    log_tail: str
    """The end of what it has said: untrusted words."""


def live_runs(
    live: Sequence[Progress],
    experiments: Sequence[Experiment],
    best_number: int | None,
    tail: Callable[[str], str],
) -> tuple[LiveRun, ...]:
    """The trainings that go on now; what trains no open experiment measures best again."""
    numbers = {experiment.tree: experiment.number for experiment in experiments}
    return tuple(
        LiveRun(
            run=progress.spec.run,
            experiment=numbers.get(progress.spec.tree, best_number),
            device=progress.spec.device.name,
            seed=progress.spec.seed,
            curve=progress.curve,
            log_tail=tail(progress.spec.run),
        )
        for progress in live
    )


def device_status(
    name: str, model: str, live: Progress | None, experiments: Sequence[Experiment], best_number: int | None
) -> DeviceStatus:
    """What one device does: the experiment is the open one whose tree is being trained, else best is measured again."""
    if live is None:
        return DeviceStatus(device=name, model=model)
    spec = live.spec
    own = next((e for e in experiments if e.tree == spec.tree), None)
    last: CurvePoint | None = live.curve[-1] if live.curve else None
    return DeviceStatus(
        device=name,
        model=model,
        experiment=own.number if own else best_number,
        title=f"promotion, on {spec.scale}" if spec.scale else own.title if own else "best, measured again",
        seed=spec.seed,
        phase=live.phase,
        fraction=live.fraction,
        step=live.step,
        train_loss=last.train_loss if last else None,
        started=live.started,
        incidents=tuple(incident.what for incident in live.incidents),
    )
