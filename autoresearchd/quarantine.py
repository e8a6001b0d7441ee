"""The devices that are set aside, from the runs of this session as they end, and the runs they are to blame for."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace

import structlog

from autoresearchd.experiment import Measurement, TreeOid
from autoresearchd.fleet import aside
from autoresearchd.world import Aside

log = structlog.get_logger()
MOST_ENDED = 200
"""Runs that devices are judged by."""


class Quarantine:
    """Of the devices of one daemon."""

    def __init__(self) -> None:
        self.devices: Mapping[str, Aside] = {}
        """Those that fail where others do not, by name."""
        self._ended: deque[Measurement] = deque(maxlen=MOST_ENDED)
        self._blameless: dict[str, TreeOid] = {}

    def note(self, run: Measurement) -> None:
        """A run has ended: its device is set aside, taken back, or neither."""
        # How it ended is all that counts here, and a curve with its log has 100 KiB.
        self._ended.append(replace(run, metrics={}, curve=(), log_tail=""))
        found = aside(self._ended)
        for device, state in found.items():
            self._blameless |= {each.run: each.tree for each in self._ended if each.run in state.runs}
            if device not in self.devices:
                log.warning("device_set_aside", device=device, why=state.why)
        for device in self.devices.keys() - found.keys():
            log.info("device_taken_back", device=device)
        self.devices = found

    def excused(self, trees: Collection[TreeOid]) -> frozenset[str]:
        """The runs that say nothing about the code of these trees; of all others is forgotten what they were."""
        if any(tree not in trees for tree in self._blameless.values()):
            self._blameless = {run: tree for run, tree in self._blameless.items() if tree in trees}
        return frozenset(self._blameless)
