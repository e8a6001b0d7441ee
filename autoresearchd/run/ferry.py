"""The driver of a Ray cluster, a process of its own: `python -m autoresearchd.run.ferry`, started by `run.driver`.

Ray ends the process that drives it when a cluster is lost, and waits where it likes: neither may happen to the daemon.
Takes orders as JSON lines and gives news as JSON lines; it ends with its standard input, and its actors end with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from autoresearchd.run import parcel
from autoresearchd.run.berth import Berth

ATTEMPTS = 5
"""Of one run that nodes die under or refuse, before the daemon is told."""
ANY = ""
"""The slot of a run that was refused by its own, or whose node died."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
KNOCK_SECONDS = 10.0
LINE_BYTES = 2**20


@dataclass(slots=True, eq=False)
class Cargo:
    """A run that waits for a slot, or is in one."""

    run: str
    slot: str
    """Where it should go; any other will do where that one has no node."""
    folder: Path
    attempts: int = 0
    stopped: bool = False
    berth: Any = None

    def content(self) -> tuple[bytes, bytes]:
        return (self.folder / parcel.PARCEL_FILE).read_bytes(), (self.folder / parcel.PACK_FILE).read_bytes()


@dataclass(slots=True, eq=False)
class Ferry:
    """Slots, the runs that wait for them, and the ends of the two pipes."""

    options: dict[str, Any]
    """Of each actor."""
    cache: str | None
    probe: Cargo
    out: int
    waiting: deque[Cargo] = field(default_factory=deque)
    cargos: dict[str, Cargo] = field(default_factory=dict)
    manned: set[str] = field(default_factory=set)
    """Slots that have a node."""
    taken: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Something waits that did not, or may be taken by others than before."""

    def tell(self, event: str, **news: object) -> None:
        os.write(self.out, json.dumps({"event": event, **news}).encode() + b"\n")

    def obey(self, order: dict[str, str]) -> None:
        """One line of the daemon's."""
        if order["do"] == "start":
            cargo = Cargo(run=order["run"], slot=order["slot"], folder=Path(order["folder"]))
            self.cargos[cargo.run] = cargo
            self._queue(cargo)
        elif order["do"] == "take":
            self.taken.pop(order["slot"]).set_result(None)
        else:
            self._kill(order["run"])

    def _kill(self, run: str) -> None:
        cargo = self.cargos.pop(run, None)
        if cargo is None:
            return
        cargo.stopped = True
        if cargo in self.waiting:
            self.waiting.remove(cargo)
        elif cargo.berth is not None:
            cargo.berth.stop.remote()

    async def man(self, slot: str) -> None:
        """Keep one slot at work for ever: an actor on some node, and a new one whenever that is lost."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            berth: Any = ray.remote(Berth).options(**self.options).remote(self.cache)
            try:
                name, said = await berth.probe.remote(*self.probe.content())
                if name == parcel.PROBED_FILE:
                    pause = FIRST_PAUSE_SECONDS
                    self.taken[slot] = asyncio.get_running_loop().create_future()
                self.tell("probed", slot=slot, name=name, text=_text(said))
                if name == parcel.PROBED_FILE:
                    await self._work(berth, slot)
            except RayError as error:
                self.tell("node_lost", slot=slot, why=_why(error))
            finally:
                self.manned.discard(slot)
                self.changed.set()  # what waits for this slot may go to another
                ray.kill(berth)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _work(self, berth: Any, slot: str) -> None:
        """Do the runs of a slot, for ever; the daemon does not take a node that is of no use to it."""
        await self.taken[slot]
        self.manned.add(slot)
        while True:
            await self._carry(berth, await self._next(slot))

    async def _carry(self, berth: Any, cargo: Cargo) -> None:
        """Do one run. Raises: RayError where the node is lost; the run waits for another then."""
        cargo.berth, cargo.attempts, seen = berth, cargo.attempts + 1, b""
        try:
            sent, packed = cargo.content()
        except FileNotFoundError:
            return  # the daemon wants it no more, and will say so
        try:
            await berth.begin.remote(sent, packed)
            if cargo.stopped:
                await berth.stop.remote()
            while (answer := await berth.look.remote())[0] == parcel.PROGRESS_FILE:
                if answer[1] != seen and not cargo.stopped:
                    self.tell("live", run=cargo.run, text=_text(seen := answer[1]))
        except RayError as error:
            self._again(cargo, _why(error))
            raise
        finally:
            cargo.berth = None
        if answer[0] == parcel.MEASUREMENT_FILE and not cargo.stopped:
            del self.cargos[cargo.run]
            self.tell("over", run=cargo.run, text=_text(answer[1]))
        elif answer[0] != parcel.MEASUREMENT_FILE:
            self._again(cargo, _text(answer[1]) if answer[0] else f"no answer: {_text(answer[1])}")

    def _again(self, cargo: Cargo, why: str) -> None:
        """Have a run done once more, after a pause, by any slot but one that is at work."""
        if cargo.stopped:
            return
        if cargo.attempts >= ATTEMPTS:
            del self.cargos[cargo.run]
            self.tell("lost", run=cargo.run, why=why)
            return
        self.tell("queued", run=cargo.run, why=why)
        cargo.slot = ANY
        pause = FIRST_PAUSE_SECONDS * 2.0 ** (cargo.attempts - 1)
        asyncio.get_running_loop().call_later(pause, self._queue, cargo)

    def _queue(self, cargo: Cargo) -> None:
        if not cargo.stopped:
            self.waiting.append(cargo)
            self.changed.set()

    async def _next(self, slot: str) -> Cargo:
        """The next run for a slot: its own, or one that any may do."""
        while (cargo := self._fitting(slot)) is None:
            self.changed.clear()
            await self.changed.wait()
        self.waiting.remove(cargo)
        return cargo

    def _fitting(self, slot: str) -> Cargo | None:
        own = next((cargo for cargo in self.waiting if cargo.slot == slot), None)
        return own or next((cargo for cargo in self.waiting if cargo.slot not in self.manned), None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m autoresearchd.run.ferry", description=__doc__)
    parser.add_argument("settings", type=json.loads)
    settings = parser.parse_args().settings
    out = os.dup(1)
    os.dup2(2, 1)  # whatever Ray prints is no news
    _knock(settings["address"])
    ray.init(address=settings["address"], log_to_driver=False, logging_level=logging.ERROR, namespace="autoresearchd")
    try:
        asyncio.run(_serve(settings, out))
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray would wait for minutes. Raises: OSError."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


async def _serve(settings: dict[str, Any], out: int) -> None:
    options = {"max_concurrency": 4, "max_restarts": 0, **settings["options"]}
    probe = Cargo(run="probe", slot="", folder=Path(settings["probe"]))
    ferry = Ferry(options=options, cache=settings["cache"], probe=probe, out=out)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    slots = settings["slots"] or room(resources, options)
    ferry.tell("joined", slots=slots, resources=resources)
    manning = [asyncio.create_task(ferry.man(f"ray:{number}")) for number in range(slots)]
    orders = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(_listen(ferry, orders))
        for task in manning:
            group.create_task(_watched(task))
        await listening
        for task in manning:
            task.cancel()


async def _watched(task: asyncio.Task[None]) -> None:
    try:
        await task
    except asyncio.CancelledError:
        return


async def _listen(ferry: Ferry, orders: asyncio.StreamReader) -> None:
    while line := await orders.readline():
        ferry.obey(json.loads(line))


def room(resources: dict[str, float], options: dict[str, Any]) -> int:
    """How many slots a cluster has room for at once, by all that its nodes have together."""
    asked = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options["resources"]}
    return int(min(resources.get(name, 0.0) // amount for name, amount in asked.items() if amount))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _why(error: RayError) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


if __name__ == "__main__":
    main()
