"""`rebase`: the user's project has gone on, and what was kept is replayed on its newest commit and judged there.

Two trees are measured as a baseline and an experiment on it are: the user's commit alone, and the same with all that
could be replayed. Where that is shown to be better, best goes on with it; else with the user's commit alone, and what
was kept is queued to be tried again, one by one. Holds the lab meanwhile.

Crash-safe: each run is filed under its tree as it ends, and no ref moves before the verdict. Who was killed starts
again and finds the runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from autoresearchd.archive import Archive
from autoresearchd.blame import finished, undisturbed
from autoresearchd.equipment import equip
from autoresearchd.errors import UserError
from autoresearchd.experiment import Concluded, Ending, Lines, Measurement, Outcome, Verdict
from autoresearchd.foreground import Foreground, Run
from autoresearchd.judge import (
    Conclude,
    Side,
    composed,
    decide,
    decide_baseline,
    improper,
    missing_baseline_seeds,
    reference,
)
from autoresearchd.judgement import rules_of, samples
from autoresearchd.ledger import Course, Ledger, fetch_commit, line_name
from autoresearchd.program import Program
from autoresearchd.reload import refuse_another_lab
from autoresearchd.ruling import CUT_OFF
from autoresearchd.run import reap_leftovers
from autoresearchd.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebase:
    """What a rebase came to."""

    before: Concluded
    """The best that it started from."""
    baseline: Concluded
    """The best that it ended with."""
    line: str
    """The branch that keeps the line before."""
    queued: tuple[str, ...]
    """The titles of what is to be tried again, one by one; untrusted."""


def rebase(program: Program, folder: Path, ledger: Ledger, onto: str, say: Callable[[str], None]) -> Rebase:
    """Bring the user's commit `onto` under best.

    Raises: UserError where there is no such commit, best grows on it already, it does not train by itself, or the lab
    was measured by another program.
    """
    with ledger.hold():
        ledger.refuse_unbacked()
        refuse_another_lab(ledger.measured_by(), program)
        _end_what_was_cut_off(ledger, program)
        before, first = ledger.best_record(), ledger.baseline()
        if before is None or not isinstance(first, Concluded):
            raise UserError("the baseline is not measured yet; `autoresearchd run` measures it first")
        place = folder / program.program.project
        commit = fetch_commit(ledger.path, place, onto)
        grows_on = first.experiment.rebased.onto if first.experiment.rebased else first.experiment.parent
        if commit == grows_on:
            way = f"commit or pull in {place}, or name another by --onto"
            raise UserError(f"best grows on {commit[:10]} already; {way}")
        course = ledger.course(commit, refuse=lambda changes: improper(changes, program), now=time.time())
        moving = _Moving(program=program, folder=folder, ledger=ledger, before=before, first=first, say=say)
        return moving.along(course)


def _end_what_was_cut_off(ledger: Ledger, program: Program) -> None:
    """A rebase that died between its first and its last ref: it is done, or it is nothing."""
    for experiment in ledger.opened():
        if experiment.rebased is None:
            continue
        if ledger.landed(experiment) is not None:
            ledger.settle(experiment)
        else:
            ledger.conclude(experiment, CUT_OFF, metric=program.metric.compared, now=time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moving:
    """One rebase of one lab, which the caller holds."""

    program: Program
    folder: Path
    ledger: Ledger
    before: Concluded
    first: Concluded
    """The baseline of the line before."""
    say: Callable[[str], None]

    def along(self, course: Course) -> Rebase:
        """Begin a new line with a course, or with the user's commit alone, as the judge finds."""
        onto = course.rebased.onto[:10]
        for change in course.changes:
            why = f": {change.why}" if change.why else ""
            self.say(f"{change.number:04d} {change.fate.value} on {onto}{why}  ({change.title})")
        verdict, why = self._measured(course), ""
        if verdict.outcome is not Outcome.BASELINE:
            why = f"What could be carried over is not shown to be better there: {verdict.outcome.value}, {verdict.why}."
            self.say(why)
            course = course.alone
            verdict = self._measured(course)
        waiting = {idea.ref for idea in self.ledger.ideas()}
        experiment = self.ledger.open_rebase(course, why=why, now=time.time())
        baseline = self.ledger.conclude(experiment, verdict, metric=self.program.metric.compared, now=time.time())
        queued = tuple(idea.title for idea in self.ledger.ideas() if idea.ref not in waiting)
        line = line_name(self.first.experiment.number)
        return Rebase(before=self.before, baseline=baseline, line=line, queued=queued)

    def _measured(self, course: Course) -> Verdict:
        """Train until the judge has a word: BASELINE where the line may begin with this course."""
        reap_leftovers(self.ledger.path / "autoresearchd" / "runs")
        ours = equip(self.program, self.folder, self.ledger, tree=course.tree)
        devices, environment = ours.fleet.devices, ours.fleet.environment
        if environment != self.before.verdict.environment:
            self.say(f"measured in {environment}: not comparable with {self.before.verdict.environment} before")
        with closing(ours.executor):
            trainings = Foreground(executor=ours.executor, devices=devices, environment=environment, say=self.say)
            return _Trial(
                program=self.program,
                ledger=self.ledger,
                course=course,
                trainings=trainings,
                archive=Archive(self.ledger),
                gained=self._gained(),
            ).verdict()

    def _gained(self) -> float | None:
        start, end = self.first.verdict.start, self.before.verdict.metric
        return None if start is None or end is None else self.program.metric.direction.gain(end, start)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A course on the devices of one environment."""

    program: Program
    ledger: Ledger
    course: Course
    trainings: Foreground
    archive: Archive
    gained: float | None
    """By the line before over the user's project: so much is nothing unheard of; in the metric's unit."""

    def verdict(self) -> Verdict:
        """Raises: UserError where the user's commit does not train by itself."""
        while not isinstance(found := self._next(), Verdict):
            is_alone = found[0][0] == self.course.onto_tree
            what = "the project alone" if is_alone else "with what was carried over"
            for run in self.trainings.train(found, what=f"{what}: "):
                self.ledger.record(run)
                self.archive.filed(run)
                self._refuse_what_does_not_train(run)
        return found

    def _next(self) -> Verdict | Sequence[Run]:
        """The verdict, or the runs that it lacks."""
        course, world = self.course, self._world()
        rules, alone = rules_of(world), finished(undisturbed(world, course.onto_tree))
        if missing := missing_baseline_seeds(runs=alone, rules=rules):
            return [(course.onto_tree, seed) for seed in missing]
        if not course.rebased.carried:
            decision = decide_baseline(runs=alone, rules=rules)
        else:
            decision = decide(
                samples(world, course.tree, parent=course.onto_tree),
                rules=rules,
                spread=world.spread,
                lines=Lines(added=0, removed=0),  # each change has earned its own
                largest_gain=self.gained,
            )
        if isinstance(decision, Conclude):
            return _as_baseline(decision.verdict)
        return [(course.tree if decision.side is Side.CANDIDATE else course.onto_tree, decision.seed)]

    def _world(self) -> World:
        """As if the user's commit were best, and what was carried over an experiment on it."""
        course, metric, environment = self.course, self.program.metric, self.trainings.environment
        filed = {tree: self.ledger.measurements(tree) for tree in (course.onto_tree, course.tree)}
        here = {tree: [run for run in runs if run.environment == environment] for tree, runs in filed.items()}
        scale = reference(metric, here[course.onto_tree], here[course.tree], filed[course.onto_tree])
        return World(
            now=time.time(),
            program=self.program,
            environment=environment,
            devices=tuple(self.trainings.devices),
            best=course.rebased.onto,
            best_tree=course.onto_tree,
            baseline_tree=course.onto_tree,
            runs={tree: composed(runs, metric, scale) for tree, runs in filed.items()},
            spread=self.archive.spread(environment, self.program, scale),
        )

    def _refuse_what_does_not_train(self, run: Measurement) -> None:
        if run.tree == self.course.onto_tree and run.ending is not Ending.FINISHED:
            why = run.why or run.ending.value
            raise UserError(f"{self.course.rebased.onto[:10]} by itself does not train ({why}); best stays where it is")


def _as_baseline(verdict: Verdict) -> Verdict:
    return replace(verdict, outcome=Outcome.BASELINE) if verdict.outcome is Outcome.KEEP else verdict
