"""Reads what promotion is decided by: refs, filed runs and the session's time → Ladder. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from autoresearchd.actions import Start
from autoresearchd.archive import Step
from autoresearchd.backoff import Backoff
from autoresearchd.blame import calm, is_the_devices
from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Device, Environment, Measurement, Progress, TreeOid
from autoresearchd.judge import MOST_REPEATS, Spread
from autoresearchd.judgement import budgeted
from autoresearchd.ladder import next_move
from autoresearchd.ledger import Ledger
from autoresearchd.memory import Memory
from autoresearchd.program import Program
from autoresearchd.promotion import Ladder as Known
from autoresearchd.promotion import Level, Move

log = structlog.get_logger()

REST_SECONDS = 300.0
"""After something of promotion could not be read, written or begun."""


@dataclass(slots=True, kw_only=True)
class Climbing:
    """The rungs above the first, as one daemon climbs them."""

    ledger: Ledger
    memory: Memory
    scales: Mapping[str, Environment]
    """What runs on each rung count for, in the order of program.toml."""
    damage: str = ""
    """What of promotion cannot be read: it waits until that is mended, and the lab goes on."""
    _trouble: Backoff = field(default_factory=lambda: Backoff(first_seconds=REST_SECONDS, longest_seconds=REST_SECONDS))

    def rest(self, error: Exception, *, now: float) -> None:
        """Something could not be read, written or begun: try nothing of promotion for a while."""
        log.warning("promotion_rests", why=str(error))
        self._trouble.failed(error, now=now)

    def ladder(
        self,
        *,
        now: float,
        program: Program,
        devices: Sequence[Device],
        live: Sequence[Progress],
        runs_of: Callable[[TreeOid], Sequence[Measurement]],
        spread_in: Callable[[Environment], Spread],
    ) -> Known | None:
        """What is known about promotion; None where there are no rungs, or no baseline yet."""
        line = self.memory.archive.line() if self.scales and program.promote.share else ()
        if not line or not line[-1].is_baseline:
            return None
        rungs = _Rungs(
            scales=self.scales,
            programs={environment: program.on(name) for name, environment in self.scales.items()},
            on_gpu=any(device.is_cuda for device in devices),
            runs_of=runs_of,
            spread_in=spread_in,
        )
        try:
            known = self._known(rungs, line, now, live)
        except CorruptRecord as error:
            if self.damage != str(error):
                log.warning("promotion_cannot_be_read", why=str(error))
            self.damage = str(error)
            return None
        self.damage = ""
        return known

    def _known(self, rungs: _Rungs, line: Sequence[Step], now: float, live: Sequence[Progress]) -> Known:
        baseline, promotion = line[-1], self.ledger.promotion
        promoted, base = promotion.line(baseline.commit), self._base(baseline)
        numbers = {step.commit: step.number for step in reversed(line[:-1])}
        through = {promotion.record(commit).number for commit in promoted or ()}
        return Known(
            levels=tuple(rungs.levels()),
            now=now,
            tip=None if promoted is None else (baseline.commit, *promoted)[-1],
            base=base,
            baseline=baseline.tree,
            line=tuple(commit for commit, number in numbers.items() if number not in through),
            climbing=promotion.place().tip,
            standings=promotion.standings(),
            numbers=numbers,
            promoted=tuple(sorted(through)),
            stack=partial(promotion.stack, base),
            runs=rungs.runs,
            trouble=self._trouble.why(now),
            share=self._share(now, live),
        )

    def _base(self, baseline: Step) -> TreeOid:
        """The tree of what was promoted last, else of the baseline."""
        promotion = self.ledger.promotion
        promoted = promotion.line(baseline.commit)
        return promotion.tree(promoted[-1]) if promoted else baseline.tree

    def move(self, ladder: Known | None) -> Move | None:
        """What promotion does next; where that cannot be told, as a tree cannot be read, it rests."""
        if ladder is None:
            return None
        try:
            return next_move(ladder)  # asks for merged trees as it goes
        except (OSError, CorruptRecord) as error:
            self.rest(error, now=ladder.now)
            return next_move(replace(ladder, trouble=self._trouble.why(ladder.now)))

    def is_ready(self, start: Start, *, now: float) -> bool:
        """Write the tree of a stack again that is about to be trained, as no ref holds it; where that fails, rest."""
        if not start.commits:
            return True
        try:
            self.ledger.promotion.remake(self._base(self.memory.archive.line()[-1]), start.commits)
        except (OSError, CorruptRecord) as error:
            self.rest(error, now=now)
            return False
        return True

    def _share(self, now: float, live: Sequence[Progress]) -> float:
        """Of the device seconds of this session, those on rungs above the first."""
        running = [(max(0.0, now - run.started), bool(run.spec.scale)) for run in live]
        above = self.memory.figures.scale_seconds + sum(seconds for seconds, is_above in running if is_above)
        spent = self.memory.figures.busy_seconds + sum(seconds for seconds, _ in running)
        return above / spent if spent else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rungs:
    """The rungs as the judge sees them: their rules, and which of their runs may be compared."""

    scales: Mapping[str, Environment]
    programs: Mapping[Environment, Program]
    on_gpu: bool
    runs_of: Callable[[TreeOid], Sequence[Measurement]]
    spread_in: Callable[[Environment], Spread]

    def levels(self) -> Iterator[Level]:
        for name, environment in self.scales.items():
            own = self.programs[environment]
            rules = budgeted(own, timed=self.on_gpu or own.train.cpu_steps is None)
            yield Level(name=name, environment=environment, rules=rules, spread=self.spread_in(environment))

    def runs(self, tree: TreeOid, environment: Environment) -> Sequence[Measurement]:
        ours = [run for run in self.runs_of(tree) if run.environment == environment]
        spared = [run for run in ours if is_the_devices(run)][:MOST_REPEATS]
        return calm([run for run in ours if run not in spared], self.programs[environment])
