"""The executor of a Ray cluster: every run is done by an actor on some node, and driven by a process of its own.

That process may wait, hang or be ended by Ray; the loop only writes it orders and reads its news. A run whose node
dies is done again on another; one whose driver dies is lost, and planned anew.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from autoresearchd.errors import CorruptRecord, NotYet, UserError
from autoresearchd.experiment import Device, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.ray_cluster import Ray
from autoresearchd.run import parcel
from autoresearchd.run.driver import Driver
from autoresearchd.run.far import FarRuns
from autoresearchd.run.folders import remove
from autoresearchd.run.log import one_line
from autoresearchd.run.parcel import Parcel, Probed

logger = structlog.get_logger()
PROBE_SECONDS = 600.0
"""For the first node to say what it is, once its data is there."""


class RayExecutor:
    """Satisfies `Executor`. One thread owns it."""

    def __init__(self, settings: Ray, *, folder: Path, template: Parcel, pack: Callable[[TreeOid], bytes]) -> None:
        """`folder` is this lab's own, and what lies in it goes; `template` is a parcel with a probe for its spec.

        Raises: UserError without Ray, OSError.
        """
        if importlib.util.find_spec("ray") is None:
            raise UserError('devices.executor = "ray" needs Ray: pip install ray')
        self._settings, self._template, self._pack, self._folder = settings, template, pack, folder
        self._runs = FarRuns()
        self._accepted: Probed | None = None
        self._no_room = ""
        self._useless: dict[str, str] = {}
        """By slot: why the node that it had last is not used."""
        self.slots = 0
        """As many as the cluster has room for; 0 until it was joined."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.iterdir():
            remove(left)
        self._epoll = select.epoll()
        self._driver = Driver(self._settled(), folder=folder, epoll=self._epoll)

    def probe(self, waits: Callable[[], None]) -> Probed:
        """What the first node is that answers; `waits` is called every second until then.

        Raises: NotYet where there is no cluster, no room in it, or no node that can do runs.
        """
        until = time.monotonic() + PROBE_SECONDS + parcel.bringing_seconds(self._template.data)
        while self._accepted is None:
            self._listen()
            if self._accepted is None:
                if why := self._hopeless(late=time.monotonic() > until):
                    raise NotYet(f"{self._cluster} cannot be used: {why}")
                waits()
                select.select([self.fileno()], [], [], 1.0)
        return self._accepted

    def start(self, spec: RunSpec) -> None:
        """Begin a run; it counts as live until `poll` has returned its Measurement.

        Raises: OSError while the cluster cannot be reached, and once after it has lost a run; CorruptRecord where the
        tree cannot be read.
        """
        why = self._runs.take_trouble()
        if self._driver.is_gone:
            why = f"{self._cluster} cannot be reached ({self._driver.last_words()}); it is tried again"
            self._driver = Driver(self._settled(), folder=self._folder, epoll=self._epoll)
        elif not self._driver.joined:
            why = why or f"{self._cluster} has not answered yet"
        if why:
            raise OSError(why)
        assert self._accepted is not None
        place = self._folder / spec.run
        self._put(place, replace(self._template, spec=spec, ahead=self._accepted.ahead))
        self._driver.order(do="start", run=spec.run, slot=spec.device.name, folder=str(place))
        self._runs.queue(spec)

    def poll(self, now: float) -> Sequence[Measurement]:
        """The runs that ended since the last call. One that no node could do, or that was under way when the cluster
        was lost, gives none: it is no longer live."""
        del now  # deadlines are kept on the nodes
        return self._listen()

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        return self._runs.progress()

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far; empty for any other run."""
        return self._runs.tail(run)

    def residents(self, device: Device) -> Sequence[str]:
        """Nobody: who else is on its node is seen during a run."""
        return self._runs.residents(device)

    def kill(self, run: str) -> None:
        """End a live run; it yields no Measurement. It ends as soon as its node hears of it."""
        if self._runs.end(run) is not None:
            self._driver.order(do="kill", run=run)
            remove(self._folder / run)

    def fileno(self) -> int:
        """Becomes readable when the driver has news."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Leave the cluster: what is live ends with it. Waits some seconds at the most."""
        self._runs.clear()
        self._driver.close()
        self._epoll.close()

    @property
    def _cluster(self) -> str:
        address = self._settings.address
        return "the Ray cluster that this machine is a node of" if address == "auto" else f"the Ray cluster {address}"

    def _hopeless(self, *, late: bool) -> str:
        """Why no node will be found that can be used; empty while one may be."""
        if self._no_room or self._driver.is_gone:
            return self._no_room or self._driver.last_words()
        if late or 0 < self.slots <= len(self._useless):
            return next(iter(self._useless.values()), "no node has answered")
        return ""

    def _settled(self) -> dict[str, Any]:
        """What a driver is started with."""
        settings, on_cpu = self._settings, self._template.program.devices.use == "cpu"
        self._put(self._folder / "probe", self._template)
        options = {"num_cpus": settings.cpus, "num_gpus": 0 if on_cpu else settings.gpus}
        return {
            "address": settings.address,
            "slots": self.slots or settings.slots,
            "cache": settings.cache,
            "probe": str(self._folder / "probe"),
            "options": {**options, "resources": settings.resources},
        }

    def _put(self, place: Path, sent: Parcel) -> None:
        place.mkdir(mode=0o700, exist_ok=True)
        (place / parcel.PARCEL_FILE).write_bytes(parcel.dump(sent))
        (place / parcel.PACK_FILE).write_bytes(self._pack(sent.spec.tree))

    def _listen(self) -> list[Measurement]:
        """Take the driver's news."""
        ended = []
        for news in self._driver.news():
            spec = self._runs.spec(news.get("run", ""))
            if spec is not None:
                measured = self._heard(news, spec)
                ended += [measured] if measured is not None else []
            elif news["event"] == "joined":
                self._joined(news)
            elif news["event"] == "probed":
                self._probed(news)
            elif news["event"] == "node_lost":
                logger.warning(
                    "node_lost", device=news["slot"], why=one_line(news["why"]), then="another is looked for"
                )
        if self._driver.is_gone:
            for spec in self._runs.specs():
                self._lose(spec, f"{self._cluster} was lost: {self._driver.last_words()}")
        return ended

    def _heard(self, news: dict[str, Any], spec: RunSpec) -> Measurement | None:
        """News of a live run. What cannot be believed is a run lost."""
        why = one_line(news.get("why", ""))
        try:
            if news["event"] == "live":
                self._runs.heard(parcel.live(news["text"].encode(), spec))
                return None
            if news["event"] == "queued":
                logger.warning("run_waits", run=spec.run, why=why, then="it is done on another node")
                self._runs.queue(spec)
                return None
            measured = parcel.measurement(news["text"].encode(), spec) if news["event"] == "over" else None
        except CorruptRecord as error:
            measured, why = None, f"what came back cannot be read: {error}"
            self._driver.order(do="kill", run=spec.run)
        if measured is None:
            self._lose(spec, why)
        else:
            self._runs.end(spec.run)
            remove(self._folder / spec.run)
        return measured

    def _joined(self, news: dict[str, Any]) -> None:
        self.slots = self.slots or int(news["slots"])
        logger.info("cluster_joined", slots=self.slots, resources=news["resources"])
        if not self.slots:
            self._no_room = f"it has no room for a slot: it has {_amounts(news['resources'])}"

    def _probed(self, news: dict[str, Any]) -> None:
        """A node waits for runs: it gets some where its numbers may be compared with those of the first one."""
        if news["name"] != parcel.PROBED_FILE:
            self._left_out(news["slot"], _said(news))
            return
        try:
            found = parcel.probed(news["text"].encode())
        except CorruptRecord as error:
            self._left_out(news["slot"], str(error))
            return
        first = self._accepted = self._accepted or found
        self._useless.pop(news["slot"], None)
        if found.environments != first.environments:
            self._left_out(news["slot"], f"{found.host} is {found.environments['']}, not {first.environments['']}")
        else:
            logger.info("node_joined", device=news["slot"], host=found.host, environment=found.environments[""])
            self._driver.order(do="take", slot=news["slot"])

    def _left_out(self, slot: str, why: str) -> None:
        logger.warning("node_left_out", device=slot, why=one_line(why))
        self._useless[slot] = one_line(why)

    def _lose(self, spec: RunSpec, why: str) -> None:
        self._runs.lose(spec, why)
        remove(self._folder / spec.run)


def _said(news: dict[str, Any]) -> str:
    """What a node said that would not be probed."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(news["text"])["why"])
    return one_line(news["text"]) or "it said nothing"


def _amounts(resources: dict[str, float]) -> str:
    named = {
        name: amount for name, amount in resources.items() if not name.startswith(("node:", "object_store", "mem"))
    }
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(named.items())) or "no node"
