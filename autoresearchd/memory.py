"""What one loop keeps between steps, part by part. All but the live troubles is read again from git at every start."""

from __future__ import annotations

from autoresearchd.archive import Archive
from autoresearchd.backoff import Backoff
from autoresearchd.experiment import Concluded, Measurement
from autoresearchd.figures import Figures
from autoresearchd.ledger import Ledger
from autoresearchd.quarantine import Quarantine

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 30.0, 1800.0
"""Of the machine, after something could not be done."""


class Memory:
    """One loop's memory."""

    def __init__(self, ledger: Ledger) -> None:
        self.archive = Archive(ledger)
        self.figures = Figures()
        self.quarantine = Quarantine()
        self.trouble = Backoff(first_seconds=FIRST_REST_SECONDS, longest_seconds=LONGEST_REST_SECONDS)
        """What this machine could not do a moment ago; it rests longer each time until a run is filed again."""
        self._news: list[Concluded] = []

    def concluded(self, concluded: Concluded) -> None:
        """An experiment has its verdict."""
        self.archive.concluded(concluded)
        self.figures.conclude(concluded)
        self._news.append(concluded)

    def filed(self, run: Measurement, *, on_rung: bool) -> None:
        """A run is in the ledger; one on a rung above the first says nothing about its device."""
        self.archive.filed(run)
        self.figures.train(run, on_rung=on_rung)
        self.trouble.succeeded()
        if not on_rung:
            self.quarantine.note(run)

    def take_news(self) -> tuple[Concluded, ...]:
        """What was concluded since the last call, in that order."""
        fresh, self._news = tuple(self._news), []
        return fresh
