"""Everything that is known at one instant, read from the ledger, the executor and whoever remembers: a World."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoresearchd import controls, weighing
from autoresearchd.archive import Archive
from autoresearchd.climbing import Climbing
from autoresearchd.experiment import Environment, Measurement, Outcome, Progress, TreeOid
from autoresearchd.judge import Spread, reads_curves
from autoresearchd.lab import Lab
from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger
from autoresearchd.memory import Memory
from autoresearchd.program import Program
from autoresearchd.promotion import Ladder
from autoresearchd.reception import Reception
from autoresearchd.world import Health, Ideas, Open, Orders, Screen, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """Looks at one lab, and decides nothing about an experiment.

    Looking has its marks: what cannot be read is set aside, runs that a device spoilt are forgotten once nobody asks
    for them, the trees of stacks are merged into git's objects, and promotion that fails at that begins its rest.
    """

    lab: Lab
    memory: Memory
    reception: Reception
    climbing: Climbing

    def world(self, now: float, program: Program) -> World:
        """What is known now."""
        ledger, fleet, archive = self.lab.ledger, self.lab.fleet, self.memory.archive
        best, baseline, opened = ledger.best(), ledger.baseline_tree(), archive.opened()
        numbers, live = _Numbers(ledger, archive, program), tuple(self.lab.executor.progress())
        ladder, trees = self._ladder(now, numbers, live), _trees(best.tree, baseline, opened)
        return World(
            now=now,
            program=program,
            environment=fleet.environment,
            devices=fleet.devices,
            screens=self._screens(numbers),
            best=best.commit,
            best_tree=best.tree,
            unbacked=ledger.unbacked(),
            baseline_tree=baseline,
            is_begun=ledger.is_begun,
            opened=opened,
            past=archive.past(fleet.environment, program.metric.direction),
            runs=numbers.of_each(trees),
            spread=numbers.spread(fleet.environment),
            live=live,
            ideas=self._ideas(),
            orders=self._orders(now, program),
            health=self._health(now, trees),
            ladder=ladder,
            climb=self.climbing.move(ladder),
        )

    def _screens(self, numbers: _Numbers) -> tuple[Screen, ...]:
        screens = self.lab.fleet.screens.items()
        return tuple(Screen(environment=label, devices=own, spread=numbers.spread(label)) for label, own in screens)

    def _ladder(self, now: float, numbers: _Numbers, live: Sequence[Progress]) -> Ladder | None:
        return self.climbing.ladder(
            now=now,
            program=numbers.program,
            devices=self.lab.fleet.devices,
            live=live,
            runs_of=numbers.results,
            spread_in=numbers.spread,
        )

    def _ideas(self) -> Ideas:
        pipeline = self.lab.pipeline
        return Ideas(
            ready=pipeline.ready,
            asked=pipeline.asked,
            is_silent=pipeline.is_silent,
            lack=pipeline.lack,
            fixes_asked=pipeline.fixes_asked,
            fixes=pipeline.fixes,
            wishes=self.reception.to_ask(),
        )

    def _orders(self, now: float, program: Program) -> Orders:
        ledger, verdicts = self.lab.ledger, self.memory.archive.verdicts
        opened = sum(not experiment.is_baseline for experiment in ledger.opened())
        tried = verdicts.total() - verdicts[Outcome.BASELINE] + opened
        return Orders(
            paused=ledger.pause_switch.exists(),
            closing=self._closing(now),
            remaining=self.lab.session.remaining(tried, program.budget.experiments),
            skips=controls.skips(ledger.path),
        )

    def _closing(self, now: float) -> str:
        session = self.lab.session
        if controls.stop_switch(self.lab.ledger.path).exists():
            return "stopped by `autoresearchd stop --after-run`"
        if session.until_exhausted and self.lab.pipeline.is_exhausted:
            return session.until_exhausted
        return session.over(now)

    def _health(self, now: float, trees: frozenset[TreeOid]) -> Health:
        memory, path = self.memory, self.lab.ledger.path
        is_full = self.lab.free(path) < FREE_FLOOR_BYTES
        full = f"less than {FREE_FLOOR_BYTES >> 20} MiB are free on the disk of {path}"
        return Health(
            trouble=full if is_full else memory.trouble.why(now),
            aside=memory.quarantine.devices,
            excused=memory.quarantine.excused(trees),
        )


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The filed runs of one instant, with what the judge compares beside what each reported."""

    ledger: Ledger
    archive: Archive
    program: Program
    scales: dict[Environment, weighing.Scale] = field(default_factory=dict)

    def results(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """Without curves and logs, as promotion asks for those of hundreds of trees; unless a constraint reads them."""
        read = self.ledger.measurements if reads_curves(self.program.constraint) else self.ledger.results
        return self._weighed(read(tree))

    def of_each(self, trees: frozenset[TreeOid]) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        return {tree: self._weighed(runs) for tree, runs in self.ledger.measurements_of(trees).items()}

    def spread(self, environment: Environment) -> Spread:
        scale = weighing.scale(self.ledger, environment, self.program.metric)
        return self.archive.spread(environment, self.program, scale)

    def _weighed(self, runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
        return weighing.weighed(self.ledger, runs, self.program.metric, self.scales)


def _trees(best: TreeOid, baseline: TreeOid | None, opened: Sequence[Open]) -> frozenset[TreeOid]:
    """Those that matter now."""
    own = {tree for each in opened for tree in (each.experiment.tree, each.experiment.parent_tree)}
    return frozenset({best, *own, *(() if baseline is None else (baseline,))})
