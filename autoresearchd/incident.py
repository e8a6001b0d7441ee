"""What besides a run went on on its device: said, and weighed by `blame`. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Disturbance(StrEnum):
    """What besides a run went on on its device; the word is written to disk."""

    FOREIGN = "foreign"  # a process that is none of ours computed there
    HELD = "held"  # memory was in use before the run began, by nobody whom the driver names
    THROTTLED = "throttled"  # by heat, or for want of power
    LOST = "lost"  # the device was gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that was seen on a device during a run, in words for a person."""

    kind: Disturbance
    what: str
