"""One command in a throw-away checkout, in a process of its own: `python -m autoresearchd.run.errand`, order on stdin.

It runs as a training does - same sandbox, same bounds; the answer on stdout says how it ended and what it changed.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import select
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pydantic import TypeAdapter

from autoresearchd.experiment import Device, Direction, Ending, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.program import Program, Train
from autoresearchd.run.clearing import Clearing
from autoresearchd.run.folders import open_untrusted
from autoresearchd.run.site import Bench, Site
from autoresearchd.run.trial import Trial
from autoresearchd.run.ward import ward

DONE = "autoresearch-errand"
"""The line that tells a command which ended well: `autoresearch-errand: 1`."""
DIGEST, VARIABLES = ".autoresearch-digest.md", ".autoresearch-environment"
CHECK = f'"$@" && echo "{DONE}: 1"'
WORK = (
    f'cp -R . "$AUTORESEARCH_OUT/work" && . "$PWD/{VARIABLES}" && export AUTORESEARCH_DIGEST="$PWD/{DIGEST}" && '
    f'cd "$AUTORESEARCH_OUT/work" && "$@" && echo "{DONE}: 1"'
)
MOST_FILE, MOST_FILES, MOST_BYTES = 2**20, 10_000, 8 * 2**20
POLL_SECONDS = 0.5
CLOSE_SECONDS = 10.0
"""For the end of what the command has started, and for its files each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done."""

    program: Program
    folder: Path
    """Where program.toml lies."""
    work: Path
    """Where this errand may make folders; nobody else's."""
    tree: Path
    """The checkout to work on; it is copied."""
    command: str
    seconds: float
    edits: bool = False
    """Whether what it changes is wanted."""
    network: bool = False


def main() -> int:
    """Read an order, run it, write the answer."""
    signal.signal(signal.SIGTERM, _end)
    order = _orders().validate_json(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is logged is no answer
    with answer:
        answer.write(json.dumps(run(order)))
    return 0


def dump(order: Order) -> bytes:
    """For the standard input of `main`."""
    return _orders().dump_json(order)


@functools.cache
def _orders() -> TypeAdapter[Order]:
    """Milliseconds to make."""
    return TypeAdapter(Order)


def run(order: Order) -> dict[str, Any]:
    """`why` it ended badly (empty where it did not), and the changed `files` in base64; None for one that is gone."""
    program = _program(order)
    bench = Bench(
        program=program,
        folder=order.folder,
        work=order.work,
        checkout=lambda _, folder: _copy(order.tree, folder),
        ahead=None,
        network=order.network,
    )
    ours = ward(program)
    clearing = Clearing(ours.epoll, None)
    spec = RunSpec(run="errand", tree=TreeOid(""), seed=0, device=Device(name="errand"), environment=Environment(""))
    site = Site(bench, ours, spec)
    try:
        measurement = _ended(Trial(spec, site), ours.epoll)
        if measurement.ending is not Ending.FINISHED:
            return {"why": f"{measurement.why}\n{measurement.log_tail[-4000:]}", "files": {}}
        out = order.work / spec.run / "train" / "out" / "work"
        return {"why": "", "files": dict(_changed(order, out)) if order.edits else {}}
    finally:
        clearing.take(site, time.monotonic())
        clearing.close(CLOSE_SECONDS)


def _program(order: Order) -> Program:
    """The program with the command in the place of its training; one step is enough for a dry run."""
    script = WORK if order.edits else CHECK
    argv = ["sh", "-c", script, "sh", *shlex.split(order.command)]
    train = Train(
        command=shlex.join(argv),
        seconds=order.program.train.seconds,
        cpu_steps=1,
        deadline_seconds=order.seconds,
        data=order.program.train.data,
    )
    said = {"name": "errand", "direction": Direction.HIGHER, "pattern": rf"^{DONE}: (\S+)$"}
    # No more of the metric changes: what it holds out stays hidden.
    metric = order.program.metric.model_copy(update={**said, "evaluate": None, "also": ()})
    return order.program.model_copy(update={"train": train, "metric": metric, "constraint": ()})


def _ended(trial: Trial, epoll: select.epoll) -> Measurement:
    daemon = os.getppid()
    while True:
        measurement = trial.step(time.monotonic())
        if measurement is not None:
            return measurement
        if os.getppid() != daemon:
            sys.exit("the daemon is gone")
        epoll.poll(POLL_SECONDS)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # what is told once is enough: all that runs here is ended now
    sys.exit(128 + number)


def _copy(tree: Path, folder: Path) -> None:
    shutil.copytree(tree, folder, symlinks=True, dirs_exist_ok=True)


def _changed(order: Order, out: Path) -> Iterator[tuple[str, str | None]]:
    """The editable regular files that differ; whatever else was left there is nobody's business."""
    before, after, size = set(_paths(order, order.tree)), set(_paths(order, out)), 0
    for path in sorted(before | after):
        if path not in after:
            yield path, None
            continue
        content = _read(out / path)
        if path in before and content == (order.tree / path).read_bytes():
            continue
        size += len(content)
        if size > MOST_BYTES:
            return
        yield path, base64.b64encode(content).decode("ascii")


def _paths(order: Order, root: Path) -> Iterator[str]:
    """Editable plain files below a folder; links are not followed."""
    waiting, count = [root], 0
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            count += 1
            if count > MOST_FILES:
                return
            path = str(entry.relative_to(root))
            if entry.is_symlink() or path in (DIGEST, VARIABLES, ".git"):
                continue
            if entry.is_dir():
                waiting.append(entry)
            elif entry.is_file() and entry.stat().st_size <= MOST_FILE and order.program.may_edit(path):
                yield path


def _read(path: Path) -> bytes:
    with os.fdopen(open_untrusted(path), "rb") as file:
        return file.read(MOST_FILE)


if __name__ == "__main__":
    sys.exit(main())
