"""Observe, plan, act; nothing else. `step(now)` moves the lab as far as it can go without waiting.

Decides nothing: what to do comes from `plan`, what happened comes from the ledger and the executor.
"""

from __future__ import annotations

import os
import select
from dataclasses import replace

import structlog

from autoresearchd.actions import Action, Ask, AskFix, AskWish, Drop, Finish, Prune, Start, Stop
from autoresearchd.clerk import Clerk
from autoresearchd.climbing import Climbing
from autoresearchd.describe import Record, describe, idle
from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import Concluded
from autoresearchd.lab import Lab
from autoresearchd.memory import Memory
from autoresearchd.notices import Notices
from autoresearchd.observation import Observer
from autoresearchd.plan import plan
from autoresearchd.program import Program
from autoresearchd.promotion import Writing
from autoresearchd.reception import Reception
from autoresearchd.status import LiveRun, Status, live_runs
from autoresearchd.trainings import Trainings
from autoresearchd.world import World

log = structlog.get_logger()
Failure = StaleRef | RefLocked | OSError | CorruptRecord
"""What keeps an action from being done; nothing is half done then."""
PLANS_A_STEP = 50
"""With much to do a step ends after so many and the next follows at once, so that others hear of the daemon between."""


class Loop:
    """One lab on one machine, stepped by whoever owns it; the caller holds the ledger's lock."""

    def __init__(self, lab: Lab, program: Program) -> None:
        self.lab, self.program = lab, program
        self.is_unfinished = False
        """The last step ended although there was more to do: `wait` does not sleep."""
        self._memory = memory = Memory(lab.ledger)
        self._reception = Reception(ledger=lab.ledger, pipeline=lab.pipeline)
        self._climbing = Climbing(ledger=lab.ledger, memory=memory, scales=lab.fleet.scales)
        self._observer = Observer(lab=lab, memory=memory, reception=self._reception, climbing=self._climbing)
        self._trainings = Trainings(lab=lab, memory=memory, metric=program.metric.name)
        self._clerk = Clerk(
            ledger=lab.ledger,
            pipeline=lab.pipeline,
            memory=memory,
            reception=self._reception,
            session=lab.session,
            metric=program.metric,
            environment=lab.fleet.environment,
        )
        self._notices = Notices(memory)
        self.status = self._describe(self.observe(lab.session.started), "starting")

    def step(self, now: float) -> Finish | None:
        """Move the lab as far as it goes at `now` (Unix time), within limits; Finish when this session's work is done.

        Raises: AssertionError where the plan wants the same again and again of a lab that does not change.
        """
        self._trainings.poll(now)
        self._trainings.file(now)
        self._reception.look(now)
        first, same = None, 0
        for _ in range(PLANS_A_STEP):
            world = self.observe(now)
            actions = plan(world)
            self._notices.look(world)
            finish = next((action for action in actions if isinstance(action, Finish)), None)
            if finish is not None or not all(self._try(action, now) for action in actions) or not actions:
                self.is_unfinished = False
                return self._rest(world, finish)
            seen = actions, replace(world, ladder=None)  # which asks the ledger, and equals no other
            first = first or seen
            same += seen == first
        if same == PLANS_A_STEP:
            raise AssertionError(f"the plan and the ledger disagree: {actions}")
        self.is_unfinished = True
        return self._rest(world, None)

    def rest(self, why: str) -> None:
        """Nothing is known of the lab now, so nothing is done: say why, and let `wait` sleep."""
        self.is_unfinished = False
        self.status = replace(self.status, state="held", why=why)

    def observe(self, now: float) -> World:
        """Everything that is known now."""
        return self._observer.world(now, self.program)

    def news(self) -> tuple[Concluded, ...]:
        """What was concluded since the last call, in that order."""
        return self._memory.take_news()

    def live(self) -> tuple[LiveRun, ...]:
        """The trainings of this moment with their curves and the ends of their logs."""
        ledger, executor = self.lab.ledger, self.lab.executor
        return live_runs(executor.progress(), ledger.opened(), ledger.best().number, executor.tail)

    def wait(self, seconds: float, wake: int) -> None:
        """Sleep until a run, a proposal (`wake`, a readable descriptor) or `seconds` have something for `step`."""
        patience = 0.0 if self.is_unfinished else seconds
        readable, _, _ = select.select([self.lab.executor.fileno(), wake], [], [], patience)
        if wake in readable:
            os.read(wake, 4096)

    def _rest(self, world: World, finish: Finish | None) -> Finish | None:
        self._memory.figures.idle(world.now, len(world.all_devices) - len(world.live), idle(world))
        self.status = self._describe(world, "finished" if finish else "", finish.why if finish else "")
        return finish

    def _try(self, action: Action, now: float) -> bool:
        """Act; False if the world has to be looked at again before anything else, or is not fit for it now."""
        try:
            self._act(action, now)
        except (StaleRef, RefLocked, OSError, CorruptRecord) as error:
            if _is_promotions(action, error):
                self._climbing.rest(error, now=now)
            else:
                self._stumble(action, error, now)
            return False
        return True

    def _stumble(self, action: Action, error: Failure, now: float) -> None:
        match error:
            case StaleRef() | RefLocked():
                log.warning("ref_contended", action=type(action).__name__, why=str(error))
                self.lab.ledger.refresh()  # somebody may have deleted or moved an experiment's branch
            case OSError():
                log.error("action_failed", action=type(action).__name__, exc_info=error)
                self._memory.trouble.failed(error, now=now)
            case CorruptRecord():
                if not self._memory.archive.blame(action, error):
                    self._memory.trouble.failed(error, now=now)

    def _act(self, action: Action, now: float) -> None:
        pipeline, pending = self.lab.pipeline, self._memory.archive.pending
        match action:
            case Drop(proposal=proposal):
                pipeline.take(proposal)
                log.info("proposal_outdated", proposer=proposal.proposer, title=proposal.title)
            case AskFix(experiment=experiment, verdict=verdict):
                pipeline.ask_fix(self.program, Concluded(experiment=experiment, verdict=verdict), pending())
            case AskWish(wish=wish):
                pipeline.ask_wish(self.program, wish, pending())
            case Ask(count=count):
                for _ in range(count):
                    pipeline.ask(self.program, pending())
            case Start():
                if self._climbing.is_ready(action, now=now):
                    self._trainings.start(action)
            case Prune():
                self._trainings.prune(action, now)
                self._trainings.file(now)
            case Stop():
                self._trainings.stop(action)
            case Finish():
                pass  # the caller's: a loop does not end itself
            case _:
                self._clerk.move(action, now)

    def _describe(self, world: World, state: str, why: str = "") -> Status:
        archive, ledger = self._memory.archive, self.lab.ledger
        record = Record(
            verdicts=dict(archive.verdicts),
            best=ledger.best_record(),
            baseline=ledger.baseline(),
            audits=archive.audits(world.environment, self.program.metric.name),
            damaged=(*archive.damaged(), *filter(None, [self._climbing.damage])),
            residents={device.name: self.lab.executor.residents(device) for device in world.all_devices},
            wishes=self._reception.waiting,
            refused=self._reception.refused,
        )
        return describe(world, record, self._memory.figures, self.lab.session, pid=os.getpid(), state=state, why=why)


def _is_promotions(action: Action, error: Failure) -> bool:
    """Whether what could not be done is promotion's alone: it rests, and experiments go on."""
    on_rung = isinstance(action, Start) and bool(action.scale)
    return isinstance(action, Writing) or (on_rung and isinstance(error, CorruptRecord))
