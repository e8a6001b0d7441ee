"""How busy several devices are: `python -m bench.fleet`, by a target whose training sleeps for its budget.

For 1, 2 and 4 CPU slots: trainings per hour against the ideal of a slot that does nothing else, by the daemon, by the
same daemon when it asks for proposals only once a device is free, and by a plain shell loop. What counts as training
is what the target itself says: when its sleep began and ended.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from autoresearchd.experiment import Concluded
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Context, Proposer
from autoresearchd.status import Status
from bench.loop import environment, make_project, moments

TARGET = """import random, time
{constants}
began = time.time()
time.sleep({seconds})
ended = time.time()
print("loss:", 1 + abs(LEARNING_RATE - 0.02) + random.gauss(0, 0.001))
print("---")
print(f"began: {{began}}")
print(f"ended: {{ended}}")
"""
PROGRAM = """
[program]
name = "fleet"
editable = ["train.py"]
[train]
command = "python train.py"
seconds = {seconds}
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[devices]
use = "cpu"
cpu_slots = {slots}
cpu_threads = 1
"""
SHELL = 'while [ "$(date +%s)" -lt {until} ]; do {python} train.py; done'
WAYS = ("daemon", "asking only when idle", "shell loop")
DAEMON = "the daemon's own process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What one way did: trainings by slot as (began, ended), and the window that is looked at (Unix time)."""

    slots: tuple[tuple[tuple[float, float], ...], ...]
    since: float
    until: float
    experiments: int | None = None
    busy_share: float | None = None
    """As the daemon's own status says it."""

    @property
    def trained(self) -> float:
        """Share of the slots' time in the window that was training."""
        inside = [max(0.0, min(end, self.until) - max(start, self.since)) for slot in self.slots for start, end in slot]
        return sum(inside) / (len(self.slots) * (self.until - self.since))

    @property
    def gaps(self) -> list[float]:
        """From the end of a training to the beginning of the next on the same slot."""
        pairs = (pair for slot in self.slots for pair in itertools.pairwise(slot))
        return [start - end for (_, end), (start, _) in pairs if end >= self.since and start <= self.until]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="budget of one training")
    parser.add_argument("--minutes", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--thinking", type=float, default=0.0, help="seconds that a proposal takes, as a model would")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(f"--{DAEMON.replace(' ', '-')}", action="store_true", dest="as_daemon", help=argparse.SUPPRESS)
    parser.add_argument("--idle-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_daemon:
        sys.exit(run_daemon(options))
    print(
        "| slots | way | trainings | per hour | of the ideal | median gap | longest | experiments | busy in `status` |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for slots in options.slots:
        for way in options.ways:
            with tempfile.TemporaryDirectory() as name:
                report(way, night(way, Path(name) / "project", slots, options), options.seconds)


def night(way: str, project: Path, slots: int, options: argparse.Namespace) -> Night:
    text = PROGRAM.format(seconds=options.seconds, slots=slots)
    make_project(project, seconds=options.seconds, target=TARGET, program=text)
    if way == "shell loop":
        return shell_loops(project, slots, options.minutes)
    return daemon(project, slots, options, idle_only=way != "daemon")


def shell_loops(project: Path, slots: int, minutes: float) -> Night:
    since = time.time()
    script = SHELL.format(until=int(since + 60 * minutes), python=sys.executable)
    loops = [
        subprocess.Popen(["sh", "-c", script], cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(slots)
    ]
    said = [loop.communicate()[0] for loop in loops]
    return Night(slots=tuple(tuple(spoken(text)) for text in said), since=since, until=since + 60 * minutes)


def spoken(text: str) -> Iterator[tuple[float, float]]:
    """The trainings in what the target printed."""
    times = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(("began", "ended"))]
    return zip(map(float, times[::2]), map(float, times[1::2]), strict=True)


def daemon(project: Path, slots: int, options: argparse.Namespace, *, idle_only: bool) -> Night:
    """The window begins with the first experiment, when the baseline is known, and is as long as asked for."""
    init = [sys.executable, "-m", "autoresearchd", "init"]
    subprocess.run(init, cwd=project, check=True, env=environment(), stdout=subprocess.DEVNULL)
    flag = f"--{DAEMON.replace(' ', '-')}"
    words = [sys.executable, "-m", "bench.fleet", flag, "--minutes", str(options.minutes)]
    words += ["--thinking", str(options.thinking), *(["--idle-only"] if idle_only else [])]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    log = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    trained: dict[str, list[tuple[float, float]]] = {f"cpu:{index}": [] for index in range(slots)}
    for run in filed(project):
        trained[run["device"]].append((run["metrics"]["began"], run["metrics"]["ended"]))
    since, until = moments(log, "experiment_opened")[0], moments(log, "window_over")[0]
    over = next(line for line in log if line["event"] == "window_over")
    return Night(
        slots=tuple(tuple(sorted(slot)) for slot in trained.values()),
        since=since,
        until=until,
        experiments=int(over["tried"]),
        busy_share=float(over["busy"]),
    )


def filed(project: Path) -> Iterator[dict[str, Any]]:
    """The measurements of a lab, as stock git reads them."""
    git = ["git", "-C", str(project / "experiments.git")]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", "refs/autoresearch/runs"], check=True, capture_output=True, text=True
    )
    for path in listed.stdout.split():
        blob = subprocess.run([*git, "show", f"refs/autoresearch/runs:{path}"], check=True, capture_output=True)
        yield json.loads(blob.stdout)


def report(way: str, found: Night, seconds: float) -> None:
    count = sum(found.since <= end <= found.until for slot in found.slots for _, end in slot)
    hours = (found.until - found.since) / 3600
    gaps = found.gaps or [float("nan")]
    experiments = "" if found.experiments is None else str(found.experiments)
    busy = "" if found.busy_share is None else f"{found.busy_share:.1%}"
    print(
        f"| {len(found.slots)} | {way} | {count} | {count / hours:.0f} of {3600 * len(found.slots) / seconds:.0f} "
        f"| {found.trained:.1%} | {1000 * statistics.median(gaps):.0f} ms | {1000 * max(gaps):.0f} ms "
        f"| {experiments} | {busy} |",
        flush=True,
    )


def run_daemon(options: argparse.Namespace) -> int:
    """The real daemon on the program in this folder; after the window it is paused, and ends with its last run."""
    from autoresearchd import loop, service
    from autoresearchd.actions import Action, Ask
    from autoresearchd.report.lines import default_logging
    from autoresearchd.request import Request
    from autoresearchd.world import World

    default_logging()
    whole_plan, build = loop.plan, service.build

    def asking_when_idle(world: World) -> tuple[Action, ...]:
        busy = len(world.live) >= len(world.devices)
        return tuple(action for action in whole_plan(world) if not (busy and isinstance(action, Ask)))

    if options.idle_only:
        loop.plan = asking_when_idle  # type: ignore[attr-defined]
    service.build = lambda *wanted: Slow(build(*wanted), options.thinking)  # type: ignore[attr-defined]
    service.run(Request(program=Path("program.toml")), Window(60 * options.minutes))
    return 0


class Slow:
    """A proposer that takes its time, as a language model does."""

    def __init__(self, proposer: Proposer, seconds: float) -> None:
        self.name, self._proposer, self._seconds = proposer.name, proposer, seconds

    async def propose(self, context: Context) -> Proposal | None:
        if self._seconds:  # else those that are asked together would not know of each other
            await asyncio.sleep(self._seconds)
        proposal = await self._proposer.propose(context)
        # What was paid for is replayed on a new best, not thought of anew.
        return replace(proposal, cost_usd=0.0) if proposal is not None and self._seconds else proposal


class Window:
    """A view that shows nothing: it ends the daemon some seconds after the first experiment was opened."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until, self._over, self._told = seconds, 0.0, False, False

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        del recent
        if not self._until and status.session_opened:
            self._until = status.now + self._seconds
        if self._until and not self._over and status.now >= self._until:
            self._over = True
            structlog.get_logger().info("window_over", busy=status.busy_share, tried=status.tried)
            Path("experiments.git/autoresearchd/pause").touch()
        if self._over and not self._told and all(device.phase == "idle" for device in status.devices):
            self._told = True  # a second signal would end it on the spot
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
