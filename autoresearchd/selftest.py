"""The judge, tried on the user's own target: changes of nothing that runs, in a lab that is thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearchd import service
from autoresearchd.experiment import FALSE_KEEP, NULL, Concluded
from autoresearchd.ledger import Ledger
from autoresearchd.program import load
from autoresearchd.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What came out of it."""

    tried: int
    kept: int
    """Taken for an improvement: each a mistake of the judge."""
    runs: int
    """Trainings of the null experiments."""
    spread: str
    """What the baseline's verdict says of the run-to-run noise."""

    @property
    def sentence(self) -> str:
        extra = (self.runs - self.tried) / self.tried if self.tried else 0.0
        return (
            f"{self.kept} of {self.tried} changes of nothing were taken for an improvement "
            f"({extra:.2f} extra runs each; baseline: {self.spread})"
        )


def self_test(program: Path, count: int, view: service.View) -> SelfTest:
    """Run `count` null experiments on the program's own target and devices.

    Raises: UserError for what a person has to mend first.
    """
    settings = load(program)
    project = program.resolve().parent / settings.program.project
    with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
        lab = Path(folder, "experiments.git")
        Ledger.init(lab, project_path=project)
        service.run(Request(program=program, experiments=count, lab=lab, only_nulls=True), view)
        return _summed_up(Ledger(lab).concluded())


def _summed_up(concluded: Sequence[Concluded]) -> SelfTest:
    nulls = [row for row in concluded if row.experiment.category == NULL]
    return SelfTest(
        tried=len(nulls),
        kept=sum(row.verdict.why.startswith(FALSE_KEEP) for row in nulls),
        runs=sum(row.verdict.runs for row in nulls),
        spread=concluded[0].verdict.why if concluded else "not measured",
    )
