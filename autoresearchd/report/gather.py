"""Reads a lab for the views: ledger, filed runs and status.json become one value. Reads only, at any moment."""

from __future__ import annotations

from autoresearchd import weighing
from autoresearchd.archive import Archive
from autoresearchd.experiment import Environment
from autoresearchd.ledger import Ledger
from autoresearchd.program import Program
from autoresearchd.report import status as reading
from autoresearchd.report.facts import Source
from autoresearchd.report.scales import scales


def gather(ledger: Ledger, program: Program, *, now: float) -> Source:
    """What the lab holds now; whoever asks again refreshes the ledger first."""
    concluded = list(ledger.concluded())  # each is parsed once, however often it is gone through
    best, archive, metric = ledger.best_record(), Archive(ledger), program.metric
    environment = best.verdict.environment if best else Environment("")
    scale = weighing.scale(ledger, environment, metric)
    data, holder = reading.look(ledger)
    return Source(
        now=now,
        program=program,
        concluded=concluded,
        scales=scales(ledger, concluded),
        imported=ledger.imported(),
        refused=ledger.refused(),
        opened=ledger.opened(),
        spread=archive.spread(environment, program, scale),
        audits=archive.audits(environment, metric.name),
        status=reading.typed(data),
        is_running=reading.is_fresh(data, holder),
    )
