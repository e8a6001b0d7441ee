"""The money: what was spent, by day, and what may be. Rebuilt from git and a small file of what git does not hold.

Every call is written down before the next one is made, so that a killed daemon forgets nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from autoresearchd.experiment import Concluded, Experiment
from autoresearchd.thinkers import Llm

log = structlog.get_logger()
DAY = 86_400.0
OVERLAP = 256
"""Experiments that are looked at again: a low number may be concluded after higher ones."""
ROUND = 6
"""Decimals of a dollar; a conversation is found again in git by its price."""


@dataclass(slots=True)
class Talk:
    """One conversation as the file has it."""

    began: float
    usd: float = 0.0
    proposed: bool = False
    """It became a proposal: as an experiment, git holds its price."""
    mends: tuple[int, int] | None = None
    """Number of the experiment that its proposal corrects, and which attempt it is."""


@dataclass(frozen=True, slots=True)
class _Filed:
    opened: float
    usd: float
    """Of the proposal and of its corrections together."""
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """USD at an instant."""

    today: float
    total: float


@dataclass(slots=True)
class Purse:
    """What conversations cost. `path` is appended to; None keeps it in memory."""

    path: Path | None = None
    _talks: dict[str, Talk] = field(default_factory=dict)
    _reserved: dict[str, float] = field(default_factory=dict)
    _filed: dict[int, _Filed] = field(default_factory=dict)
    """By experiment, as git last had it."""
    _read: int = 0

    def __post_init__(self) -> None:
        if self.path is not None:
            for entry in _lines(self.path):
                self._take(entry)

    def pay(self, talk: str, usd: float, now: float) -> None:
        """One call of a conversation was paid for. Raises: OSError where it is not written down: there is no next."""
        self._write({"talk": talk, "at": round(now, 3), "usd": round(usd, 9)})

    def end(self, talk: str, outcome: str, now: float, *, proposed: bool, mends: tuple[int, int] | None = None) -> None:
        """A conversation is over; `outcome` is for people who read the file.

        What it led to is paid for and is not lost for want of a line: a restart would count its price twice, no more.
        """
        self._reserved.pop(talk, None)
        entry = {"talk": talk, "at": round(now, 3), "outcome": outcome, "proposed": proposed}
        try:
            self._write(entry if mends is None else entry | {"mends": mends})
        except OSError as error:
            log.warning("conversation_not_noted", talk=talk, outcome=outcome, why=str(error))

    def cost(self, talk: str) -> float:
        """USD of one conversation so far."""
        found = self._talks.get(talk)
        return round(found.usd, ROUND) if found else 0.0

    def reserve(self, talk: str, usd: float) -> None:
        """Hold back what the next call of a conversation may cost; 0 frees it."""
        if usd:
            self._reserved[talk] = usd
        else:
            self._reserved.pop(talk, None)

    def look(self, concluded: Sequence[Concluded], waiting: Iterable[object]) -> None:
        """Note what git holds: experiments of models, concluded or open."""
        for line in concluded[max(0, self._read - OVERLAP) :]:
            self._note(line.experiment)
        self._read = len(concluded)
        for each in waiting:
            if isinstance(each, Experiment):
                self._note(each)

    def spent(self, now: float) -> Spent:
        """What git holds, and conversations that it does not: abandoned ones, and proposals not opened yet."""
        moments = [*self._in_git()]
        moments += [(talk.began, talk.usd) for talk in self._talks.values() if not talk.proposed or talk.mends]
        moments += [(talk.began, talk.usd) for talk in self._unopened().values()]
        midnight = now - now % DAY
        return Spent(today=sum(usd for at, usd in moments if at >= midnight), total=sum(usd for _, usd in moments))

    def unopened(self) -> Collection[str]:
        """The conversations that led to a proposal which git does not hold, nor ever may."""
        return self._unopened().keys()

    def objection(
        self, settings: Llm, total_limit: float | None, usd: float, now: float, *, held: bool = True
    ) -> tuple[str, float | None]:
        """Why so much may not be spent now, and from when on it may (None: not by itself); '' if it may.

        With `held`, what is held back for calls that are being made counts as spent.
        """
        spent, back = self.spent(now), sum(self._reserved.values()) if held else 0.0
        limit = min((each for each in (settings.usd_total, total_limit) if each is not None), default=None)
        if limit is not None and spent.total + back + usd > limit:
            return f"${spent.total:.2f} of ${limit:.2f} are spent in all", None
        if spent.today + back + usd > settings.usd_per_day:
            return f"${spent.today:.2f} of ${settings.usd_per_day:.2f} are spent today", now - now % DAY + DAY
        return "", None

    def _note(self, experiment: Experiment) -> None:
        if experiment.cost_usd is not None:
            self._filed[experiment.number] = _Filed(experiment.opened, experiment.cost_usd, experiment.fix_attempts)

    def _in_git(self) -> list[tuple[float, float]]:
        """When each experiment was opened, and what its proposal cost."""
        mended = self._mended()
        return [(filed.opened, filed.usd - mended[number]) for number, filed in self._filed.items()]

    def _unopened(self) -> Mapping[str, Talk]:
        """Of conversations with the same price the oldest are those that git holds."""
        known, found = Counter(round(usd, ROUND) for _, usd in self._in_git()), dict[str, Talk]()
        for name, talk in sorted(self._talks.items(), key=lambda item: item[1].began):
            if not talk.proposed or talk.mends is not None:
                continue
            price = round(talk.usd, ROUND)
            if known[price] > 0:
                known[price] -= 1
            else:
                found[name] = talk
        return found

    def _mended(self) -> Mapping[int, float]:
        """USD of corrections by experiment, as far as both git and the file hold them: they are counted by the file."""
        # Of two for the same attempt the first was lost with the daemon that had asked for it.
        last = {talk.mends: talk for talk in self._talks.values() if talk.proposed and talk.mends is not None}
        found: dict[int, float] = defaultdict(float)
        for (number, attempt), talk in last.items():
            if number in self._filed and attempt <= self._filed[number].attempts:
                found[number] += round(talk.usd, ROUND)
        return found

    def _take(self, entry: dict[str, object]) -> None:
        name, at, usd = entry.get("talk"), entry.get("at"), entry.get("usd", 0.0)
        if not isinstance(name, str) or not isinstance(at, int | float) or not isinstance(usd, int | float):
            log.warning("spend_line_not_ours", path=str(self.path))
            return
        talk = self._talks.setdefault(name, Talk(began=float(at)))
        talk.usd += float(usd)
        talk.proposed = talk.proposed or entry.get("proposed") is True
        match entry.get("mends"):
            case [int(number), int(attempt)]:
                talk.mends = number, attempt

    def _write(self, entry: dict[str, object]) -> None:
        self._take(entry)
        if self.path is None:
            return
        # A torn last line of a killed daemon must not swallow this one: every line begins with a line break.
        with self.path.open("ab") as file:
            file.write(b"\n" + json.dumps(entry).encode())
            file.flush()
            os.fsync(file.fileno())


def _lines(path: Path) -> Iterable[dict[str, object]]:
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            log.warning("spend_line_torn", path=str(path))
            continue
        if isinstance(entry, dict):
            yield entry
