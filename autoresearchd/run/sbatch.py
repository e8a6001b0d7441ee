"""Slurm by its own commands: jobs submitted, listed and cancelled. Every call waits for the command, with a bound."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.cluster import Slurm
from autoresearchd.run.log import one_line
from autoresearchd.run.target import INHERITED

COMMAND_SECONDS = 60.0
LOG_FILE = "job.log"
OURS = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF", *(n for n in INHERITED if not n.startswith("NVIDIA_")))
"""All that a job gets of the daemon's environment: no keys."""
ENDED = frozenset({
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
})  # fmt: skip
_FIELDS = "%A|%T|%N|%r|%k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as the queue has it."""

    number: str
    state: str
    """Slurm's word: PENDING, RUNNING, TIMEOUT …"""
    nodes: str
    reason: str
    mark: str
    """The comment that it was submitted with."""

    @property
    def is_over(self) -> bool:
        """It will not run again."""
        return self.state in ENDED

    @property
    def is_stuck(self) -> bool:
        """It could not be launched, and waits for an administrator."""
        return self.state == "PENDING" and "launch failed" in self.reason.lower().replace("_", " ")


class Cluster:
    """The Slurm that this machine's commands speak to."""

    def __init__(self, settings: Slurm, *, mark: str) -> None:
        """`mark` is the comment of every job submitted here; words without `|`."""
        self._settings, self._mark = settings, mark

    def submit(self, name: str, words: Sequence[str], *, folder: Path, seconds: float) -> str:
        """Queue a command as a job that Slurm starts again where a node fails; the job's number.

        Raises: OSError with what sbatch said.
        """
        script = f"#!/bin/sh\nexec {shlex.join(words)}\n"
        said = _run(("sbatch", *self._options(name, folder, seconds)), given=script)
        number = said.strip().partition(";")[0]
        if not number.isdigit():
            raise OSError(f"sbatch said {one_line(said)!r} and no number of a job")
        return number

    def jobs(self, known: Collection[str]) -> Mapping[str, Job]:
        """The jobs that Slurm still has of those with our mark or a `known` number, by number. Raises: OSError.

        A plugin of the site may rewrite comments: then the numbers are all that there is.
        """
        said = _run(("squeue", "--me", "--noheader", "--states=all", f"--format={_FIELDS}"))
        return {job.number: job for job in listed(said) if job.mark == self._mark or job.number in known}

    def cancel(self, numbers: Sequence[str]) -> None:
        """End jobs; those that have ended are passed over. Raises: OSError."""
        _run(("scancel", "--quiet", *numbers))

    def _options(self, name: str, folder: Path, seconds: float) -> list[str]:
        settings = self._settings
        minutes = settings.minutes or int(seconds // 60) + 1
        asked = {
            "--job-name": name,
            "--comment": self._mark,
            "--chdir": str(folder),
            "--output": _without_patterns(folder / LOG_FILE),
            "--open-mode": "append",
            "--export": "ALL",  # of `_environment`
            "--ntasks": "1",
            "--cpus-per-task": str(settings.cpus),
            "--time": str(minutes),
            "--partition": settings.partition,
            "--gres": settings.gres,
            "--mem": None if settings.memory_mib is None else f"{settings.memory_mib}M",
        }
        given = [f"{key}={value}" for key, value in asked.items() if value is not None]
        return ["--parsable", "--requeue", *given, *settings.extra]


def listed(said: str) -> list[Job]:
    """What squeue printed; lines that are none of its own are left out."""
    rows = (line.split("|", 4) for line in said.splitlines())
    return [
        Job(number=row[0], state=row[1].split()[0], nodes=row[2], reason=row[3], mark=row[4])
        for row in rows
        if len(row) == 5 and row[0].isdigit() and re.fullmatch(r"[A-Z_]+.*", row[1])
    ]


def version() -> str:
    """What sbatch says it is. Raises: OSError where it is not there."""
    return one_line(_run(("sbatch", "--version")))


def nodes(partition: str | None) -> int:
    """How many nodes of the cluster answer. Raises: OSError where it does not answer."""
    asked = () if partition is None else (f"--partition={partition}",)
    said = _run(("sinfo", "--noheader", "--responding", "--Node", "--format=%N", *asked))
    return len(set(said.split()))


def python() -> str:
    """The interpreter that jobs run in: this one, at the same place on every node."""
    return sys.executable


def _without_patterns(path: Path) -> str:
    r"""Slurm replaces `%j` and the like in it; `%%` is one `%`."""
    return str(path).replace("%", "%%")


def _run(words: Sequence[str], given: str = "") -> str:
    environment = {name: os.environ[name] for name in OURS if name in os.environ}
    try:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, errors="replace", env=environment,
            timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise OSError(f"{words[0]} is not on PATH; the daemon needs Slurm's commands") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{words[0]} did not answer within {COMMAND_SECONDS:g} s") from error
    if done.returncode:
        raise OSError(f"{words[0]}: {one_line(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout
