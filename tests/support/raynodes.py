"""A real Ray cluster on one machine: each node a `ray start --block` with cores, folder and processes of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0
END_SECONDS = 60.0
STORE_BYTES = 80 * 2**20
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "240",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "of-the-tests-" + 32 * "0",
    "PYTHONPATH": str(ROOT),
}
"""Of every process that has to do with the cluster, the daemon among them."""


class RayNode:
    """One node; all its processes are of one session."""

    def __init__(self, folder: Path, *where: str, cpus: int = 1) -> None:
        folder.mkdir()
        self.log = folder / "log"
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *where, f"--num-cpus={cpus}"]
        words += [f"--object-store-memory={STORE_BYTES}", f"--temp-dir={folder / 't'}", "--disable-usage-stats"]
        words += ["--num-gpus=0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=folder,
                env={**os.environ, **VARIABLES},
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in (said := self.log.read_text("utf-8", "replace")):
            assert self.process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.1)

    def pids(self, name: str = "") -> list[int]:
        """Its processes; with a name only those of that program."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                head, _, rest = (entry / "stat").read_text().rpartition(")")
                state, _, _, session = rest.split()[:4]
                ours = int(session) == self.process.pid and state not in "ZX"
                if ours and name in ("", head.partition("(")[2]):
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """SIGKILL its raylet: the machine is gone, as far as Ray can tell."""
        (raylet,) = self.pids("raylet")
        os.kill(raylet, signal.SIGKILL)

    def close(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class RayCluster:
    """A head with one core, and more nodes as they are asked for."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._folder, self.address = folder, f"127.0.0.1:{port}"
        self.head = RayNode(folder / "0", "--head", f"--port={port}", "--include-dashboard=false")
        self.others: list[RayNode] = []

    def join(self) -> RayNode:
        folder = self._folder / str(len(self.others) + 1)
        self.others.append(RayNode(folder, f"--address={self.address}"))
        return self.others[-1]

    def close(self) -> None:
        for node in (*self.others, self.head):
            node.close()


@contextlib.contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """In a folder with a short name: sockets are in it. Nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    cluster = None
    try:
        cluster = RayCluster(folder)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
