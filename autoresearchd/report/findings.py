"""What the rows of a lab say together: yields, what hurt, whether gains added up, spend, what to try next. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autoresearchd.experiment import ABLATE, FAILED, IMPORTED, NULL, Concluded, Direction, Outcome
from autoresearchd.propose._misses import is_near_miss
from autoresearchd.report.rows import Row
from autoresearchd.report.words import DAY, HOUR, gain_figure
from autoresearchd.status import Status

LONGEST_LIST = 10
NEAREST = 5
CLEARLY = 2.0
"""Standard errors from which on a change is called worse."""
SILENT = frozenset({"space", "refine", "null", ABLATE})
"""Proposers that do not argue: that one of theirs hurts teaches nobody anything, or that what was kept is worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What one category or proposer brought for its device time and money."""

    name: str
    tried: int
    kept: int
    failed: int
    gain: float
    """Of its kept changes together, in the metric's unit; positive is better."""
    device_hours: float
    cost_usd: float

    @property
    def gain_per_hour(self) -> float | None:
        """Per hour of training; None without any."""
        return self.gain / self.device_hours if self.device_hours else None

    @property
    def gain_per_usd(self) -> float | None:
        """None where nothing was paid."""
        return self.gain / self.cost_usd if self.cost_usd else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Additivity:
    """Whether the steps of best add up: the gain of each on its parent, beside best on the baseline."""

    steps: float
    """Sum of the single gains, in the metric's unit."""
    total: float
    """Best's value beside the baseline's."""
    std_error: float | None
    """Of the sum; None where a step has none."""

    @property
    def share(self) -> float | None:
        """How much of the sum is there today; 1 where everything adds up."""
        return self.total / self.steps if self.steps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What the lab cost."""

    device_hours: float
    """Of training, over all experiments."""
    cost_usd: float
    """Of the proposals that were opened."""
    total_usd: float | None
    """Everything that the language model was paid, unopened proposals included; None where none is enabled."""
    today_usd: float | None
    """Of these, since midnight UTC; None where no daemon has spoken since."""
    kept: int

    @property
    def usd(self) -> float:
        """The larger of the two sums: what was certainly spent."""
        return max(self.cost_usd, self.total_usd or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What one import brought: another program's experiments, by its own numbers."""

    name: str
    """Untrusted."""
    first: int
    """The lowest number that one of them has here."""
    last: int
    tried: int
    kept: int
    failed: int
    with_code: int
    """Whose files are known; the others are records without them."""
    start: float | None
    """The metric of the first that was kept."""
    best: float | None
    """Of the last that was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Something worth doing next."""

    text: str
    """Our own words."""
    number: int | None = None
    """The experiment that it is about, if it is about one."""
    title: str = ""
    """Of the experiment, else the category's name: untrusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """What was opened since `since` (Unix time) and has its verdict."""

    since: float
    tried: int
    kept: int
    failed: int
    gain: float
    """Of what was kept of it, in the metric's unit."""

    @property
    def sentence(self) -> str:
        """In words, harmless to show."""
        if not self.tried:
            return "Nothing was tried in the last 24 hours."
        gained = f" ({gain_figure(self.gain)})" if self.kept else ""
        return f"In the last 24 hours {self.tried} tried, {self.kept} kept{gained}, {self.failed} failed."


def lately(tried: Iterable[Row], now: float) -> Lately:
    """The last day before `now`."""
    fresh = [row for row in tried if row.opened >= now - DAY]
    kept = [row for row in fresh if row.is_step]
    return Lately(
        since=now - DAY,
        tried=len(fresh),
        kept=len(kept),
        failed=sum(row.is_failed for row in fresh),
        gain=sum(row.gain or 0.0 for row in kept),
    )


def yields(tried: Iterable[Row], key: Callable[[Row], str]) -> tuple[Yield, ...]:
    """One for each value of `key`, the most gain for an hour first."""
    groups: dict[str, list[Row]] = {}
    for row in tried:
        groups.setdefault(key(row), []).append(row)
    found = [_yield(name, rows) for name, rows in groups.items()]
    return tuple(sorted(found, key=lambda each: (-(each.gain_per_hour or 0.0), -each.tried, each.name)))


def _yield(name: str, rows: Sequence[Row]) -> Yield:
    kept = [row for row in rows if row.is_step]
    return Yield(
        name=name,
        tried=len(rows),
        kept=len(kept),
        failed=sum(row.is_failed for row in rows),
        gain=sum(row.gain or 0.0 for row in kept),
        device_hours=sum(row.train_seconds for row in rows) / HOUR,
        cost_usd=sum(row.cost_usd or 0.0 for row in rows),
    )


def elsewhere(imported: Iterable[Concluded]) -> tuple[Elsewhere, ...]:
    """One for each import, in the order of their first numbers."""
    groups: dict[str, list[Concluded]] = {}
    for each in imported:
        groups.setdefault(each.verdict.environment.removeprefix(f"{IMPORTED}-"), []).append(each)
    return tuple(_elsewhere(name, group) for name, group in groups.items())


def _elsewhere(name: str, group: Sequence[Concluded]) -> Elsewhere:
    kept = [each.verdict.metric for each in group if each.verdict.outcome is Outcome.KEPT_ELSEWHERE]
    return Elsewhere(
        name=name,
        first=group[0].experiment.number,
        last=group[-1].experiment.number,
        tried=len(group),
        kept=len(kept),
        failed=sum(each.verdict.outcome in FAILED for each in group),
        with_code=sum(not each.experiment.is_lost for each in group),
        start=kept[0] if kept else None,
        best=kept[-1] if kept else None,
    )


def hurt(tried: Iterable[Row]) -> tuple[Row, ...]:
    """Changes that somebody argued for and that are worse by more than chance shows, the worst first."""
    argued = [row for row in tried if row.proposer not in SILENT and row.category != NULL and not row.is_step]
    worse = [row for row in argued if row.sigmas is not None and row.sigmas <= -CLEARLY]
    return tuple(sorted(worse, key=lambda row: row.gain or 0.0)[:LONGEST_LIST])


def additivity(line: Sequence[Row], direction: Direction) -> Additivity | None:
    """None before the second keep: one step adds up by itself."""
    gains = [row.gain for row in line[1:] if row.gain is not None]
    if len(gains) < 2 or line[0].metric is None or line[-1].metric is None:
        return None
    errors = [row.std_error for row in line[1:] if row.std_error is not None]
    known = len(errors) == len(line) - 1
    return Additivity(
        steps=sum(gains),
        total=direction.gain(line[-1].metric, line[0].metric),
        std_error=math.hypot(*errors) if known else None,
    )


def spend(rows: Iterable[Row], status: Status | None, now: float) -> Spend:
    """Device time and money, over all experiments."""
    everything = list(rows)
    llm = status.llm if status else None
    is_of_today = status is not None and status.now // DAY == now // DAY  # UTC, as the budget of a day is
    return Spend(
        device_hours=sum(row.train_seconds for row in everything) / HOUR,
        cost_usd=sum(row.cost_usd or 0.0 for row in everything),
        total_usd=llm.spent_total if llm else None,
        today_usd=llm.spent_today if llm and is_of_today else None,
        kept=sum(row.verdict == Outcome.KEEP for row in everything),
    )


def suggestions(tried: Sequence[Row]) -> tuple[Suggestion, ...]:
    """The near-misses that came nearest to a keep, each title once, then the category that pays best."""
    return (*_near_misses(tried), *_what_pays(tried))


def _near_misses(tried: Sequence[Row]) -> Iterable[Suggestion]:
    typical = statistics.median([row.std_error for row in tried if row.std_error] or [1.0])
    kept = {row.title for row in tried if row.is_step}
    nearly = [row for row in tried if is_near_miss(row.verdict, row.gain, category=row.category, proposer=row.proposer)]
    nearly.sort(key=lambda row: (row.gain or 0.0) / (row.std_error or typical), reverse=True)
    nearest: dict[str, Row] = {}
    for row in nearly:
        if row.title not in kept:
            nearest.setdefault(row.title, row)
    for row in list(nearest.values())[:NEAREST]:
        text = "came nearest to a keep: more runs of it, or a related change, would tell"
        yield Suggestion(text=text, number=row.number, title=row.title)


def _what_pays(tried: Sequence[Row]) -> Iterable[Suggestion]:
    paying = [each for each in yields(tried, lambda row: row.category) if each.kept and each.device_hours]
    if len(paying) > 1:
        yield Suggestion(text="is the category that gained most for an hour of training", title=paying[0].name)
