"""The Ray executor on real nodes: what a run gives there, and what becomes of it when its node dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import UserError
from autoresearchd.experiment import Ending
from autoresearchd.ledger.packs import pack
from autoresearchd.run import parcel
from tests.ray.labs import Lab, measured, pids
from tests.run.room import gone
from tests.support.patience import until
from tests.support.raynodes import RayCluster


def test_a_run_whose_node_dies_is_done_again_elsewhere_and_counts_once(tmp_path: Path, cluster: RayCluster) -> None:
    lab, node = Lab(tmp_path, cluster), cluster.join()
    with lab.executor() as executor:
        assert executor.slots == 2
        specs = [lab.spec(number, executor) for number in (0, 1)]
        for spec in specs:
            executor.start(spec)
        measured(executor, lambda _: len(pids(executor)) == 2)
        before = pids(executor)
        node.kill()
        measured(executor, lambda _: any(progress.phase == "queued" for progress in executor.progress()))
        (orphan,) = (progress.spec.run for progress in executor.progress() if progress.phase == "queued")
        assert gone(before[orphan]), "it trains on, and nobody knows"
        lab.go()
        ended = measured(executor, lambda ended: len(ended) == 2)
        assert executor.progress() == []
    assert sorted(measurement.run for measurement in ended) == [spec.run for spec in specs]
    assert {m.run: m.metrics["loss"] for m in ended} == {m.run: m.metrics["loss"] for m in lab.measured_here(specs)}
    assert [m.ending for m in ended] == 2 * [Ending.FINISHED]


def test_a_killed_run_ends_on_its_node_and_the_slot_is_free_again(tmp_path: Path, cluster: RayCluster) -> None:
    lab = Lab(tmp_path, cluster)
    with lab.executor(slots=1) as executor:
        first, second = (lab.spec(0, executor, run=run) for run in ("first", "second"))
        executor.start(first)
        measured(executor, lambda _: "first" in pids(executor))
        pid = pids(executor)["first"]
        executor.kill("first")
        assert gone(pid)
        lab.go()
        executor.start(second)
        (only,) = measured(executor, lambda ended: len(ended) == 1)
    assert only.run == "second"


def test_where_the_driver_dies_its_runs_end_and_the_cluster_is_joined_again(
    tmp_path: Path, cluster: RayCluster
) -> None:
    lab = Lab(tmp_path, cluster)
    with lab.executor(slots=1) as executor:
        executor.start(lab.spec(0, executor))
        measured(executor, lambda _: bool(pids(executor)))
        (pid,) = pids(executor).values()
        os.kill(ferry(), signal.SIGKILL)
        assert measured(executor, lambda _: not executor.progress()) == []
        assert gone(pid)
        lab.go()
        began = lab.spec(1, executor)
        with pytest.raises(OSError, match=r"the Ray cluster .* cannot be reached .* it is tried again"):
            executor.start(began)

        def is_begun() -> bool:
            executor.poll(time.time())
            with contextlib.suppress(OSError):  # it has not answered yet
                executor.start(began)
            return bool(executor.progress())

        until(is_begun)
        (only,) = measured(executor, lambda ended: len(ended) == 1)
    assert only.run == began.run


def test_a_slot_whose_node_refused_asks_again_and_one_refusal_speaks_for_no_other_slot(
    tmp_path: Path, cluster: RayCluster
) -> None:
    lab = Lab(tmp_path, cluster)
    with (
        capture_logs() as logged,
        contextlib.closing(lab.unasked(pack=lambda _: b"damaged", slots=2)) as executor,  # with room for one
    ):
        with pytest.raises(UserError, match="the pack of tree"):
            executor.probe(lambda: None)
        assert {entry["device"] for entry in logged if entry["event"] == "node_left_out"} == {"ray:0", "ray:1"}
        (lab.folder / "ray" / "probe" / parcel.PACK_FILE).write_bytes(pack(lab.ledger.path, lab.tree))
        measured(executor, lambda _: "node_joined" in [entry["event"] for entry in logged])


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
