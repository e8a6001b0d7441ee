"""The command line in processes forked from one that has imported it: a fresh interpreter spends a second on that.

All else is as it is for a person: arguments, folder, environment, input and output, signals, exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

PRELOADED = ("anthropic", "pytest", "autoresearchd.cli", "autoresearchd.service", "autoresearchd.doctor")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(list(PRELOADED))


class Started:
    """A process that goes on by itself, as `subprocess.Popen` has it; ends with the tests at the latest."""

    def __init__(self, worker: BaseProcess) -> None:
        self._worker = worker

    @property
    def pid(self) -> int:
        assert self._worker.pid is not None
        return self._worker.pid

    def poll(self) -> int | None:
        return self._worker.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._worker.join(timeout)
        assert self._worker.exitcode is not None, f"{self._worker.pid} goes on after {timeout} s"
        return self._worker.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(folder: Path, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Started:
    """`autoresearchd …` in the background, all that it says at the end of a file."""
    return Started(_forked(folder, arguments, environment, (Path(os.devnull), log, log)))


def run(
    folder: Path, arguments: Sequence[str], *, environment: Mapping[str, str], given: str = ""
) -> CompletedProcess[str]:
    """`autoresearchd …` to its end."""
    with TemporaryDirectory() as place:
        typed, said, complained = (Path(place, name) for name in ("in", "out", "err"))
        typed.write_text(given)
        worker = _forked(folder, arguments, environment, (typed, said, complained))
        worker.join()
        assert worker.exitcode is not None
        return CompletedProcess(arguments, worker.exitcode, said.read_text(), complained.read_text())


def _forked(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], files: tuple[Path, Path, Path]
) -> BaseProcess:
    worker = PROCESSES.Process(target=_become, args=(folder, arguments, dict(environment), files), daemon=True)
    worker.start()
    return worker


def _become(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], files: tuple[Path, Path, Path]
) -> None:
    from autoresearchd.cli import main

    os.setsid()
    for number, (file, mode) in enumerate(zip(files, "raa", strict=True)):
        with file.open(mode) as opened:
            os.dup2(opened.fileno(), number)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "a", closefd=False)
    sys.stderr = os.fdopen(2, "a", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["autoresearchd", *arguments]
    main()
