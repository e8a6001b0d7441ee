"""experiments.git: the only room that touches pygit2."""

from autoresearchd.ledger.adoption import Adoption, Found, Stranger
from autoresearchd.ledger.backup import back_up, runs_back
from autoresearchd.ledger.handover import Author, Handover, line_onto
from autoresearchd.ledger.housekeeping import FREE_FLOOR_BYTES, Housekeeping
from autoresearchd.ledger.inbox import Idea
from autoresearchd.ledger.index import Entry
from autoresearchd.ledger.lab import Ledger
from autoresearchd.ledger.observed import Finding
from autoresearchd.ledger.project import ProjectState, fetch_commit, project_state
from autoresearchd.ledger.rebase import Course, Fate, line_name
from autoresearchd.ledger.view import Best

__all__ = [
    "FREE_FLOOR_BYTES",
    "Adoption",
    "Author",
    "Best",
    "Course",
    "Entry",
    "Fate",
    "Finding",
    "Found",
    "Handover",
    "Housekeeping",
    "Idea",
    "Ledger",
    "ProjectState",
    "Stranger",
    "back_up",
    "fetch_commit",
    "line_name",
    "line_onto",
    "project_state",
    "runs_back",
]
