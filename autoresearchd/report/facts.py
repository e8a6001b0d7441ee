"""Everything that a view of a lab shows, as one value: report, page and other programs render the same facts. Pure.

Nothing here is formatted, and nothing is made safe to show: titles, reasons and names are untrusted as they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from autoresearchd.experiment import BASELINE_NUMBER, ON_BEST, Concluded, Direction, Experiment, Outcome
from autoresearchd.judge import Spread
from autoresearchd.program import Program
from autoresearchd.report import findings, summary
from autoresearchd.report.climb import Climb, climbs
from autoresearchd.report.findings import Additivity, Elsewhere, Lately, Spend, Suggestion, Yield
from autoresearchd.report.rows import Row, row
from autoresearchd.report.scales import Scaled
from autoresearchd.report.words import share
from autoresearchd.report.worth import Worth, worth
from autoresearchd.status import AuditStatus, RefusedIdea, Status

NO_SPREAD = Spread(std_dev=0.0, degrees=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was read from a lab at one moment (`report.gather`)."""

    now: float
    """Unix time."""
    program: Program
    concluded: Sequence[Concluded]
    """By number."""
    imported: Sequence[Concluded] = ()
    """Other programs' experiments."""
    opened: Sequence[Experiment] = ()
    refused: tuple[RefusedIdea, ...] = ()
    """What was turned away out of the inbox lately, the newest last."""
    scales: Sequence[Scaled] = ()
    """What was kept, on the rungs above the first."""
    spread: Spread = NO_SPREAD
    """Of one run, in the environment of best."""
    audits: tuple[AuditStatus, ...] = ()
    """Along the line of best, oldest first."""
    status: Status | None = None
    """The last that a daemon said; None before the first."""
    is_running: bool = False
    """Whether the daemon that said it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From experiment `number` on `best` measured `metric`."""

    number: int
    metric: float
    std_error: float | None = None
    is_seam: bool = False
    """A rebase began a new line with it: what is before was measured on other commits of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much the metric moves when nothing but the seed does."""

    std_dev: float
    """Of one run, in the metric's unit."""
    degrees: int
    """Degrees of freedom behind it; 0 means that nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTime:
    """Where the devices' time went in the last session; None where no daemon has said it."""

    busy_share: float | None = None
    """0 to 1."""
    session_seconds: float | None = None
    idle_seconds: Mapping[str, float] = field(default_factory=dict)
    """Device seconds that nothing ran, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A lab at `now`. Gains are positive where the change is better; metric values keep their own direction."""

    now: float
    name: str
    goal: str
    metric: str
    direction: Direction
    sentence: str
    """The whole outcome in words, harmless to show."""
    lately: Lately
    rows: tuple[Row, ...]
    """Every experiment of this lab by number, open ones among them."""
    imported: tuple[Row, ...]
    """What other programs tried, by number; nothing else here counts them."""
    elsewhere: tuple[Elsewhere, ...]
    """The same, summed up by where it is from."""
    line: tuple[Row, ...]
    """The line of best in the order of history, its baseline first: the gains by change."""
    carried: tuple[Row, ...]
    """What a rebase carried over from the line before: it lies below the baseline."""
    steps: tuple[Step, ...]
    """The staircase of best over experiment numbers, through all its lines."""
    counts: Mapping[str, int]
    """Experiments by the word of their verdict, the baseline not counted."""
    categories: tuple[Yield, ...]
    proposers: tuple[Yield, ...]
    hurt: tuple[Row, ...]
    """Failures worth knowing: argued changes that are measurably worse, the worst first."""
    noise: Noise
    devices: DeviceTime
    audits: tuple[AuditStatus, ...]
    audit_word: str
    rungs: tuple[str, ...]
    """The names of the rungs above the first, in order."""
    scales: tuple[Climb, ...]
    """What each kept change gains on them, in the order of history; empty where none was tried there."""
    worth: tuple[Worth, ...]
    """What each kept change is worth today, in the order of history."""
    additivity: Additivity | None
    """None before the second keep."""
    side_by_side: str
    """Whether wins that were found at the same time added up, harmless to show; empty where there were none."""
    spend: Spend
    suggestions: tuple[Suggestion, ...]
    refused: tuple[RefusedIdea, ...]
    """Ideas of people that were not tried, the newest last."""
    status: Status | None
    is_running: bool

    @property
    def baseline(self) -> Row | None:
        """What the line of best begins with, where it has its verdict."""
        return self.line[0] if self.line else None

    @property
    def best(self) -> Row | None:
        """The newest step of best; the baseline where nothing was kept."""
        return self.line[-1] if self.line else None

    @property
    def share(self) -> float | None:
        """By how much of the baseline's value best is better; None before both are known."""
        first, last = self.baseline, self.best
        return share(last.metric, first.start, self.direction) if first and last else None

    @property
    def worth_today(self) -> tuple[Worth, ...]:
        """`worth` once something was taken out again; before that it says nothing that `line` does not."""
        return self.worth if any(each.trial is not None for each in self.worth) else ()

    @property
    def tried(self) -> int:
        """Experiments with a verdict, the baseline not counted."""
        return sum(self.counts.values())


def facts(source: Source) -> Facts:
    """All that the lab has to say at that moment."""
    concluded, direction = list(source.concluded), source.program.metric.direction
    rows = _rows(concluded, source.opened, direction)
    by_number = {found.number: found for found in rows}
    lines = [[by_number[step.experiment.number] for step in line] for line in summary.lines(concluded)]
    line = tuple(lines[-1]) if lines else ()
    carried = summary.carried(concluded, summary.kept_line(concluded))
    tried = [found for found in rows if found.is_concluded and found.verdict != Outcome.BASELINE]
    return _as_given(source)(
        sentence=summary.sentence(concluded, metric=source.program.metric.compared, direction=direction),
        lately=findings.lately(tried, source.now),
        rows=rows,
        imported=_rows(source.imported, (), direction),
        elsewhere=findings.elsewhere(source.imported),
        line=line,
        carried=tuple(by_number[row.experiment.number] for row in carried),
        steps=tuple(_steps(lines)),
        counts=dict(Counter(found.verdict for found in tried)),
        categories=findings.yields(tried, lambda found: found.category),
        proposers=findings.yields(tried, lambda found: found.proposer),
        hurt=findings.hurt(tried),
        scales=climbs(source.scales, line),
        worth=worth(concluded, direction),
        additivity=findings.additivity(line, direction),
        side_by_side=" ".join(summary.additivity(concluded)),
        spend=findings.spend(rows, source.status, source.now),
        suggestions=findings.suggestions(tried),
    )


def _as_given(source: Source) -> partial[Facts]:
    """The facts that need no experiment."""
    program, status = source.program, source.status
    return partial(
        Facts,
        now=source.now,
        name=program.program.name,
        goal=program.program.goal,
        metric=program.metric.compared,
        direction=program.metric.direction,
        rungs=tuple(rung.name for rung in program.scale),
        noise=Noise(std_dev=source.spread.std_dev, degrees=source.spread.degrees),
        refused=source.refused,
        audits=source.audits,
        audit_word=status.audit_word if status else "",
        devices=_device_time(status),
        status=status,
        is_running=source.is_running,
    )


def _rows(concluded: Iterable[Concluded], opened: Iterable[Experiment], direction: Direction) -> tuple[Row, ...]:
    everything: list[Experiment | Concluded] = [*concluded, *opened]
    made = {
        found.experiment.commit: found.experiment.number
        for found in everything
        if isinstance(found, Concluded) and found.verdict.outcome in ON_BEST
    }
    rows = [row(found, direction=direction, made=made) for found in everything]
    return tuple(sorted(rows, key=lambda found: found.number))


def _steps(lines: Sequence[Sequence[Row]]) -> Iterable[Step]:
    """Numbers never go back: a lower one that was kept later counts from where best was then."""
    at = BASELINE_NUMBER
    for line in lines:
        for found in line:
            at = max(at, found.number)
            if found.metric is not None:
                is_seam = found is line[0] and line is not lines[0]
                yield Step(number=at, metric=found.metric, std_error=found.std_error, is_seam=is_seam)


def _device_time(status: Status | None) -> DeviceTime:
    if status is None:
        return DeviceTime()
    return DeviceTime(
        busy_share=status.busy_share,
        session_seconds=status.now - status.session_started,
        idle_seconds=status.idle_seconds,
    )
