"""The executor of a cluster: every run is a job of Slurm, described by a folder that its node sees too.

All that may take its time - commands of Slurm, files on a network - is the dispatcher's; here nothing waits.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from autoresearchd.cluster import Slurm
from autoresearchd.errors import NotYet
from autoresearchd.experiment import Device, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.program import Program
from autoresearchd.run import parcel
from autoresearchd.run.dispatch import Dispatcher, Lost, Order
from autoresearchd.run.far import FarRuns
from autoresearchd.run.parcel import Data, Live, Parcel, Probed, bringing_seconds
from autoresearchd.run.phase import Phase, order
from autoresearchd.run.sbatch import Cluster, python

logger = structlog.get_logger()
CLOSE_SECONDS = 10.0
PREPARING_SECONDS = 900.0


class SlurmExecutor:
    """Satisfies `Executor`. One thread owns it."""

    def __init__(self, settings: Slurm, *, folder: Path, template: Parcel, pack: Callable[[TreeOid], bytes]) -> None:
        """`folder` is this lab's own and seen by every node, what is in it goes; `template` is a parcel for any run."""
        self.sandbox = ""
        """What runs are kept in on the node that was asked."""
        self._settings, self._template, self._pack = settings, template, pack
        self._runs = FarRuns()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        cluster = Cluster(settings, mark=str(folder))
        self._dispatcher = Dispatcher(cluster, folder=folder, poll_seconds=settings.poll_seconds, ring=self._ring)

    def probe(self, waits: Callable[[], None]) -> Probed:
        """Ask one node what it is, before the first run; calls `waits` every second until the cluster has one free.

        Raises: NotYet with why no node answers.
        """
        spec = replace(self._template.spec, run=f"probe-{secrets.token_hex(6)}")
        self._submit(spec, "--probe")
        while True:
            for news in self._dispatcher.news():
                if isinstance(news, Probed):
                    self.sandbox = news.sandbox
                    self._template = replace(self._template, ahead=news.ahead)
                    return news
                if isinstance(news, Lost):
                    raise NotYet(f"no node of the cluster can be used: {news.why}")
            waits()
            select.select([self._bell], [], [], 1.0)
            self._silence()

    def start(self, spec: RunSpec) -> None:
        """Begin a run; it counts as live until `poll` has returned its Measurement.

        Raises: OSError, once, after a run that the cluster failed; CorruptRecord where the tree cannot be read.
        """
        if why := self._runs.take_trouble():
            raise OSError(why)
        self._submit(spec)
        self._runs.queue(spec)

    def poll(self, now: float) -> Sequence[Measurement]:
        """The runs that ended since the last call. One that the cluster failed or a person cancelled gives none."""
        self._silence()
        ended = []
        for news in self._dispatcher.news():
            if isinstance(news, Probed):
                continue
            spec = self._runs.spec(news.progress.spec.run if isinstance(news, Live) else news.run)
            if spec is None:
                continue  # killed meanwhile
            match news:
                case Live():
                    self._runs.heard(news)
                case Measurement():
                    self._runs.end(news.run)
                    ended.append(news)
                case Lost():
                    self._runs.lose(spec, news.why, grave=news.grave)
        return ended

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        return self._runs.progress()

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far; empty for any other run."""
        return self._runs.tail(run)

    def residents(self, device: Device) -> Sequence[str]:
        """Nobody: who else is on its node is seen during a run."""
        return self._runs.residents(device)

    def kill(self, run: str) -> None:
        """End a live run; it yields no Measurement. Its job is cancelled as soon as Slurm answers."""
        if self._runs.end(run) is not None:
            self._dispatcher.cancel(run)

    def fileno(self) -> int:
        """Becomes readable when the dispatcher has found something."""
        return self._bell

    def close(self) -> None:
        """Cancel what is live; what Slurm does not hear within CLOSE_SECONDS is cancelled at the next start."""
        self._runs.clear()
        if not self._dispatcher.close(CLOSE_SECONDS):
            logger.warning("jobs_may_run_on", then="they are cancelled at the next start")
        else:
            os.close(self._bell)

    def _submit(self, spec: RunSpec, *options: str) -> None:
        cache = () if self._settings.cache is None else ("--cache", self._settings.cache)
        words = (python(), "-m", "autoresearchd.node", *cache, *options)
        files = {
            parcel.PARCEL_FILE: parcel.dump(replace(self._template, spec=spec)),
            parcel.PACK_FILE: self._pack(spec.tree),
        }
        seconds = job_seconds(self._template.program.on(spec.scale), self._template.data)
        self._dispatcher.submit(Order(spec=spec, words=words, files=files, seconds=seconds))

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return


def job_seconds(program: Program, data: Iterable[Data]) -> float:
    """Wall time within which a run is over on any node, with its data brought there; for Slurm's own limit."""
    phases = [Phase.CHECK, Phase.TRAIN] if program.train.check else [Phase.TRAIN]
    if program.metric.evaluate is not None:
        phases += [Phase.EVALUATE, Phase.AUDIT] if program.metric.audit is not None else [Phase.EVALUATE]
    return sum(order(program, phase).seconds for phase in phases) + PREPARING_SECONDS + bringing_seconds(data)
