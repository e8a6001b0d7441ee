"""The Ray executor on real nodes: what a run gives there, and what becomes of it when its node dies."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.equipment import parcel_for
from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Ending, Measurement, RunSpec, TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.ledger.packs import pack
from autoresearchd.program import parse
from autoresearchd.ray_cluster import Ray
from autoresearchd.run import Executor, LocalExecutor, parcel
from autoresearchd.run.ray import RayExecutor
from tests.run.room import gone
from tests.support.projects import lab
from tests.support.raynodes import RayCluster

PATIENCE = 300.0
TRAIN = """
import json, os, random, time
from pathlib import Path
GO = Path("@GO")
out, seed = Path(os.environ["AUTORESEARCH_OUT"]), int(os.environ["AUTORESEARCH_SEED"])
draw = random.Random(seed)
loss = 1.0
print("pid", os.getpid(), flush=True)
for step in range(1, 6):
    loss -= draw.random() / 10
    with (out / "metrics.jsonl").open("a") as curve:
        print(json.dumps({"step": step, "seconds": float(step), "train_loss": loss}), file=curve)
    print("step", step, flush=True)
    while step == 3 and not GO.exists():
        time.sleep(0.02)
print("loss:", loss)
"""
PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 5
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[devices]
use = "cpu"
executor = "ray"
[sandbox]
mode = "none"
"""


class Lab:
    """A lab whose trainings wait at their third step until `go`."""

    def __init__(self, folder: Path, cluster: RayCluster | str) -> None:
        self.folder, self._go = folder, folder / "go"
        self._address = cluster if isinstance(cluster, str) else cluster.address
        self.ledger: Ledger = lab(folder / "project", {"train.py": TRAIN.replace("@GO", str(self._go))})
        self.program = parse(PROGRAM)
        self.tree = self.ledger.best().tree

    def go(self) -> None:
        self._go.touch()

    @contextlib.contextmanager
    def executor(self, **settings: object) -> Iterator[RayExecutor]:
        with contextlib.closing(self.unasked(lambda tree: pack(self.ledger.path, tree), **settings)) as found:
            found.probe(lambda: None)
            yield found

    def unasked(self, pack: Callable[[TreeOid], bytes], **settings: object) -> RayExecutor:
        """An executor of the cluster, before any node has said what it is."""
        return RayExecutor(
            Ray(address=self._address, cache=str(self.folder / "cache"), **settings),
            folder=self.folder / "ray",
            template=parcel_for(self.program, self.folder, self.ledger, self.tree, threads=1),
            pack=pack,
        )

    def spec(self, number: int, executor: RayExecutor, *, run: str = "") -> RunSpec:
        device = Device(name=f"ray:{number}", index=number)
        label = executor.probe(lambda: None).environments[""]
        return RunSpec(run=run or f"run-{number}", tree=self.tree, seed=number, device=device, environment=label)

    def measured_here(self, specs: Sequence[RunSpec]) -> list[Measurement]:
        """The same by the local executor."""
        local = LocalExecutor(
            self.program, folder=self.folder, work=self.folder / "runs", checkout=self.ledger.checkout
        )
        with contextlib.closing(local):
            for number, spec in enumerate(specs):
                local.start(replace(spec, device=Device(name=f"cpu:{number}", index=number)))
            return until(local, lambda ended: len(ended) == len(specs))


def until(executor: Executor, done: Callable[[list[Measurement]], bool]) -> list[Measurement]:
    """Poll until `done` of all that has ended so far."""
    ended: list[Measurement] = []
    end = time.monotonic() + PATIENCE
    while not done(ended):
        assert time.monotonic() < end, (ended, executor.progress())
        select.select([executor.fileno()], [], [], 0.1)
        ended += executor.poll(time.time())
    return ended


def pids(executor: RayExecutor) -> dict[str, int]:
    """Of the trainings that wait at their third step."""
    waiting = [progress.spec.run for progress in executor.progress() if progress.step == 3]
    return {run: int(executor.tail(run).split()[1]) for run in waiting}


def test_a_run_whose_node_dies_is_done_again_elsewhere_and_counts_once(tmp_path: Path, cluster: RayCluster) -> None:
    lab, node = Lab(tmp_path, cluster), cluster.join()
    with lab.executor() as executor:
        assert executor.slots == 2
        specs = [lab.spec(number, executor) for number in (0, 1)]
        for spec in specs:
            executor.start(spec)
        until(executor, lambda _: len(pids(executor)) == 2)
        before = pids(executor)
        node.kill()
        until(executor, lambda _: any(progress.phase == "queued" for progress in executor.progress()))
        (orphan,) = (progress.spec.run for progress in executor.progress() if progress.phase == "queued")
        assert gone(before[orphan]), "it trains on, and nobody knows"
        lab.go()
        ended = until(executor, lambda ended: len(ended) == 2)
        assert executor.progress() == []
    assert sorted(measurement.run for measurement in ended) == [spec.run for spec in specs]
    assert {m.run: m.metrics["loss"] for m in ended} == {m.run: m.metrics["loss"] for m in lab.measured_here(specs)}
    assert [m.ending for m in ended] == 2 * [Ending.FINISHED]


def test_a_killed_run_ends_on_its_node_and_the_slot_is_free_again(tmp_path: Path, cluster: RayCluster) -> None:
    lab = Lab(tmp_path, cluster)
    with lab.executor(slots=1) as executor:
        first, second = (lab.spec(0, executor, run=run) for run in ("first", "second"))
        executor.start(first)
        until(executor, lambda _: "first" in pids(executor))
        pid = pids(executor)["first"]
        executor.kill("first")
        assert gone(pid)
        lab.go()
        executor.start(second)
        (measured,) = until(executor, lambda ended: len(ended) == 1)
    assert measured.run == "second"


def test_where_the_driver_dies_its_runs_end_and_the_cluster_is_joined_again(
    tmp_path: Path, cluster: RayCluster
) -> None:
    lab = Lab(tmp_path, cluster)
    with lab.executor(slots=1) as executor:
        executor.start(lab.spec(0, executor))
        until(executor, lambda _: bool(pids(executor)))
        (pid,) = pids(executor).values()
        os.kill(ferry(), signal.SIGKILL)
        assert until(executor, lambda _: not executor.progress()) == []
        assert gone(pid)
        lab.go()
        began = lab.spec(1, executor)
        end = time.monotonic() + PATIENCE
        with pytest.raises(OSError, match=r"the Ray cluster .* cannot be reached .* it is tried again"):
            executor.start(began)
        while not executor.progress():
            assert time.monotonic() < end
            with contextlib.suppress(OSError):  # it has not answered yet
                executor.start(began)
            executor.poll(time.time())
            select.select([executor.fileno()], [], [], 0.1)
        (measured,) = until(executor, lambda ended: len(ended) == 1)
    assert measured.run == began.run


def test_a_slot_whose_node_refused_asks_again_and_one_refusal_speaks_for_no_other_slot(
    tmp_path: Path, cluster: RayCluster
) -> None:
    lab = Lab(tmp_path, cluster)
    end = time.monotonic() + PATIENCE
    with (
        capture_logs() as logged,
        contextlib.closing(lab.unasked(pack=lambda _: b"damaged", slots=2)) as executor,  # with room for one
    ):
        with pytest.raises(UserError, match="the pack of tree"):
            executor.probe(lambda: None)
        assert {entry["device"] for entry in logged if entry["event"] == "node_left_out"} == {"ray:0", "ray:1"}
        (lab.folder / "ray" / "probe" / parcel.PACK_FILE).write_bytes(pack(lab.ledger.path, lab.tree))
        while "node_joined" not in [entry["event"] for entry in logged]:
            assert time.monotonic() < end, logged
            select.select([executor.fileno()], [], [], 0.1)
            executor.poll(time.time())


def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(UserError, match=f"the Ray cluster {nobody} cannot be used: .*Connection refused"),
        Lab(tmp_path, nobody).executor(),
    ):
        pass


def ferry() -> int:
    """The process that drives the cluster for us."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"autoresearchd.run.ferry" in words and f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text():
                return int(entry.name)
    raise AssertionError("no ferry")
