"""Where one run works: its folders, what its processes may see, and the processes themselves. Decides nothing.

A site may be made ahead, before anybody knows what will be trained there: an interpreter in its sandbox then waits for
the order. One site serves one run, so nothing gets from one run to another.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Environment, RunSpec, TreeOid
from autoresearchd.program import Program
from autoresearchd.run import nodes, proc, target, warm
from autoresearchd.run._protocol import Checkout
from autoresearchd.run.bounds import Limits
from autoresearchd.run.device import threads
from autoresearchd.run.folders import fresh, own_cache, remove, warm_cache
from autoresearchd.run.heldout import held_out, real, refuse_seen
from autoresearchd.run.log import Log
from autoresearchd.run.phase import Phase, order
from autoresearchd.run.pins import left
from autoresearchd.run.process import Job, Process
from autoresearchd.run.sandbox import Box, wrap
from autoresearchd.run.ward import Ward

TEMPORARY_PREFIX = "autoresearch-"
WITHOUT_SEMAPHORES = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Landlock leaves no /dev/shm: torch.compile would wait for workers that cannot start, until the deadline."""
NOBODY_YET = TreeOid("")
"""The tree of a site made ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every run of one executor works with. Paths are absolute."""

    program: Program
    folder: Path
    """Where program.toml lies."""
    work: Path
    """For checkouts and outputs of live runs; what stays lies beside it."""
    checkout: Checkout
    ahead: tuple[str, ...] | None = ()
    """What interpreters import while they wait for their command; None: commands are started plainly."""
    hidden: tuple[Path, ...] = ()
    """What no run sees, beside the project, the lab and held-out data."""
    network: bool = False
    """Never for a training."""

    @property
    def cache(self) -> Path:
        """Compiled kernels of the baseline."""
        return self.work.parent / "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A command of a run that has its process."""

    process: Process
    log: Log
    place: target.Place


class Site:
    """The folders and processes of one run."""

    def __init__(self, bench: Bench, ward: Ward, spec: RunSpec) -> None:
        """Make the run's folder. Raises: OSError."""
        self.name, self._bench, self._ward = spec.run, bench, ward
        self.take(spec)
        self.folder = bench.work / spec.run
        self._secret = secrets.token_hex(6)  # in names that the training could not have taken
        self._links: list[Path] = []
        self._processes: list[Process] = []
        self._waiting: dict[Phase, Started] = {}
        self._current: Process | None = None
        self.folder.mkdir(parents=True)

    @classmethod
    def ahead(cls, bench: Bench, ward: Ward, device: Device) -> Site:
        """A site for the next run of a device, whatever that will be. Raises: OSError."""
        name = f"next-{secrets.token_hex(6)}"
        return cls(bench, ward, RunSpec(run=name, tree=NOBODY_YET, seed=0, device=device, environment=Environment("")))

    def take(self, spec: RunSpec) -> None:
        """From now on this is the site of that run."""
        self._spec, self.program = spec, self._bench.program.on(spec.scale)

    def checkout(self, phase: Phase) -> None:
        """Write the run's tree into the folder of a phase. Raises: OSError, CorruptRecord."""
        folder = self.code(phase)
        if phase in self._waiting:
            any(folder.iterdir())  # of one that the training has taken away, git says only that it cannot write
        else:
            fresh(folder)
        self._bench.checkout(self._spec.tree, folder)

    def prepare(self, phase: Phase) -> None:
        """Have an interpreter wait for the command of a phase, in an empty folder. Raises: OSError."""
        wanted = order(self.program, phase)
        words = warm.waiting(wanted.words, self._ahead)
        try:
            fresh(self.code(phase))
            self._waiting[phase] = self._spawn(phase, words, self._place(phase, wanted.data))
        except OSError:  # what is left of it must not be in the way of a plain start
            remove(self._home(phase))
            self._secret = secrets.token_hex(6)  # nor what could not be removed
            raise

    def start(self, phase: Phase) -> Started:
        """Begin the command of a phase, in the interpreter that waits for it if there is one.

        Raises: OSError when it cannot be started.
        """
        wanted = order(self.program, phase)
        waiting = self._waiting.pop(phase, None)
        place = self._place(phase, wanted.data) if waiting is None else waiting.place
        if waiting is None or not self._order(waiting, wanted.words):
            if not self.is_warm(phase):
                waiting = self._spawn(phase, target.argv(wanted.words), place)
            else:
                waiting = self._spawn(phase, warm.waiting(wanted.words, self._ahead), place)
                self._order(waiting, wanted.words)
        self._current = waiting.process
        return waiting

    def _order(self, waiting: Started, words: tuple[str, ...]) -> bool:
        """Tell an interpreter what to become; False where it has died while it waited, which is nobody's fault."""
        if waiting.process not in self._processes:
            return False
        return waiting.process.go(self._spec.run, warm.order(words, self._variables(waiting.place)))

    @property
    def _ahead(self) -> tuple[str, ...]:
        ahead = self._bench.ahead or ()
        return ahead if warm.takes_no_time(self.program, self._spec.device) else ()

    def is_warm(self, phase: Phase) -> bool:
        """Whether the command of a phase can be begun in an interpreter that waits."""
        wanted = order(self.program, phase)
        bench = self._bench
        may_wait = bench.program.devices.warm and bench.ahead is not None and phase is not Phase.CHECK
        return may_wait and warm.applies(wanted.words)

    def step(self, now: float) -> target.Exit | None:
        """How the command that was begun last has ended; None while it runs. Reaps what died while it waited."""
        for process in tuple(self._processes):
            exit = process.step(now)
            if exit is not None:
                self._processes.remove(process)
                if process is self._current:
                    self._current = None
                    return exit
        return None

    def time_out(self, now: float) -> None:
        """The time of the command that was begun last is over."""
        if self._current is not None:
            self._current.time_out(now)

    @property
    def is_empty(self) -> bool:
        """No process is left."""
        return not self._processes

    def kill(self, now: float) -> None:
        """SIGKILL for all of it; `is_dead` tells when it has worked."""
        for process in self._processes:
            process.kill(now)

    def is_dead(self, now: float) -> bool:
        """After `kill`: whether nothing of it is left, or what is left is stuck for good."""
        self.step(now)
        return self.is_empty

    def release(self) -> tuple[Path, ...]:
        """Free what it holds; the paths that are to be deleted then."""
        for process in self._processes:
            process.close()
        return (*self._links, self.folder)

    def code(self, phase: Phase) -> Path:
        """The checkout that a phase works in; check and training share one."""
        return self._home(phase if phase.measures else Phase.TRAIN) / "code"

    def out(self, phase: Phase) -> Path:
        """What a phase writes."""
        return self._home(phase) / "out"

    def _home(self, phase: Phase) -> Path:
        return self.folder / (f"{phase.value}-{self._secret}" if phase.measures else phase.value)

    def _place(self, phase: Phase, data: str | None) -> target.Place:
        out, kind, home = self.out(phase), "evaluate" if phase.measures else "train", self._home(phase)
        tree, caches = self._spec.tree, self._bench.cache
        cache = own_cache(caches, kind, home) if tree == NOBODY_YET else warm_cache(caches, tree, kind, home)
        # Sockets in TMPDIR (workers of a data loader) bear 107 characters of path: a short link leads to ours.
        link = Path(tempfile.gettempdir()) / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
        link.symlink_to(fresh(out / "tmp"))
        self._links.append(link)
        return target.Place(
            code=self.code(phase),
            out=out,
            temporary=link,
            cache=cache,
            data=None if data is None else real(self._bench.folder, data),
            model=self.out(Phase.TRAIN) if phase.measures else None,
        )

    def _variables(self, place: target.Place) -> Mapping[str, str]:
        bench, spec = self._bench, self._spec
        environment = target.variables(
            self.program,
            spec,
            place,
            work=bench.work,
            threads=threads(bench.program.devices, spec.device),
            inherited=os.environ,
        )
        if self._ward.sandbox == "landlock":
            environment |= WITHOUT_SEMAPHORES
        return environment if self._ward.sandbox == "none" else nodes.by_name(spec.device, environment)

    def _spawn(self, phase: Phase, words: tuple[str, ...], place: target.Place) -> Started:
        environment = self._variables(place)
        pattern = self.program.metric.pattern if phase is Phase.TRAIN else None
        job = Job(
            run=self._spec.run,
            command=wrap(self._ward.sandbox, words, self._box(phase, place, environment)),
            environment=environment,
            limits=self._limits,
            folder=self.folder,
            cwd=place.code,
            log=Log(pattern, private=f"{self.folder}{os.sep}"),
        )
        process = Process(self._ward, job)
        self._processes.append(process)
        proc.note(process.pid, self.folder)
        return Started(process=process, log=job.log, place=place)

    @property
    def _limits(self) -> Limits:
        device = self._spec.device
        cores = left(self._ward.pins.get(device.name, ()), device.name)
        return Limits(sandbox=self._bench.program.sandbox, cuda=device.is_cuda, cores=cores)

    def _box(self, phase: Phase, place: target.Place, environment: Mapping[str, str]) -> Box:
        """Code, data and weights to read, the output and the cache to write. Raises: OSError where a wall leaks."""
        bench = self._bench
        try:  # again: where links lead may change in a night, which is no reason for all else to end
            refuse_seen(bench.program, bench.folder, bench.hidden)
        except UserError as error:
            raise OSError(str(error)) from error
        more = (bench.folder / Path(text).expanduser() for text in bench.program.sandbox.readable)
        there = (place.code, place.data, place.model, *more)
        held = [real(bench.folder, name) for name in held_out(bench.program)]
        if phase.measures:
            held = [path for path in held if path != place.data]
        subject = bench.program.program
        lab, project = real(bench.folder, subject.experiments), real(bench.folder, subject.project)
        return Box(
            cwd=place.code,
            readable=tuple(path for path in there if path is not None),
            writable=(place.out, place.cache),
            links={place.temporary: place.temporary.readlink()},
            hidden=(bench.folder, project, lab, bench.work.parent, *held, *bench.hidden),
            nodes=nodes.nodes(environment["CUDA_VISIBLE_DEVICES"]) if self._spec.device.is_cuda else (),
            network=bench.network,
        )
