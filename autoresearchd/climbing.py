"""Reads what promotion is decided by: refs, filed runs and the session's time → Ladder. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from autoresearchd.blame import calm, is_the_devices
from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Concluded, Device, Environment, Measurement, Outcome, Progress, TreeOid
from autoresearchd.judge import MOST_REPEATS, Spread
from autoresearchd.judgement import budgeted
from autoresearchd.ledger import Ledger
from autoresearchd.memory import Memory
from autoresearchd.program import Program
from autoresearchd.promotion import Commits, Level
from autoresearchd.promotion import Ladder as Known

log = structlog.get_logger()


REST_SECONDS = 300.0
"""After something of promotion could not be written."""


@dataclass(slots=True, kw_only=True)
class Climbing:
    """The rungs above the first, as one daemon climbs them."""

    ledger: Ledger
    memory: Memory
    scales: Mapping[str, Environment]
    """What runs on each rung count for, in the order of program.toml."""
    damage: str = ""
    """What of promotion cannot be read: it waits until that is mended, and the lab goes on."""
    _trouble: str = ""
    _trouble_until: float = 0.0

    def rest(self, error: Exception, *, now: float) -> None:
        """Something could not be written: try nothing of promotion for a while."""
        log.warning("promotion_rests", why=str(error))
        self._trouble, self._trouble_until = str(error), now + REST_SECONDS

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
        line = self.memory.line(self.ledger) if self.scales and program.promote.share else ()
        if not line or line[-1].verdict.outcome is not Outcome.BASELINE:
            return None
        try:
            known = self._known(line, now, program, devices, live, runs_of, spread_in)
        except CorruptRecord as error:
            if self.damage != str(error):
                log.warning("promotion_cannot_be_read", why=str(error))
            self.damage = str(error)
            return None
        self.damage = ""
        return known

    def _known(
        self,
        line: Sequence[Concluded],
        now: float,
        program: Program,
        devices: Sequence[Device],
        live: Sequence[Progress],
        runs_of: Callable[[TreeOid], Sequence[Measurement]],
        spread_in: Callable[[Environment], Spread],
    ) -> Known:
        baseline, promotion = line[-1].experiment, self.ledger.promotion
        ours = promotion.line(baseline.commit)
        promoted = ours or ()
        base = promotion.tree(promoted[-1]) if promoted else baseline.tree
        numbers = {step.experiment.commit: step.experiment.number for step in reversed(line[:-1])}
        through = {promotion.record(commit).number for commit in promoted}
        programs = {environment: program.on(name) for name, environment in self.scales.items()}
        on_gpu = any(device.is_cuda for device in devices)

        def stack(commits: Commits) -> TreeOid | None:
            return promotion.stack(base, commits)

        def runs(tree: TreeOid, environment: Environment) -> Sequence[Measurement]:
            ours = [run for run in runs_of(tree) if run.environment == environment]
            spared = [run for run in ours if is_the_devices(run)][:MOST_REPEATS]
            return calm([run for run in ours if run not in spared], programs[environment])

        def level(name: str, environment: Environment) -> Level:
            own = programs[environment]
            rules = budgeted(own, timed=on_gpu or own.train.cpu_steps is None)
            return Level(name=name, environment=environment, rules=rules, spread=spread_in(environment))

        return Known(
            levels=tuple(level(name, environment) for name, environment in self.scales.items()),
            now=now,
            tip=None if ours is None else promoted[-1] if promoted else baseline.commit,
            base=base,
            baseline=baseline.tree,
            line=tuple(commit for commit, number in numbers.items() if number not in through),
            climbing=promotion.place().tip,
            standings=promotion.standings(),
            numbers=numbers,
            promoted=tuple(sorted(through)),
            stack=stack,
            runs=runs,
            trouble=self._trouble if now < self._trouble_until else "",
            share=self._share(now, live),
        )

    def remake(self, commits: Commits) -> None:
        """Write the tree of a stack again that is about to be trained: no ref holds it."""
        promotion, baseline = self.ledger.promotion, self.memory.line(self.ledger)[-1].experiment
        promoted = promotion.line(baseline.commit)
        promotion.remake(promotion.tree(promoted[-1]) if promoted else baseline.tree, commits)

    def _share(self, now: float, live: Sequence[Progress]) -> float:
        """Of the device seconds of this session, those on rungs above the first."""
        running = [(max(0.0, now - run.started), bool(run.spec.scale)) for run in live]
        above = self.memory.scale_seconds + sum(seconds for seconds, is_above in running if is_above)
        spent = self.memory.busy_seconds + sum(seconds for seconds, _ in running)
        return above / spent if spent else 1.0
