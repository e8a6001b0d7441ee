"""A lab for the executor's tests: trees are folders of files in memory, everything else is real."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from autoresearchd.experiment import Device, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.program import Program, parse
from autoresearchd.run import Bench, Checkout, LocalExecutor

PATIENCE = 240.0
RESULT = """
import json, os
from pathlib import Path
OUT = Path(os.environ["AUTORESEARCH_OUT"])
def say(file="result.json", run=os.environ["AUTORESEARCH_RUN"], **metrics):
    OUT.joinpath(file).write_text(json.dumps({"run": run, "metrics": metrics}))
"""
"""What the targets of these tests begin with."""
HANG = """
import time
(OUT / "pid").write_text(str(os.getpid()))
time.sleep(600)
"""
IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANG
ESCAPE = """
import subprocess, sys
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
env = {} if os.environ["AUTORESEARCH_SEED"] == "13" else None
subprocess.Popen([sys.executable, "-S", "-c", code, str(OUT / "escaped")], start_new_session=True, env=env)
while not (OUT / "escaped").exists() or not (OUT / "escaped").read_text():
    pass
"""


def program(
    train: str = "", metric: str = "", more: str = "", *, command: str = "python train.py", mode: str = "none"
) -> Program:
    return parse(f"""
[program]
name = "test"
editable = ["*.py"]
[train]
command = "{command}"
{train}
[metric]
name = "loss"
{metric}
[sandbox]
mode = "{mode}"
{more}
""")


class Room:
    """Trees by name, and an executor at a time."""

    def __init__(self, path: Path) -> None:
        self.folder = path
        self.work = path / "experiments.git" / "autoresearchd" / "runs"
        self.trees: dict[TreeOid, Mapping[str, str]] = {}
        self.checkouts: list[Path] = []
        self.keep: Callable[[Path, RunSpec], None] | None = None

    def tree(self, train: str, **files: str) -> TreeOid:
        """File a tree whose train.py is this; other files by `name` for `name.py`."""
        oid = TreeOid(f"{len(self.trees):040x}")
        self.trees[oid] = {"train.py": RESULT + train, **{f"{name}.py": RESULT + text for name, text in files.items()}}
        return oid

    def checkout(self, tree: TreeOid, folder: Path) -> None:
        assert not list(folder.iterdir())
        self.checkouts.append(folder)
        for name, text in self.trees[tree].items():
            (folder / name).write_text(text)

    @contextlib.contextmanager
    def executor(
        self, wanted: Program, *, grace: float = 0.1, most_bytes: int | None = 2**30, ahead: tuple[str, ...] = ()
    ) -> Iterator[LocalExecutor]:
        bench = replace(self.bench(wanted), ahead=ahead)
        executor = LocalExecutor(bench, grace=grace, most_bytes=most_bytes, keep=self.keep)
        with contextlib.closing(executor):
            yield executor

    def bench(self, wanted: Program, checkout: Checkout | None = None) -> Bench:
        return Bench(program=wanted, folder=self.folder, work=self.work, checkout=checkout or self.checkout)

    def measure(self, train: str, wanted: Program | None = None, **files: str) -> Measurement:
        """One run of a train.py from start to end."""
        with self.executor(wanted or program()) as executor:
            executor.start(spec(self.tree(train, **files)))
            return finish(executor)


def spec(tree: TreeOid, *, run: str = "run-1", seed: int = 7, device: str = "cpu:0") -> RunSpec:
    slot = Device(name=device, model="test", index=int(device.partition(":")[2]))
    return RunSpec(run=run, tree=tree, seed=seed, device=slot, environment=Environment("test/env"))


def until(executor: LocalExecutor, done: object, *, now: float | None = None) -> None:
    """Poll, woken by the executor or every 20 ms, until `done()` is true; no run may end meanwhile."""
    assert callable(done)
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it never happened"
        assert not executor.poll(time.time() if now is None else now)
        select.select([executor.fileno()], [], [], 0.02)


def finish(executor: LocalExecutor, *, now: float | None = None) -> Measurement:
    """Poll until one run has ended; a given `now` goes on by 1 s with each poll."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended = executor.poll(time.time() if now is None else now)
        if ended:
            (measurement,) = ended
            return measurement
        select.select([executor.fileno()], [], [], 0.02 if now is not None else 0.2)
        now = None if now is None else now + 1.0
    raise AssertionError("the run never ended")


def written(path: Path) -> str:
    """What a file of a run holds, empty before it exists."""
    return path.read_text() if path.exists() else ""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def gone(pid: int) -> bool:
    """Wait for a process to end; False when it does not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def out_of(room: Room, run: str = "run-1") -> Path:
    return room.work / run / "train" / "out"


def pid_in(path: Path) -> int:
    return int(written(path) or 0)


@contextlib.contextmanager
def bound_by_modes() -> Iterator[None]:
    """The modes of files and folders bind this thread meanwhile, root or not."""
    libc, header, before = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    assert libc.capset(header, (ctypes.c_uint32 * 6)(before[0] & ~0b110, *before[1:])) == 0  # CAP_DAC_...
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
