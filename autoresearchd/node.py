"""One run on the machine that this is started on: `python -m autoresearchd.node FOLDER`, by a scheduler such as Slurm.

In FOLDER lie parcel.json and tree.pack; progress.json, and at the end measurement.json or refused.json, are written
there. Everything else is in a place of this machine's own, and only data and compiled kernels stay.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import structlog

from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.experiment import Environment, Measurement, TreeOid
from autoresearchd.ledger import packs
from autoresearchd.program import Program
from autoresearchd.run import Bench, LocalExecutor, discover, environment, modules_ahead, parcel, reap_leftovers
from autoresearchd.run.depot import bring, default_cache, owned
from autoresearchd.run.folders import remove
from autoresearchd.run.heldout import held_out, refuse_seen
from autoresearchd.run.parcel import Live, Parcel, Probed, Refused
from autoresearchd.slots import Devices

log = structlog.get_logger()
TICK_SECONDS = 1.0
"""Deadlines are kept, and progress is written, this often."""
PATIENCE_SECONDS = 600.0
"""So long a folder may not take an answer before it is given up: a shared disk has its moments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a folder asks for. 0: its answer is there, a refusal too; 1: it cannot be read at all."""
    parser = argparse.ArgumentParser(prog="python -m autoresearchd.node", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where parcel.json and tree.pack lie")
    parser.add_argument("--probe", action="store_true", help="train nothing: say what this machine is")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for data and kernels (%(default)s)")
    asked = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        return serve(asked.folder, asked.cache, probe=asked.probe)
    except (OSError, CorruptRecord) as error:
        print(f"{asked.folder}: {error}", file=sys.stderr)  # noqa: T201 - the scheduler keeps it
        return 1


def serve(folder: Path, cache: Path, *, probe: bool = False) -> int:
    """Answer the parcel in `folder`; an answer that is there already, of a run that was requeued too late, stands.

    Raises: OSError, CorruptRecord where there is no parcel to be read, or no answer to be written.
    """
    if (folder / parcel.MEASUREMENT_FILE).exists():
        return 0
    wanted = parcel.parcel((folder / parcel.PARCEL_FILE).read_bytes())
    try:
        name, answer = _answer(folder, cache, wanted, probe=probe)
    except (OSError, CorruptRecord, UserError) as error:
        log.error("run_refused", run=wanted.spec.run, why=str(error))  # noqa: TRY400 - it is told to who sent it
        refused = Refused(run=wanted.spec.run, why=str(error), host=socket.gethostname())
        name, answer = parcel.REFUSED_FILE, parcel.dump(refused)
    _hand_over(folder / name, answer)
    return 0


def _answer(folder: Path, cache: Path, wanted: Parcel, *, probe: bool) -> tuple[str, bytes]:
    """What to write, under which name, once nothing else is left here. Raises: OSError, CorruptRecord, UserError."""
    # A machine with several slots is asked what it is by all of them at once.
    name = f"{wanted.spec.run}-{secrets.token_hex(6)}" if probe else wanted.spec.run
    with _own_place(owned(cache), wanted, name) as place:
        packed = (folder / parcel.PACK_FILE).read_bytes()
        tree = packs.unpack(packed, wanted.spec.tree, place / "tree.git")
        machine = _Machine(wanted, tree, cache, place)
        if probe:
            return parcel.PROBED_FILE, parcel.dump(machine.probed())
        return parcel.MEASUREMENT_FILE, parcel.dump(machine.measure(folder))


class _Machine:
    """This machine, for one parcel."""

    def __init__(self, wanted: Parcel, tree: packs.Unpacked, cache: Path, place: Path) -> None:
        """Brings the data here. Raises: UserError for data, OSError."""
        self._wanted, self._tree, self._place = wanted, tree, place
        places = {data.name: bring(cache / "data", data.digest, Path(data.source)) for data in wanted.data}
        self._program, self._hidden = _here(wanted, places), tuple(dict.fromkeys(_held_out_elsewhere(wanted, places)))
        refuse_seen(self._program, Path(wanted.folder), self._hidden)
        self._device = discover(self._program.devices)[0]
        self._untold: int | None = None
        """The error for which nobody was told how far it is."""

    def probed(self) -> Probed:
        """What it is, without training anything."""
        program = self._program
        ahead = modules_ahead(program, self._device, self._tree.files(program.may_edit).values())
        rungs = ("", *(rung.name for rung in program.scale))
        with closing(self._executor(ahead)) as executor:
            sandbox = executor.sandbox
        return Probed(
            host=socket.gethostname(),
            device=self._device,
            sandbox=sandbox,
            ahead=ahead,
            environments={rung: self._environment(rung, ahead) for rung in rungs},
        )

    def measure(self, folder: Path) -> Measurement:
        """Train and evaluate. Raises: UserError where this machine is another environment, OSError where it fails."""
        spec, ahead = self._wanted.spec, self._wanted.ahead
        if (found := self._environment(spec.scale, ahead)) != spec.environment:
            raise UserError(f"this machine is {found}, and the run is for {spec.environment}")
        with closing(self._executor(ahead)) as executor:
            executor.start(replace(spec, device=self._device))
            while not (ended := executor.poll(time.time())):
                self._report(executor, folder)
                select.select([executor.fileno()], [], [], TICK_SECONDS)
        return ended[0]

    def _report(self, executor: LocalExecutor, folder: Path) -> None:
        if not (running := executor.progress()):
            raise OSError("this machine failed the run; the end of its job's output says how")
        live = Live(progress=running[0], tail=executor.tail(self._wanted.spec.run), host=socket.gethostname())
        try:
            _write(folder / parcel.PROGRESS_FILE, parcel.dump(live))
        except OSError as error:  # nobody sees how far it is: no reason to end it
            if error.errno != self._untold:
                log.warning("progress_not_written", run=self._wanted.spec.run, why=str(error))
            self._untold = error.errno

    def _executor(self, ahead: tuple[str, ...]) -> LocalExecutor:
        bench = Bench(
            program=self._program,
            folder=Path(self._wanted.folder),
            work=self._place,
            checkout=self._tree.checkout,
            ahead=ahead,
            hidden=self._hidden,
        )
        return LocalExecutor(bench, only_one=True)

    def _environment(self, rung: str, ahead: tuple[str, ...]) -> Environment:
        program = self._program.on(rung)
        protected = self._tree.files(program.is_protected)
        folder = Path(self._wanted.folder)
        return environment(program, self._device, folder=folder, protected=protected, ahead=ahead)


def _here(wanted: Parcel, places: Mapping[str, Path]) -> Program:
    """The program with the data of this machine, and the one device that the scheduler gave."""
    program = wanted.program

    def placed(name: str | None) -> str | None:
        return str(places[name]) if name is not None and name in places else name

    train = program.train.model_copy(update={"data": placed(program.train.data)})
    held = {"data": placed(program.metric.data), "audit": placed(program.metric.audit)}
    devices = Devices(
        use="cpu" if program.devices.use == "cpu" else "auto",
        cpu_threads=program.devices.cpu_threads or wanted.threads,
        warm=program.devices.warm,
    )
    metric = program.metric.model_copy(update=held)
    return program.model_copy(update={"train": train, "metric": metric, "devices": devices})


def _held_out_elsewhere(wanted: Parcel, places: Mapping[str, Path]) -> Iterator[Path]:
    """Where held-out data can be read beside its own place here: where it came from, and in copies of what holds it."""
    held = held_out(wanted.program)
    for data in (data for data in wanted.data if data.name in held):
        source = Path(data.source)
        yield from (source, source.resolve())  # here it may be behind a link that the sender has not
        for other in wanted.data:
            if source != Path(other.source) and source.is_relative_to(other.source):
                yield places[other.name] / source.relative_to(other.source)


@contextmanager
def _own_place(cache: Path, wanted: Parcel, name: str) -> Iterator[Path]:
    """A folder of this machine for one run, gone afterwards; what runs that were killed here left is cleared first."""
    lab = cache / "labs" / wanted.lab
    _keep_kernels_of(lab / "cache", wanted.baseline)
    for left in (lab / "locks").glob("*"):
        if (descriptor := _locked(left)) is not None:
            _clear(lab, left, descriptor)
    lock = lab / "locks" / name
    descriptor = _locked(lock, create=True)
    if descriptor is None:
        raise OSError(f"the run {name} is under way on this machine already")
    try:
        yield lab / name
    finally:
        _clear(lab, lock, descriptor)


def _keep_kernels_of(kernels: Path, baseline: TreeOid) -> None:
    """Kernels are kept of the baseline only: whichever experiment comes here first, it gives none to others."""
    kernels.mkdir(parents=True, exist_ok=True)
    _write(kernels / "baseline-tree", baseline.encode("ascii"))


def _clear(lab: Path, lock: Path, descriptor: int) -> None:
    place = lab / lock.name
    reap_leftovers(place)
    remove(place)
    lock.unlink(missing_ok=True)
    os.close(descriptor)


def _locked(lock: Path, *, create: bool = False) -> int | None:
    """The lock of a run, ours from now on; None while its process lives."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(lock, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None  # cleared by another run meanwhile
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return _locked(lock, create=create)  # another run has cleared it since we opened it


def _hand_over(path: Path, answer: bytes) -> None:
    """Write what a training has cost hours for, whenever there is room.

    Raises: OSError after PATIENCE_SECONDS; at once where the folder has gone, as nobody waits for it.
    """
    until, said = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            return _write(path, answer)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or time.monotonic() >= until:
                raise
            if not said:
                log.warning("answer_not_written", path=str(path), why=str(error), then="tried again")
            said = True
            time.sleep(TICK_SECONDS)


def _write(path: Path, data: bytes) -> None:
    """Beside, to the disk, and renamed: nobody reads half of it."""
    fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with fresh.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """The scheduler wants its machine back: everything is ended and cleared on the way out."""
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
