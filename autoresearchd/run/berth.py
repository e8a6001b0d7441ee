"""The end of a slot on its node: a Ray actor that has `autoresearchd.node` do one run after another.

It holds the slot's resources for as long as it lives, and what it started dies with it. Knows nothing of Ray.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from autoresearchd.run import parcel
from autoresearchd.run.depot import default_cache, owned
from autoresearchd.run.folders import remove
from autoresearchd.run.spawn import dies_with_us

LOOK_SECONDS = 1.0
STOP_SECONDS = 10.0
PROBE_SECONDS = 300.0
"""For a node to say what it is, once its data is there."""
SAID_BYTES = 2000
SAID_FILE = "said"
NO_ANSWER = ""
ANSWERS = (parcel.MEASUREMENT_FILE, parcel.REFUSED_FILE, parcel.PROBED_FILE)
Answer = tuple[str, bytes]
"""The name of a file that a node writes, and what is in it; or NO_ANSWER, and what the node said at last."""


class Berth:
    """Where the runs of one slot are done. Its methods may be called from several threads, one of each."""

    def __init__(self, cache: str | None) -> None:
        """`cache` is this node's own folder for what stays; None is one in /var/tmp.

        Raises: UserError where it is somebody else's.
        """
        kept = owned(Path(cache) if cache else default_cache())
        self._cache, self._folder = str(kept), _place(kept, os.getpid())
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def probe(self, sent: bytes, packed: bytes) -> Answer:
        """What this node is."""
        limit = PROBE_SECONDS + parcel.bringing_seconds(parcel.parcel(sent).data)
        self.begin(sent, packed, ("--probe",))
        assert self._process is not None
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self.stop()
            return NO_ANSWER, f"the node did not say within {limit:.0f} s what it is".encode()
        return self._answer()

    def begin(self, sent: bytes, packed: bytes, options: Sequence[str] = ()) -> None:
        """Start what a parcel and its tree's pack ask for. Raises: OSError."""
        remove(self._folder)
        self._folder.mkdir(parents=True, mode=0o700)
        (self._folder / parcel.PARCEL_FILE).write_bytes(sent)
        (self._folder / parcel.PACK_FILE).write_bytes(packed)
        node = (*dies_with_us(), sys.executable, "-P", "-m", "autoresearchd.node", str(self._folder))
        words = (*node, "--cache", self._cache, *options)
        with (self._folder / SAID_FILE).open("wb") as said, self._starting:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def look(self) -> Answer:
        """The answer once there is one; else, after LOOK_SECONDS, how far it is."""
        assert self._process is not None
        try:
            self._process.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            return parcel.PROGRESS_FILE, self._read(parcel.PROGRESS_FILE)
        return self._answer()

    def stop(self) -> None:
        """End what was begun; waits STOP_SECONDS at the most."""
        with self._starting:
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _answer(self) -> Answer:
        found = next((name for name in ANSWERS if (self._folder / name).exists()), NO_ANSWER)
        return found, self._read(found) if found else self._read(SAID_FILE)[-SAID_BYTES:]

    def _read(self, name: str) -> bytes:
        try:
            with (self._folder / name).open("rb") as stream:
                return stream.read(parcel.MOST_BYTES + 1)
        except FileNotFoundError:
            return b""


def _place(cache: Path, pid: int) -> Path:
    """A folder in the cache for this process; those of processes that were killed are cleared away."""
    places = cache / "berths"
    places.mkdir(mode=0o700, exist_ok=True)
    for left in places.iterdir():
        if not Path("/proc", left.name).exists():
            shutil.rmtree(left, ignore_errors=True)
    return places / str(pid)
