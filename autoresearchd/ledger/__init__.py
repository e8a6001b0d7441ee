"""experiments.git: the only room that touches pygit2."""

from autoresearchd.ledger.backup import back_up
from autoresearchd.ledger.handover import Author, Handover, line_onto
from autoresearchd.ledger.history import Entry
from autoresearchd.ledger.housekeeping import FREE_FLOOR_BYTES, Housekeeping
from autoresearchd.ledger.inbox import Idea
from autoresearchd.ledger.invariants import Finding
from autoresearchd.ledger.lab import Best, Ledger
from autoresearchd.ledger.project import ProjectState, project_state

__all__ = [
    "FREE_FLOOR_BYTES",
    "Author",
    "Best",
    "Entry",
    "Finding",
    "Handover",
    "Housekeeping",
    "Idea",
    "Ledger",
    "ProjectState",
    "back_up",
    "line_onto",
    "project_state",
]
