"""A month of trouble in an hour: `python -m bench.soak`, with experiments that take no time.

First one daemon that lives through all of it, while program.toml is saved (well, wrongly, half-way), ideas are pushed
and the disk runs full. Then half as many experiments again, with a SIGKILL or SIGTERM every few. The lab lies on a
small disk in memory where one may be mounted; elsewhere the full disk is left out, with the reason. At the end
everything must be there, and once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearchd.ledger import FREE_FLOOR_BYTES, Ledger
from bench.loop import environment, make_project

DISK_BYTES = FREE_FLOOR_BYTES + 128 * 2**20
PATIENCE_SECONDS = 600.0
PUSHER = ("-c", "user.name=Pusher", "-c", "user.email=pusher@localhost")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--experiments", type=int, default=1000, help="of the first daemon")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, disk(Path(name, "disk")) as (folder, why_none):
        began = time.monotonic()
        night = Night(folder, Path(name, "log.jsonl"), random.Random(options.seed), can_fill=not why_none)
        with kept(night):
            wrong = soak(night, options.experiments)
        report(night, time.monotonic() - began, why_none)
    print("\n".join(f"WRONG: {each}" for each in wrong) or "everything is there once")
    sys.exit(1 if wrong else 0)


def soak(night: Night, experiments: int) -> list[str]:
    """Everything that can go wrong, and what did."""
    one_life(night, experiments)
    many_lives(night, experiments + experiments // 2)
    return night.verdict()


@contextmanager
def kept(night: Night) -> Iterator[None]:
    """Where something is wrong at the end, the lab and the log stay, to be looked into."""
    try:
        yield
    finally:
        if night.wrong or sys.exc_info()[0] is not None:
            place = Path(tempfile.mkdtemp(prefix="soak-wrong-"))
            shutil.copytree(night.disk, place / "disk", symlinks=True)
            shutil.copy(night.log, place)
            print(f"all of it stays in {place}")


@contextmanager
def disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder on a small disk of its own, or why it is on the common one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    try:
        yield folder, done.stderr.strip()
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the daemon's process takes, after so many experiments of its life."""

    experiments: int
    rss_mib: float
    own_mib: float
    """Of these, what no other process shares and no file holds."""
    files: int
    threads: int


@dataclass
class Night:
    """A lab, its daemon, and what was done to them."""

    disk: Path
    log: Path
    rng: random.Random
    can_fill: bool
    done: Counter[str] = field(default_factory=Counter)
    """Troubles, counted."""
    samples: list[Sample] = field(default_factory=list)
    ideas: list[str] = field(default_factory=list)
    records: dict[int, str] = field(default_factory=dict)
    """Every concluded experiment's commit, as first seen."""
    line: list[str] = field(default_factory=list)
    """Best's commits."""
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.project = make_project(self.disk / "project", seconds=0)
        self.program = self.project / "program.toml"
        # Thinking is another matter: changes of nothing are proposed in no time, those of the pushed ideas are real.
        self.good = self.program.read_text() + "[propose.null]\nevery = 1\n"
        self.program.write_text(self.good)
        self.lab = self.project / "experiments.git"
        self.command("init")
        self.clone = self.disk / "clone"
        git(self.disk, "clone", "-q", str(self.project), str(self.clone))
        self.tail = Tail(self.log)

    def command(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "autoresearchd", *words],
            cwd=self.project, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "autoresearchd", "run"],
                cwd=self.project, env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.tail.until(self, lambda event: event["event"] == "daemon_started")

    def advance(self, experiments: int) -> None:
        """Until so many more have their verdict."""
        wanted = self.tail.concluded + experiments
        self.tail.until(self, lambda _: self.tail.concluded >= wanted)

    def end(self, number: int) -> None:
        self.daemon.send_signal(number)
        self.daemon.wait(timeout=PATIENCE_SECONDS)
        self.done[signal.Signals(number).name] += 1
        self.look()

    def look(self) -> None:
        """Whether every record is still what it was, and best has only gone forward."""
        ledger = Ledger(self.lab)
        now = {row.experiment.number: row.experiment.commit for row in ledger.concluded()}
        lost = [number for number, commit in self.records.items() if now.get(number) != commit]
        line = git(self.lab, "rev-list", "--reverse", "best").split()
        if lost:
            self.wrong.append(f"records lost or altered: {lost}")
        if line[: len(self.line)] != self.line:
            self.wrong.append("best went back")
        self.records, self.line = dict(now), line

    def push(self) -> None:
        """An idea of a person, who has found the right constant and aims badly."""
        title = f"Idea {len(self.ideas) + 1}"
        git(self.clone, "fetch", "-q", str(self.lab), "best")
        git(self.clone, "checkout", "-q", "--force", "--detach", "FETCH_HEAD")
        text = (self.clone / "train.py").read_text()
        rate = f"LEARNING_RATE = {self.rng.gauss(0.02, 0.002):.6f}  # {title}"
        (self.clone / "train.py").write_text(re.sub("LEARNING_RATE = .*", rate, text))
        git(self.clone, *PUSHER, "commit", "-q", "-a", "-m", title)
        git(self.clone, "push", "-q", str(self.lab), f"HEAD:refs/heads/idea/{len(self.ideas)}")
        self.ideas.append(title)
        self.done["push"] += 1

    def save(self) -> None:
        """A program that is right: another limit each time."""
        self.program.write_text(f"{self.good}[accept]\nmax_repeats = {8 + self.done['reload'] % 5}\n")
        self.tail.until(self, lambda event: event["event"] == "program_reloaded")
        self.done["reload"] += 1

    def save_wrongly(self) -> None:
        """A program that is cut off, and one that would change the metric."""
        for number, text in enumerate((self.good[: len(self.good) // 2], self.good.replace('"loss"', '"other"'))):
            self.program.write_text(f"{text}\n# {number}")
            self.tail.until(self, lambda event: event["event"] == "program_refused")
            self.done["refused program"] += 1
        self.save()

    def fill(self) -> None:
        """Not a byte left, until the daemon says so; then room again."""
        filler = self.disk / "filler"
        with suppress(OSError), filler.open("wb") as file:  # no space left: this is what it is for
            while True:
                file.write(bytes(2**16))
                file.flush()
        self.tail.until(self, lambda event: event["event"] == "held" and "MiB are free" in event["why"])
        filler.unlink(missing_ok=True)
        self.tail.until(self, lambda event: event["event"] == "resumed")
        self.done["full disk"] += 1

    def sample(self, experiments: int) -> None:
        process = Path(f"/proc/{self.daemon.pid}")
        fields = dict(line.split(":\t") for line in (process / "status").read_text().splitlines() if ":\t" in line)
        rss, own = (int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon"))
        files = len(list((process / "fd").iterdir()))
        self.samples.append(Sample(experiments, rss, own, files, int(fields["Threads"])))

    def verdict(self) -> list[str]:
        """What is wrong at the end."""
        waiting = git(self.lab, "for-each-ref", "refs/heads/idea").splitlines()
        self.command("run", "--experiments", str(len(waiting)))  # what is open, or was pushed at last, gets its verdict
        self.look()
        ledger, wrong = Ledger(self.lab), self.wrong
        wrong += [finding.what for finding in ledger.verify()]
        if opened := ledger.opened():
            wrong.append(f"without a verdict: {[experiment.number for experiment in opened]}")
        numbers = [row.experiment.number for row in ledger.concluded()]
        if numbers != list(range(len(numbers))):
            wrong.append("a number is missing or twice")
        tried = {row.experiment.title for row in ledger.concluded()} | self.tail.refused
        wrong += [f"{title} was forgotten" for title in self.ideas if title not in tried]
        if left := git(self.lab, "for-each-ref", "refs/heads/idea"):
            wrong.append(f"left in the inbox: {left}")
        if left := [path.name for path in (self.lab / "autoresearchd/runs").iterdir()]:
            wrong.append(f"checkouts left: {left}")
        check = ("git", "-C", str(self.lab), "fsck", "--strict", "--no-dangling", "--no-progress")
        if said := subprocess.run(check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout:
            wrong.append(said)
        return wrong


class Tail:
    """The daemon's log lines as they come."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._path, self._at, self._lines = path, 0, deque[bytes]()
        self.concluded = 0
        self.refused: set[str] = set()
        """Ideas that were refused, with a reason."""
        self.loud = Counter[str]()
        """Warnings and errors."""

    def until(self, night: Night, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Read on to the next event that is wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(wanted(event) for event in self._fresh()):
            if night.daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"stuck; the daemon: {night.daemon.poll()}; {self._path.read_text()[-4000:]}")
            time.sleep(0.005)

    def _fresh(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        self._at += len(whole) + bool(whole)
        self._lines += whole.splitlines()
        while self._lines:
            line = self._lines.popleft()
            if line.startswith(b"{"):
                event = json.loads(line)
                self._note(event)
                yield event

    def _note(self, event: dict[str, Any]) -> None:
        self.concluded += event["event"] == "experiment_concluded"
        if event["event"] == "idea_refused":
            self.refused.add(f"Idea {1 + int(event['ref'].rpartition('/')[2])}")
        if event["level"] in ("warning", "error", "critical"):
            self.loud[f"{event['level']} {event['event']}"] += 1


def one_life(night: Night, experiments: int) -> None:
    """One daemon from the first to the last, measured on the way; a trouble after each tenth."""
    troubles = itertools.cycle((night.save, night.push, night.save_wrongly, night.push, night.fill))
    night.start()
    night.advance(1)
    for part in range(1, 11):
        night.advance(experiments // 10 - (part == 1))
        night.sample(part * experiments // 10)
        trouble = next(troubles)
        if trouble != night.fill or night.can_fill:
            trouble()
    night.end(signal.SIGTERM)


def many_lives(night: Night, experiments: int) -> None:
    """Lives of a few experiments each, some of them with a trouble too, until there are enough."""
    while len(night.records) < experiments:
        night.start()
        night.advance(night.rng.randint(1, 40))
        for trouble in night.rng.sample((night.push, night.save, night.save_wrongly), night.rng.randint(0, 2)):
            trouble()
        if night.can_fill and night.rng.random() < 0.2:
            night.fill()
        time.sleep(night.rng.uniform(0.0, 0.1))  # to be killed anywhere in its work
        night.end(night.rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))


def report(night: Night, seconds: float, why_no_disk: str) -> None:
    ledger = Ledger(night.lab)
    rows = ledger.concluded()
    verdicts = Counter(row.verdict.outcome.value for row in rows)
    print(f"{len(rows)} experiments, {sum(row.verdict.runs for row in rows)} runs in {seconds / 60:.0f} min")
    print("verdicts: ", counted(verdicts))
    print("troubles: ", counted(night.done), f"(no full disk: {why_no_disk})" if why_no_disk else "")
    print("log:      ", counted(night.tail.loud))
    print(f"{'experiments of one life':>24}{'RSS, MiB':>12}{'its own, MiB':>14}{'open files':>12}{'threads':>10}")
    for one in night.samples:
        print(f"{one.experiments:>24}{one.rss_mib:>12.1f}{one.own_mib:>14.1f}{one.files:>12}{one.threads:>10}")
    size = sum(file.stat().st_size for file in night.lab.rglob("*") if file.is_file())
    print(f"experiments.git: {size / 2**20:.1f} MiB")


def counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {arguments}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
