"""The thread that speaks with Slurm and reads what nodes write, so that whoever waits for runs never waits for either.

What it knows of jobs it asks anew: a job with our mark and no run behind it is cancelled, whoever submitted it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Measurement, RunSpec
from autoresearchd.run import parcel
from autoresearchd.run.folders import open_untrusted, remove
from autoresearchd.run.log import one_line
from autoresearchd.run.sbatch import LOG_FILE, Cluster, Job

logger = structlog.get_logger()
LOOK_SECONDS = 1.0
"""Between two looks at what nodes have written."""
LOOKS_WITHOUT_ANSWER = 2
"""At the queue, after a job's end: files of another machine may be seen late."""
UNREAD_SECONDS = 600.0
"""So long a folder may not be readable before its run is given up: a shared disk has its moments."""
NOBODYS_FAULT = frozenset({"CANCELLED", "NODE_FAIL", "PREEMPTED"})
"""Ends of jobs after which the next may come at once."""
LOG_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A run that has ended without a measurement, by no fault of its code."""

    run: str
    why: str
    grave: bool = True
    """The next is likely to end the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A run to be submitted."""

    spec: RunSpec
    words: tuple[str, ...]
    """The command of its job, to which the folder is added."""
    files: Mapping[str, bytes]
    seconds: float
    """After which Slurm may end it."""


News = parcel.Live | parcel.Probed | Measurement | Lost


@dataclass(slots=True, kw_only=True)
class _Sent:
    spec: RunSpec
    folder: Path
    number: str
    reported: bytes = b""
    looks: int = 0
    """At the queue, since its end was seen there."""
    unread_since: float | None = None


class Dispatcher:
    """One lab's jobs; the owner gives orders and takes news, from one thread."""

    def __init__(self, cluster: Cluster, *, folder: Path, poll_seconds: float, ring: Callable[[], None]) -> None:
        """`folder` is seen by every node, and what lies in it goes; `ring` is called when there are news."""
        self._cluster, self._folder, self._poll_seconds, self._ring = cluster, folder, poll_seconds, ring
        self._orders: queue.SimpleQueue[Order | str | None] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[News | Exception] = queue.SimpleQueue()
        self._sent: dict[str, _Sent] = {}
        self._answered: set[str] = set()
        """Jobs whose run is over, and that only have to end."""
        self._cancelled: set[str] = set()
        """Jobs that may not have heard of it yet."""
        self._next_look = 0.0
        self._silent = False
        self._thread = threading.Thread(target=self._guarded, name="dispatch", daemon=True)
        self._thread.start()

    def submit(self, order: Order) -> None:
        """Have a run started."""
        self._orders.put(order)

    def cancel(self, run: str) -> None:
        """Have a run ended; there are no news of it any more."""
        self._orders.put(run)

    def news(self) -> Iterator[News]:
        """What was found since the last call. Raises: whatever ended the thread."""
        with contextlib.suppress(queue.Empty):
            while True:
                found = self._news.get_nowait()
                if isinstance(found, Exception):
                    raise found
                yield found

    def close(self, seconds: float) -> bool:
        """Cancel all that is under way; False where Slurm does not answer in time."""
        self._orders.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised again where somebody listens
            self._tell(error)

    def _work(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._folder.iterdir():
            remove(left)
        looked = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=max(0.0, looked + LOOK_SECONDS - time.monotonic()))
                if order is None:
                    return self._cancel(tuple(self._sent))
                if isinstance(order, Order):
                    self._submit(order)
                else:
                    self._cancel((order,))
            if time.monotonic() >= looked + LOOK_SECONDS:  # between orders too: each may take a minute
                self._look()
                looked = time.monotonic()

    def _submit(self, order: Order) -> None:
        folder = self._folder / order.spec.run
        try:
            folder.mkdir(mode=0o700)
            for name, content in order.files.items():
                (folder / name).write_bytes(content)
            words = (*order.words, str(folder))
            number = self._cluster.submit(order.spec.run, words, folder=folder, seconds=order.seconds)
        except OSError as error:
            self._tell(Lost(run=order.spec.run, why=str(error)))
            remove(folder)
            return
        logger.info("job_submitted", run=order.spec.run, job=number)
        self._sent[order.spec.run] = _Sent(spec=order.spec, folder=folder, number=number)

    def _cancel(self, runs: tuple[str, ...]) -> None:
        gone = [sent for run in runs if (sent := self._sent.pop(run, None)) is not None]
        self._cancelled |= {sent.number for sent in gone}
        try:
            if gone:
                self._cluster.cancel([sent.number for sent in gone])
        except OSError as error:
            logger.warning("job_not_cancelled", why=str(error), then="it is tried again")
        for sent in gone:
            remove(sent.folder)

    def _look(self) -> None:
        for sent in tuple(self._sent.values()):
            try:
                self._read(sent)
                sent.unread_since = None
            except CorruptRecord as error:
                self._lose(sent, f"what came back of job {sent.number} cannot be read: {error}", cancel=True)
            except OSError as error:
                self._missed(sent, error)
        if time.monotonic() >= self._next_look:
            self._look_at_queue()
            self._next_look = time.monotonic() + self._poll_seconds

    def _read(self, sent: _Sent) -> None:
        """Take what the node has written. Raises: OSError, CorruptRecord."""
        # The folder as a whole: of a single name a network's file system may remember that it was not there.
        there = {path.name for path in sent.folder.iterdir()}
        if parcel.MEASUREMENT_FILE in there:
            measured = parcel.measurement(_content(sent.folder / parcel.MEASUREMENT_FILE), sent.spec)
            self._forget(sent)
            self._tell(measured)
        elif parcel.PROBED_FILE in there:
            probed = parcel.probed(_content(sent.folder / parcel.PROBED_FILE))
            self._forget(sent)
            self._tell(probed)
        elif parcel.REFUSED_FILE in there:
            refused = parcel.refused(_content(sent.folder / parcel.REFUSED_FILE), sent.spec)
            self._lose(sent, f"{refused.host}: {refused.why}")
        elif parcel.PROGRESS_FILE in there:
            report = _content(sent.folder / parcel.PROGRESS_FILE)
            if report != sent.reported:
                sent.reported = report
                self._tell(parcel.live(report, sent.spec))

    def _missed(self, sent: _Sent, error: OSError) -> None:
        """The disk did not answer: the job goes on, and is looked at again."""
        now = time.monotonic()
        if sent.unread_since is None:
            sent.unread_since = now
            logger.warning("job_not_read", run=sent.spec.run, job=sent.number, why=str(error), then="tried again")
        elif now - sent.unread_since >= UNREAD_SECONDS:
            self._lose(sent, f"the folder of job {sent.number} cannot be read: {error}", cancel=True)

    def _look_at_queue(self) -> None:
        try:
            known = {sent.number for sent in self._sent.values()} | self._answered | self._cancelled
            jobs = self._cluster.jobs(known)
        except OSError as error:
            if not self._silent:
                logger.warning("cluster_silent", why=str(error), then="jobs go on; it is asked again")
            self._silent = True
            return
        self._silent = False
        for sent in tuple(self._sent.values()):
            self._judge(sent, jobs.get(sent.number))
        self._answered &= jobs.keys()
        self._cancelled &= {job.number for job in jobs.values() if not job.is_over}
        self._cancel_strays(jobs)

    def _judge(self, sent: _Sent, job: Job | None) -> None:
        if job is not None and job.is_stuck:
            self._lose(sent, f"job {job.number} could not be launched: {job.reason}", cancel=True)
        elif job is None or job.is_over:
            sent.looks += 1
            if sent.looks >= LOOKS_WITHOUT_ANSWER:
                state = "forgotten by Slurm" if job is None else job.state
                said = _last_line(sent.folder / LOG_FILE)
                why = f"job {sent.number} ended without a measurement: {state}" + (f": {said}" if said else "")
                self._lose(sent, why, grave=state not in NOBODYS_FAULT, cancel=job is None)
        else:
            sent.looks = 0

    def _cancel_strays(self, jobs: Mapping[str, Job]) -> None:
        """Jobs of a daemon that was killed, or that could not be cancelled when they should; a requeued one too."""
        ours = {sent.number for sent in self._sent.values()}
        strays = [
            job.number
            for job in jobs.values()
            if not job.is_over and job.number not in ours
            if job.number not in self._answered or job.state == "PENDING"
        ]
        if strays:
            logger.warning("leftover_jobs", jobs=strays)
            try:
                self._cluster.cancel(strays)
            except OSError as error:
                logger.warning("job_not_cancelled", why=str(error), then="it is tried again")

    def _lose(self, sent: _Sent, why: str, *, grave: bool = True, cancel: bool = False) -> None:
        if cancel:
            self._cancel((sent.spec.run,))
        else:
            self._forget(sent)
        self._tell(Lost(run=sent.spec.run, why=one_line(why), grave=grave))

    def _forget(self, sent: _Sent) -> None:
        del self._sent[sent.spec.run]
        self._answered.add(sent.number)
        remove(sent.folder)

    def _tell(self, news: News | Exception) -> None:
        self._news.put(news)
        self._ring()


def _content(path: Path) -> bytes:
    with os.fdopen(open_untrusted(path), "rb") as stream:
        return stream.read(parcel.MOST_BYTES + 1)


def _last_line(path: Path) -> str:
    try:
        with os.fdopen(open_untrusted(path), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
            lines = stream.read(LOG_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""  # it never began
    return next((one_line(line) for line in reversed(lines) if line.strip()), "")
