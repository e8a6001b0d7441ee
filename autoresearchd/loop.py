"""Observe, plan, act; nothing else. `step(now)` moves the lab as far as it can go without waiting.

Decides nothing: what to do comes from `plan`, what happened comes from the ledger and the executor.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
from collections.abc import Callable, Mapping
from types import MappingProxyType

import structlog

from autoresearchd import announce, controls, weighing
from autoresearchd.blame import disturbed
from autoresearchd.clerk import Clerk
from autoresearchd.climbing import Climbing
from autoresearchd.describe import describe, idle
from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import Concluded, Device, Environment, Measurement, Outcome, RunSpec, TreeOid
from autoresearchd.holds import hold
from autoresearchd.judge import Spread
from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger
from autoresearchd.memory import Memory, pruned
from autoresearchd.pipeline import Pipeline
from autoresearchd.plan import plan
from autoresearchd.program import Program
from autoresearchd.promotion import Writing
from autoresearchd.reception import Reception
from autoresearchd.run._protocol import Executor
from autoresearchd.screening import views
from autoresearchd.status import LiveRun, Status, live_runs
from autoresearchd.world import (
    Action,
    Ask,
    AskFix,
    AskWish,
    Drop,
    Finish,
    Prune,
    Screen,
    Session,
    Start,
    Stop,
    World,
)

log = structlog.get_logger()
NO_SCREENS: Mapping[Environment, tuple[Device, ...]] = MappingProxyType({})
NO_SCALES: Mapping[str, Environment] = MappingProxyType({})
PLANS_A_STEP = 50
"""With much to do a step ends after so many and the next follows at once, so that others hear of the daemon between."""


class Loop:
    """One lab on one machine, stepped by whoever owns it; the caller holds the ledger's lock."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        executor: Executor,
        pipeline: Pipeline,
        program: Program,
        devices: tuple[Device, ...],
        environment: Environment,
        session: Session,
        screens: Mapping[Environment, tuple[Device, ...]] = NO_SCREENS,
        scales: Mapping[str, Environment] = NO_SCALES,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """`environment` leads best, and `devices` are those that share it; `screens` are the others.

        `scales` are the rungs above the first, in their order, and what runs of `devices` count for there.
        """
        self.ledger, self.executor, self.pipeline, self.screens = ledger, executor, pipeline, screens
        self.program, self.devices, self.environment, self.session = program, devices, environment, session
        self.is_unfinished = False
        """The last step ended although there was more to do: `wait` does not sleep."""
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(ledger.path).free)
        self._memory = Memory(ledger)
        self._climbing = Climbing(ledger=ledger, memory=self._memory, scales=scales)
        self._clerk = Clerk(
            ledger=ledger,
            pipeline=pipeline,
            memory=self._memory,
            session=session,
            metric=program.metric,
            environment=environment,
        )
        self._reception = Reception(ledger=ledger, pipeline=pipeline, memory=self._memory)
        self.status = self._describe(self.observe(session.started), "starting")

    def step(self, now: float) -> Finish | None:
        """Move the lab as far as it goes at `now` (Unix time), within limits; Finish when this session's work is done.

        Raises: AssertionError where the plan wants the same again and again of a lab that does not change.
        """
        self._memory.unfiled += self.executor.poll(now)
        self._file_runs(now)
        self._reception.look(now)
        first, same = None, 0
        for _ in range(PLANS_A_STEP):
            world = self.observe(now)
            actions = plan(world)
            self._say_trouble(world)
            finish = next((action for action in actions if isinstance(action, Finish)), None)
            if finish is not None or not all(self._try(action, now) for action in actions) or not actions:
                self.is_unfinished = False
                return self._rest(world, finish)
            first = first or (actions, world)
            same += (actions, world) == first
        if same == PLANS_A_STEP:
            raise AssertionError(f"the plan and the ledger disagree: {actions}")
        self.is_unfinished = True
        return self._rest(world, None)

    def _rest(self, world: World, finish: Finish | None) -> Finish | None:
        self._memory.note_idle(world.now, len(world.all_devices) - len(world.live), idle(world))
        self.status = self._describe(world, "finished" if finish else "", finish.why if finish else "")
        return finish

    def observe(self, now: float) -> World:
        """Everything that is known now."""
        best, opened = self.ledger.best(), self._memory.opened(self.ledger)
        baseline = self.ledger.baseline_tree()
        trees = {best.tree, *(tree for o in opened for tree in (o.experiment.tree, o.experiment.parent_tree))}
        if baseline is not None:
            trees.add(baseline)
        metric, scales = self.program.metric, dict[Environment, Mapping[str, float]]()

        def runs_of(tree: TreeOid) -> tuple[Measurement, ...]:
            return weighing.weighed(self.ledger, self.ledger.measurements(tree), metric, scales)

        def spread_in(environment: Environment) -> Spread:
            scale = weighing.scale(self.ledger, environment, metric)
            return self._memory.spread(self.ledger, environment, self.program, scale)

        live = tuple(self.executor.progress())
        ladder = self._climbing.ladder(
            now=now, program=self.program, devices=self.devices, live=live, runs_of=runs_of, spread_in=spread_in
        )
        return World(
            now=now,
            program=self.program,
            environment=self.environment,
            devices=self.devices,
            screens=tuple(
                Screen(environment=environment, devices=devices, spread=spread_in(environment))
                for environment, devices in self.screens.items()
            ),
            best=best.commit,
            best_tree=best.tree,
            baseline_tree=baseline,
            is_begun=self.ledger.is_begun,
            opened=opened,
            known=self._memory.known,
            keeps=self._memory.verdicts[Outcome.KEEP],
            runs={
                tree: weighing.weighed(self.ledger, runs, metric, scales)
                for tree, runs in self.ledger.measurements_of(trees).items()
            },
            spread=spread_in(self.environment),
            largest_gain=self._memory.largest_gain(self.ledger, self.environment, metric.direction),
            live=live,
            ladder=ladder,
            ready=self.pipeline.ready,
            asked=self.pipeline.asked,
            is_exhausted=self.pipeline.is_exhausted,
            fixes_asked=self.pipeline.fixes_asked,
            fixes=self.pipeline.fixes,
            wishes=self._reception.to_ask(),
            last_failures=self._memory.last_failures(self.ledger),
            remaining=self._remaining(),
            paused=self.ledger.pause_switch.exists(),
            closing=self._closing(now),
            skips=controls.skips(self.ledger.path),
            trouble=self._trouble(now),
            aside=self._memory.aside_devices,
            excused=frozenset(self._memory.excused),
        )

    def news(self) -> tuple[Concluded, ...]:
        """What was concluded since the last call, in that order."""
        return self._memory.take_news()

    def live(self) -> tuple[LiveRun, ...]:
        """The trainings of this moment with their curves and the ends of their logs."""
        executor, opened = self.executor, self.ledger.opened()
        return live_runs(executor.progress(), opened, self.ledger.best().number, executor.tail)

    def wait(self, seconds: float, wake: int) -> None:
        """Sleep until a run, a proposal (`wake`, a readable descriptor) or `seconds` have something for `step`."""
        patience = 0.0 if self.is_unfinished else seconds
        readable, _, _ = select.select([self.executor.fileno(), wake], [], [], patience)
        if wake in readable:
            os.read(wake, 4096)

    def _number_of(self, tree: TreeOid) -> int | None:
        """The experiment that a run of this tree is of; None for the imported commit before it has a number."""
        opened = next((experiment.number for experiment in self.ledger.opened() if experiment.tree == tree), None)
        return self._memory.known.get(tree) if opened is None else opened

    def _remaining(self) -> int | None:
        verdicts, opened = self._memory.verdicts, self.ledger.opened()
        tried = verdicts.total() - verdicts[Outcome.BASELINE] + sum(not each.is_baseline for each in opened)
        return self.session.remaining(tried, self.program.budget.experiments)

    def _closing(self, now: float) -> str:
        if controls.stop_switch(self.ledger.path).exists():
            return "stopped by `autoresearchd stop --after-run`"
        if self.session.until_exhausted and self.pipeline.is_exhausted:
            return self.session.until_exhausted
        return self.session.over(now)

    def _trouble(self, now: float) -> str:
        if self._free_bytes() < FREE_FLOOR_BYTES:
            return f"less than {FREE_FLOOR_BYTES >> 20} MiB are free on the disk of {self.ledger.path}"
        return self._memory.trouble(now)

    def _file_runs(self, now: float) -> None:
        """File what has ended; what cannot be written now (a full disk) is kept and tried again."""
        while self._memory.unfiled:
            try:
                self._record(self._memory.unfiled[0])
            except (OSError, RefLocked, StaleRef, CorruptRecord) as error:
                announce.run_not_filed(self._memory.unfiled[0], self._number_of(self._memory.unfiled[0].tree))
                self._memory.stumble(error, now=now)
                return
            self._memory.unfiled.pop(0)

    def _record(self, measurement: Measurement) -> None:
        self.ledger.record(measurement)
        self._memory.filed(measurement, on_rung=measurement.environment in self._climbing.scales.values())
        announce.run_finished(measurement, self._number_of(measurement.tree), self.program.metric.name)

    def _try(self, action: Action, now: float) -> bool:
        """Act; False if the world has to be looked at again before anything else, or is not fit for it now."""
        try:
            self._act(action, now)
        except (StaleRef, RefLocked, OSError, CorruptRecord) as error:
            if isinstance(action, Writing):
                self._climbing.rest(error, now=now)
            else:
                self._stumble(action, error, now)
            return False
        return True

    def _stumble(self, action: Action, error: StaleRef | RefLocked | OSError | CorruptRecord, now: float) -> None:
        match error:
            case StaleRef() | RefLocked():
                log.warning("ref_contended", action=type(action).__name__, why=str(error))
                self.ledger.refresh()  # somebody may have deleted or moved an experiment's branch
            case OSError():
                log.error("action_failed", action=type(action).__name__, exc_info=error)
                self._memory.stumble(error, now=now)
            case CorruptRecord():
                if not self._memory.blame(action, error, self.ledger):
                    self._memory.stumble(error, now=now)

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Drop(proposal=proposal):
                self.pipeline.take(proposal)
                log.info("proposal_outdated", proposer=proposal.proposer, title=proposal.title)
            case AskFix(experiment=experiment, verdict=verdict):
                crash = Concluded(experiment=experiment, verdict=verdict)
                self.pipeline.ask_fix(self.program, crash, self.ledger.opened())
            case AskWish(wish=wish):
                self.pipeline.ask_wish(self.program, wish, self.ledger.opened())
            case Start():
                self._start(action)
            case Prune(run=run, why=why):
                self._prune(run, why, now)
            case Stop(run=run, why=why):
                self._stop(run, why)
            case Ask(count=count):
                for _ in range(count):
                    self.pipeline.ask(self.program, self.ledger.opened())
            case Finish():
                pass  # the caller's: a loop does not end itself
            case _:
                self._clerk.move(action, now)

    def _start(self, start: Start) -> None:
        tree, seed, device = start.tree, start.seed, start.device
        name = f"{tree}-{seed}-{secrets.token_hex(4)}"
        screening = (environment for environment, devices in self.screens.items() if device in devices)
        environment = self._climbing.scales.get(start.scale) or next(screening, self.environment)
        if start.commits:
            self._climbing.remake(start.commits)
        spec = RunSpec(
            run=name,
            tree=tree,
            seed=seed,
            device=device,
            environment=environment,
            audit=start.audit,
            scale=start.scale,
        )
        self.executor.start(spec)
        announce.run_started(spec, self._number_of(tree))

    def _stop(self, run: str, why: str) -> None:
        live = next(progress for progress in self.executor.progress() if progress.spec.run == run)
        self.executor.kill(run)
        announce.run_stopped(live.spec, self._number_of(live.spec.tree), why)

    def _prune(self, run: str, why: str, now: float) -> None:
        live = next(progress for progress in self.executor.progress() if progress.spec.run == run)
        self.executor.kill(run)
        self._memory.unfiled.append(pruned(live, why, now))
        self._file_runs(now)

    def _say_trouble(self, world: World) -> None:
        held = hold(world)
        why = held[0] if held else ""
        if why != self._memory.held:
            log.warning("held", why=why) if why else log.info("resumed")
            self._memory.held = why
        for run in (run for view in views(world) for run in disturbed(view)):
            if run.run not in self._memory.disturbed:
                why = "; ".join(incident.what for incident in run.incidents) or "far slower than the same code before"
                announce.run_disturbed(run, self._number_of(run.tree), why)
                self._memory.disturbed[run.run] = why

    def _describe(self, world: World, state: str, why: str = "") -> Status:
        return describe(
            world,
            session=self.session,
            verdicts=dict(self._memory.verdicts),
            best=self.ledger.best_record(),
            baseline=self.ledger.baseline(),
            busy_seconds=self._memory.busy_seconds,
            idle_seconds=dict(self._memory.idle_seconds),
            concluded=self._memory.concluded_here,
            side_by_side=dict(self._memory.side_by_side),
            residents=self.executor.residents,
            disturbed=tuple(self._memory.disturbed.values()),
            audits=self._memory.audits(self.ledger, self.environment, self.program.metric.name),
            wishes=len(self._memory.wishes),
            refused=tuple(self._memory.refused),
            damaged=(*self._memory.damaged(self.ledger), *filter(None, [self._climbing.damage])),
            pid=os.getpid(),
            state=state,
            why=why,
        )
