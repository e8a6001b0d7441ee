"""What a person asked of one start of the daemon, laid over program.toml. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoresearchd.program import Ablation, Nulls, Program
from autoresearchd.world import Session

RIVALS = ("space", "patterns", "refine", "retest", "combine", "llm", "command")
"""The proposers that can be switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of one start; None leaves it to program.toml."""

    program: Path
    experiments: int | None = None
    hours: float | None = None
    target: float | None = None
    """In place of `metric.target`."""
    lab: Path | None = None
    """In place of `program.experiments`."""
    metrics_port: int | None = None
    """In place of `service.metrics_port`."""
    only_nulls: bool = False
    """Propose nothing but changes of nothing that runs: a test of the judge."""
    only_ablations: bool = False
    """Propose nothing but best without one of its steps, until each has been taken out; no budget but its own."""
    parts: bool = False
    """The parts of the steps as well."""

    def over(self, program: Program) -> Program:
        """The program as this start is to follow it."""
        if self.target is not None:
            program = _updated(program, "metric", target=self.target)
        if self.lab is not None:
            program = _updated(program, "program", experiments=str(self.lab.resolve()))
        if self.metrics_port is not None:
            program = _updated(program, "service", metrics_port=self.metrics_port)
        if self.only_nulls:
            program = _updated(program, "propose", null=Nulls(every=1))
        if self.only_ablations:
            off = {name: getattr(program.propose, name).model_copy(update={"enabled": False}) for name in RIVALS}
            ablate = Ablation(every=1, parts=self.parts)
            program = _updated(program, "propose", **off, null=Nulls(every=0), ablate=ablate)
            program = _updated(program, "budget", experiments=None)
        return program

    def session(self, program: Program, now: float) -> Session:
        """The session that begins at `now`, in Unix time."""
        return Session(
            started=now,
            experiments=self.experiments,
            deadline=self.deadline(program, now),
            until_exhausted="each kept change was taken out once" if self.only_ablations else "",
        )

    def deadline(self, program: Program, started: float) -> float | None:
        """When the session that was `started` then begins nothing new, in Unix time; None where no hours are set."""
        hours = self.hours if self.hours is not None else program.budget.hours
        return None if hours is None else started + hours * 3600


def _updated(program: Program, section: str, **values: object) -> Program:
    return program.model_copy(update={section: getattr(program, section).model_copy(update=values)})
