"""One run from its checkout to its Measurement: check, train, evaluate; each a process, stepped and never waited for.

The evaluation gets a checkout of its own, so that nothing which the training did to its files can reach it.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from collections.abc import Mapping

from autoresearchd.experiment import Ending, Measurement, Progress, RunSpec
from autoresearchd.run import target
from autoresearchd.run.curve import Curve
from autoresearchd.run.folders import weigh
from autoresearchd.run.log import Log, one_line
from autoresearchd.run.phase import Phase, order
from autoresearchd.run.site import Site

QUIET_SECONDS = 10.0
"""A training that says nothing is under way after so long."""
FULL_BYTES = 2**26
"""Less than this is left on a disk on which somebody could not write."""
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    None,  # git cannot write, and says no number
}
"""Errors that say nothing about the tree; all others are what the target made of its folder, or no program."""


class FullMeanwhile(OSError):
    """The disk was full while a run went on, and it is not known that the run has filled it."""


class Trial:
    """A live run."""

    def __init__(self, spec: RunSpec, site: Site, *, fills: bool = False) -> None:
        """Check the tree out and start its first command; the site is the caller's to clear away in any case.

        `fills`: where the disk is full meanwhile, it is this tree's doing.

        Raises: OSError when this machine cannot.
        """
        self.spec, self.site = spec, site
        self.started, self._begun = time.time(), time.monotonic()
        site.take(spec)
        self._program = site.program
        self._fills = fills
        self._free = self._least_free = shutil.disk_usage(site.folder).free
        self._failed: tuple[Ending, str] | None = None
        self._metrics: Mapping[str, float] = {}
        self._audit: float | None = None
        self._judged_wall: float | None = None  # without the audit, which is no part of what is judged
        self._log = Log()
        self._train_log: Log | None = None
        self._train_begun, self._train_wall, self._train_cpu = self._begun, 0.0, 0.0
        self._curve = Curve(self.site.out(Phase.TRAIN) / target.CURVE_FILE)
        site.checkout(Phase.TRAIN)
        self._begin(Phase.CHECK if self._program.train.check else Phase.TRAIN)

    @property
    def is_settled(self) -> bool:
        """There is a Measurement to be had without any process: the command could not be started."""
        return self._failed is not None

    def step(self, now: float) -> Measurement | None:
        """Go on as far as it goes without waiting, at `now` of the monotonic clock; the Measurement once all is over.

        Raises: OSError when this machine fails, CorruptRecord when its tree is damaged: neither is the run's doing.
        """
        try:
            return self._step(now)
        except OSError as error:
            if error.errno in _MACHINE:
                raise
            return self._measurement(self._blame, self._say(f"its folder is unusable: {error.strerror}"))

    def _step(self, now: float) -> Measurement | None:
        while self._failed is None:
            self._least_free = min(self._least_free, shutil.disk_usage(self.site.folder).free)
            exit = self.site.step(now)
            if exit is None:
                if now >= self._deadline:  # now: what ended while nobody looked was in time
                    self.site.time_out(now)
                return None
            if (done := self._ended(exit)) is not None:
                return done
        return self._measurement(*self._failed)

    def progress(self) -> Progress:
        """How far it is, from what it wrote so far."""
        self._curve.read()
        points, last = self._curve.points(), self._curve.last
        train = self._program.train
        phase = "evaluating" if self._phase.measures else "starting"
        if self._phase is Phase.TRAIN and (last is not None or not self._log.silent):
            phase = "training"
        fraction = None
        if last is not None:
            by_steps = train.cpu_steps is not None and not self.spec.device.is_cuda
            fraction = min(
                1.0, last.step / train.cpu_steps if by_steps and train.cpu_steps else last.seconds / train.seconds
            )
        return Progress(
            spec=self.spec,
            started=self.started,
            step=last.step if last else 0,
            train_seconds=last.seconds if last else 0.0,
            fraction=fraction,
            curve=points,
            phase=phase,
        )

    def tail(self) -> str:
        """The end of what its present command has said."""
        return self._log.tail()

    def is_under_way(self, now: float) -> bool:
        """Whether its training has begun in earnest, so that the next one may be made ready beside it."""
        said = self._curve.last is not None or not self._log.silent
        return self._phase is Phase.TRAIN and (said or now >= self._begun + QUIET_SECONDS)

    def prepare_evaluation(self) -> None:
        """Have the evaluation's interpreter wait for the end of the training. Raises: OSError."""
        if self._program.metric.evaluate is not None and self.site.is_warm(Phase.EVALUATE):
            self.site.prepare(Phase.EVALUATE)

    def _begin(self, phase: Phase) -> None:
        self._phase, wanted = phase, order(self._program, phase)
        if phase is Phase.TRAIN:
            self._train_begun = time.monotonic()
        self._deadline, self._seconds = time.monotonic() + wanted.seconds, wanted.seconds
        try:
            self._log = self.site.start(phase).log
        except OSError as error:
            if error.errno in _MACHINE:
                raise
            why = f"{wanted.words[0]} cannot be started: {os.strerror(error.errno or 0)}"
            self._log, self._failed = Log(), (self._blame, self._say(why))

    def _ended(self, exit: target.Exit) -> Measurement | None:
        """A command is over: the next one, or the Measurement."""
        if self._phase is Phase.TRAIN:
            self._train_wall = time.monotonic() - self._train_begun
            self._train_log, self._train_cpu = self._log, exit.cpu_seconds
            self._curve.read_all()
        failed = target.failure(exit, self._log)
        if not exit.flooded:
            self._refuse_to_blame(finished=failed is None)
        if failed is not None:
            ending, why = self._worded(exit, *failed)
            return self._measurement(Ending.FINISHED if self._phase is Phase.AUDIT else ending, why)
        if self._phase is Phase.CHECK:
            self._begin(Phase.TRAIN)
            return None
        if self._phase is Phase.AUDIT:
            return self._audited()
        if self._phase is Phase.EVALUATE:
            done = self._evaluated()
            if done.ending is not Ending.FINISHED or not self.spec.audit or self._program.metric.audit is None:
                return done
            self._judged_wall = done.wall_seconds
            self._evaluate(Phase.AUDIT)
            return None
        why = self._trained()
        if self._program.metric.evaluate is None:
            return self._numbered(why)
        self._evaluate(Phase.EVALUATE)
        return None

    def _refuse_to_blame(self, *, finished: bool) -> None:
        """Raises: FullMeanwhile where the disk has been full meanwhile, unless that is the run's own doing.

        A command that failed there says so in its own words (PyTorch: `unexpected pos 576 vs 534`) or not at all; what
        one that `finished` has left may be cut if it says that there was no room.
        """
        if self._fills or self._phase is Phase.AUDIT or self._least_free >= FULL_BYTES:
            return
        if finished and not target.out_of_space(self._log):
            return
        if weigh(self.site.folder)[0] <= self._free // 2:
            raise FullMeanwhile(errno.ENOSPC, "the disk was full before it ended")

    def _evaluate(self, phase: Phase) -> None:
        self._phase = phase
        self.site.checkout(phase)
        self._begin(phase)

    def _worded(self, exit: target.Exit, ending: Ending, why: str) -> tuple[Ending, str]:
        if ending is Ending.TIMEOUT:
            why = f"still running after {self._seconds:g} s"
        elif self._phase.measures and exit.code == target.EXIT_TAMPERED:
            ending = Ending.TAMPERED
        elif self._phase is Phase.TRAIN and ending is Ending.CRASH and self._curve.diverged:
            ending = Ending.UNSTABLE
        elif self._phase is Phase.CHECK:
            ending = Ending.CRASH
        return ending, self._say(why)

    def _say(self, why: str) -> str:
        return one_line(why if self._phase is Phase.TRAIN else f"{self._phase.value}: {why}")

    def _trained(self) -> str:
        """Take the numbers that the training reported; why it may have none."""
        metric = self._program.metric
        reported, why = target.read_result(self.site.out(Phase.TRAIN), self.spec.run)
        metrics = {**self._log.summary, **reported}
        if metric.pattern is not None:
            metrics.pop(metric.name, None)
            why = "no line of its output matched metric.pattern"
            if self._log.number is not None:
                metrics[metric.name] = self._log.number
        elif metric.evaluate is not None:
            metrics.pop(metric.name, None)  # not the training's to say
        self._metrics = metrics
        return why

    def _evaluated(self) -> Measurement:
        reported, why = target.read_result(self.site.out(Phase.EVALUATE), self.spec.run)
        self._metrics = {**self._metrics, **reported}
        return self._numbered(why)

    def _audited(self) -> Measurement:
        """The number is kept beside what was measured; without it the run is as good as before."""
        name = self._program.metric.name
        reported, why = target.read_result(self.site.out(Phase.AUDIT), self.spec.run)
        self._audit = reported.get(name)
        if self._audit is None or not math.isfinite(self._audit):
            self._audit, why = None, self._say(why or f"it reported no finite number {name}")
        return self._measurement(Ending.FINISHED, why)

    @property
    def _blame(self) -> Ending:
        """How a run ends that could not go on: what was measured before its audit stands."""
        return Ending.FINISHED if self._phase is Phase.AUDIT else Ending.CRASH

    def _numbered(self, why: str) -> Measurement:
        names = self._program.metric.names
        found = {**target.tidy(self._metrics, names), **self._metrics}
        for name in names:
            if name not in found:
                self._refuse_to_blame(finished=False)
                ending = Ending.OUT_OF_MEMORY if target.out_of_memory(self._log) else Ending.CRASH
                return self._measurement(ending, self._say(f"it ended well, but {why or f'reported no number {name}'}"))
            if not math.isfinite(found[name]):
                return self._measurement(Ending.UNSTABLE, self._say(f"{name} is {found[name]}"))
        return self._measurement(Ending.FINISHED, "")

    def _measurement(self, ending: Ending, why: str) -> Measurement:
        program, spec = self._program, self.spec
        wanted = (*program.metric.names, *(constraint.metric for constraint in program.constraint))
        metrics = target.tidy(self._metrics, wanted)
        metrics.pop(program.metric.audit_name, None)  # nobody else's to say
        if self._audit is not None:
            metrics[program.metric.audit_name] = self._audit
        if program.train.cpu_steps is not None and not spec.device.is_cuda:
            metrics[target.CPU_SECONDS] = self._train_cpu
        points, last = self._curve.points(), self._curve.last
        said = metrics.get("train_seconds", last.seconds if last else self._train_wall)
        log = self._train_log if ending is Ending.FINISHED and self._train_log else self._log
        return Measurement(
            run=spec.run,
            tree=spec.tree,
            seed=spec.seed,
            environment=spec.environment,
            device=spec.device.name,
            ending=ending,
            metrics=metrics,
            curve=points,
            started=self.started,
            train_seconds=min(max(said, 0.0), self._train_wall),  # nobody trains longer than the clock says
            wall_seconds=time.monotonic() - self._begun if self._judged_wall is None else self._judged_wall,
            train_wall_seconds=self._train_wall,
            log_tail=log.tail(),
            why=why,
            audited=spec.audit and program.metric.audit is not None,
        )
