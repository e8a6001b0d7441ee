"""What the loop keeps between steps. All but the live troubles can be read again from git, and is, at every start."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

import structlog

from autoresearchd import audit
from autoresearchd.blame import calm
from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import (
    FAILED,
    ON_BEST,
    CommitOid,
    Concluded,
    Direction,
    Ending,
    Environment,
    Experiment,
    Measurement,
    Outcome,
    Progress,
    Proposal,
    RefName,
    TreeOid,
)
from autoresearchd.fleet import aside
from autoresearchd.judge import Spread, composed, estimate, fate
from autoresearchd.ledger import Idea, Ledger
from autoresearchd.program import Program
from autoresearchd.status import AuditStatus, Idle, RefusedIdea
from autoresearchd.world import Action, Aside, Open

log = structlog.get_logger()

MOST_REFUSED = 20
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 30.0, 1800.0
"""After something could not be done."""
MOST_ENDED = 200
"""Runs that devices are judged by."""
NEVER_TRAINED = frozenset({Outcome.STALE, Outcome.SKIPPED})
"""Verdicts that leave a tree untried: the same change may come again."""


class Memory:
    """One loop's memory of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.known: dict[TreeOid, int] = {}
        """For each tree that was tried, the lowest experiment number that has it.

        What an older line of best kept may be kept again: none of it counts.
        """
        self.verdicts: Counter[str] = Counter()
        self.ideas: dict[Proposal, Idea] = {}
        """The inbox's proposals that wait to be opened, those that were made of wishes among them."""
        self.wishes: dict[CommitOid, Idea] = {}
        """Wishes of which no experiment was made yet."""
        self.refused = deque(ledger.refused(), maxlen=MOST_REFUSED)
        """Ideas that were turned away, the newest last."""
        self._turned_away: set[tuple[CommitOid, RefName, str]] = set()
        self.unfiled: list[Measurement] = []
        """Runs that ended and are not in the ledger yet, oldest first."""
        self.busy_seconds = 0.0
        self.scale_seconds = 0.0
        """Of these, on the rungs above the first."""
        self.idle_seconds: dict[str, float] = {}
        """Device seconds in which nothing trained, by reason."""
        self.concluded_here = 0
        """Verdicts since this memory began."""
        self.side_by_side: Counter[str] = Counter()
        """Since then, by what became of them: wins that another was faster than."""
        self.aside_devices: Mapping[str, Aside] = {}
        """Devices that fail where others do not, and the runs that they are to blame for."""
        self.excused: set[str] = set()
        self._ended: deque[Measurement] = deque(maxlen=MOST_ENDED)
        self.held = ""
        """Why nothing was started, as it was last said in the log."""
        self.disturbed: dict[str, str] = {}
        """Runs of which the log says already that something slowed them down, with what it was."""
        self.aside: dict[CommitOid, str] = {}
        """Open experiments that cannot be read, with why: they are left open, and the others go on."""
        self._news: list[Concluded] = []
        self._spreads: dict[Environment, Spread] = {}
        self._audits: tuple[AuditStatus, ...] | None = None
        self._gains: tuple[float, ...] | None = None
        self._line: tuple[CommitOid, tuple[Concluded, ...]] | None = None
        self._trouble, self._trouble_until, self._rest = "", 0.0, 0.0
        self._idle: tuple[float, int, Idle] | None = None
        line = tuple(ledger.line())
        trees, start = {step.experiment.tree for step in line}, line[-1].experiment.number if line else 0
        for entry in ledger.entries():
            if entry.outcome is None or entry.is_imported:
                continue
            self.verdicts[entry.outcome] += 1
            if entry.outcome not in ON_BEST or entry.number >= start or entry.tree in trees:
                self._know(entry.number, entry.tree, entry.outcome)

    def opened(self, ledger: Ledger) -> tuple[Open, ...]:
        """The open experiments, without those that were set aside."""
        found, best = [], ledger.best()
        for experiment in ledger.opened():
            if experiment.commit in self.aside:
                continue
            try:
                changes = ledger.changes(experiment)
                landed = best.number == experiment.number and ledger.landed(experiment) is not None
                found.append(Open(experiment=experiment, changes=changes, landed=landed))
            except CorruptRecord as error:
                self.set_aside(experiment, error)
        return tuple(found)

    def set_aside(self, experiment: Experiment, error: CorruptRecord) -> None:
        """Go on without an experiment that cannot be read; the next start tries it again."""
        log.error("experiment_set_aside", experiment=experiment.number, path=error.where, why=error.why)
        self.aside[experiment.commit] = f"{experiment.ref}: {error.why}"

    def blame(self, action: Action, error: CorruptRecord, ledger: Ledger) -> bool:
        """Set the experiments aside that an action was about; False where it was not about one of them alone."""
        tree, own = getattr(action, "tree", None), getattr(action, "experiment", None)
        hit = [experiment for experiment in ledger.opened() if experiment == own or experiment.tree == tree]
        for experiment in hit:
            self.set_aside(experiment, error)
        return bool(hit)

    def damaged(self, ledger: Ledger) -> tuple[str, ...]:
        """Everything that was met and cannot be read, in words."""
        return (*(f"{place}: {why}" for place, why in ledger.damaged.items()), *self.aside.values())

    def concluded(self, concluded: Concluded) -> None:
        """An experiment has its verdict."""
        self.verdicts[concluded.verdict.outcome] += 1
        self._know(concluded.experiment.number, concluded.experiment.tree, concluded.verdict.outcome)
        self.concluded_here += 1
        if (end := fate(concluded)) is not None:
            self.side_by_side[end] += 1
        self._news.append(concluded)
        if concluded.verdict.outcome in ON_BEST:
            self._audits = self._gains = None

    def filed(self, measurement: Measurement, *, on_rung: bool = False) -> None:
        """A run is in the ledger; one on a rung above the first says nothing about its device."""
        self._spreads.clear()
        if measurement.audited:
            self._audits = None
        self._rest = 0.0
        self.busy_seconds += measurement.wall_seconds
        if on_rung:
            self.scale_seconds += measurement.wall_seconds
            return
        self._ended.append(measurement)
        self._look_at_devices()

    def _look_at_devices(self) -> None:
        found = aside(self._ended)
        for device, state in found.items():
            self.excused |= state.runs
            if device not in self.aside_devices:
                log.warning("device_set_aside", device=device, why=state.why)
        for device in self.aside_devices.keys() - found.keys():
            log.info("device_taken_back", device=device)
        self.aside_devices = found

    def note_idle(self, now: float, devices: int, reason: Idle) -> None:
        """From `now` on so many devices train nothing; what was noted before has lasted until now."""
        if self._idle is not None:
            since, idle, why = self._idle
            if idle:
                self.idle_seconds[why] = self.idle_seconds.get(why, 0.0) + idle * (now - since)
        self._idle = now, devices, reason

    def drop(self, idea: Idea, ledger: Ledger) -> None:
        """Delete an idea's branch; where that cannot be now (it moved, a push is under way) it is looked at again."""
        self.ideas = {proposal: other for proposal, other in self.ideas.items() if other != idea}
        self.wishes.pop(idea.oid, None)
        try:
            ledger.drop_idea(idea)
        except (StaleRef, RefLocked, OSError) as error:
            log.warning("idea_not_dropped", ref=idea.ref, why=str(error))

    def turn_away(self, idea: Idea, why: str, ledger: Ledger, *, now: float) -> None:
        """It cannot be tried: the reason is filed for those who ask, and its branch goes."""
        if (idea.oid, idea.ref, why) not in self._turned_away:  # its branch may have to be dropped more than once
            self._turned_away.add((idea.oid, idea.ref, why))
            self._refuse(RefusedIdea(ref=idea.ref, title=idea.title, why=why, at=now), idea.words, ledger)
        self.drop(idea, ledger)

    def _refuse(self, refused: RefusedIdea, words: str, ledger: Ledger) -> None:
        self.refused.append(refused)
        try:
            ledger.file_refused(refused, words)
        except (StaleRef, RefLocked, CorruptRecord, OSError) as error:
            log.warning("refusal_not_filed", ref=refused.ref, why=str(error))

    def take_news(self) -> tuple[Concluded, ...]:
        """What was concluded since the last call, in that order."""
        fresh, self._news = tuple(self._news), []
        return fresh

    def stumble(self, error: Exception, *, now: float) -> None:
        """Something could not be done: nothing is started for a while, longer each time until a run is filed again."""
        if now >= self._trouble_until:
            self._rest = min(2 * self._rest, LONGEST_REST_SECONDS) or FIRST_REST_SECONDS
        self._trouble, self._trouble_until = str(error), now + self._rest

    def trouble(self, now: float) -> str:
        """What could not be done a moment ago; empty when all is well."""
        return self._trouble if now < self._trouble_until else ""

    def spread(self, ledger: Ledger, environment: Environment, program: Program, scale: Mapping[str, float]) -> Spread:
        """The run-to-run noise in this environment, from every tree with repeats."""
        if environment not in self._spreads:
            metric = program.metric
            pools = ([run for run in runs if run.environment == environment] for runs in ledger.repeated().values())
            weighed = (composed(calm(pool, program), metric, scale) for pool in pools)
            self._spreads[environment] = estimate(weighed, metric=metric.compared)
        return self._spreads[environment]

    def largest_gain(self, ledger: Ledger, environment: Environment, direction: Direction) -> float | None:
        """Of the steps that lead to best, as far as they were measured in this environment; None before the first."""
        if self._gains is None:
            kept = [step.verdict for step in ledger.line() if not step.experiment.is_baseline]
            verdicts = [verdict for verdict in kept if verdict.environment == environment]
            pairs = [(v.metric, v.baseline) for v in verdicts]
            self._gains = tuple(direction.gain(new, old) for new, old in pairs if new is not None and old is not None)
        return max(self._gains, default=None)

    def audits(self, ledger: Ledger, environment: Environment, metric: str) -> tuple[AuditStatus, ...]:
        """What the audits of the kept line gave in this environment, oldest first."""
        if self._audits is None:
            line = [(concluded, ledger.measurements(concluded.experiment.tree)) for concluded in ledger.line()]
            self._audits = audit.trend(reversed(line), metric=metric, environment=environment)
        return self._audits

    def line(self, ledger: Ledger) -> tuple[Concluded, ...]:
        """The steps that lead to best, newest first, its baseline last."""
        best = ledger.best().commit
        if self._line is None or self._line[0] != best:
            self._line = best, tuple(ledger.line())
        return self._line[1]

    def last_failures(self, ledger: Ledger) -> tuple[tuple[Outcome, str], ...]:
        """Outcome and reason of the newest experiments as long as they failed, newest first."""
        failures = []
        for concluded in reversed(ledger.concluded()):
            if concluded.verdict.outcome not in FAILED:
                break
            failures.append((concluded.verdict.outcome, concluded.verdict.why))
        return tuple(failures)

    def _know(self, number: int, tree: TreeOid, outcome: Outcome) -> None:
        if outcome not in NEVER_TRAINED:
            self.known[tree] = min(self.known.get(tree, number), number)


def pruned(live: Progress, why: str, now: float) -> Measurement:
    """The measurement of a run that was stopped because it could not win."""
    return Measurement(
        run=live.spec.run,
        tree=live.spec.tree,
        seed=live.spec.seed,
        environment=live.spec.environment,
        device=live.spec.device.name,
        ending=Ending.PRUNED,
        curve=live.curve,
        started=live.started,
        train_seconds=live.train_seconds,
        wall_seconds=now - live.started,
        why=why,
        incidents=live.incidents,
    )
