"""Says once in the log what lasts: why nothing is started, why nobody has an idea, and which runs were slowed down."""

from __future__ import annotations

import structlog

from autoresearchd import announce
from autoresearchd.blame import disturbed
from autoresearchd.experiment import Measurement
from autoresearchd.holds import hold
from autoresearchd.memory import Memory
from autoresearchd.screening import views
from autoresearchd.world import World

log = structlog.get_logger()


class Notices:
    """What one daemon has said already."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._held = self._lack = ""
        self._disturbed: set[str] = set()

    def look(self, world: World) -> None:
        """Say what is new in this world."""
        held = hold(world)
        why = held[0] if held else ""
        if why != self._held:
            log.warning("held", why=why) if why else log.info("resumed")
            self._held = why
        if world.ideas.lack != self._lack:
            self._lack = world.ideas.lack
            if self._lack:
                log.warning("no_idea", why=self._lack)
        for run in (run for view in views(world) for run in disturbed(view)):
            if run.run not in self._disturbed:
                self._say_disturbed(run)
        if self._disturbed:  # of trees that matter no more it is not asked again
            self._disturbed &= {run.run for runs in world.runs.values() for run in runs}

    def _say_disturbed(self, run: Measurement) -> None:
        why = "; ".join(incident.what for incident in run.incidents) or "far slower than the same code before"
        announce.run_disturbed(run, self._memory.archive.number_of(run.tree), why)
        self._disturbed.add(run.run)
        self._memory.figures.disturb(why)
