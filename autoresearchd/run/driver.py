"""The process that drives a Ray cluster, as its owner sees it: two pipes, neither of which is ever waited for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearchd.run.log import one_line
from autoresearchd.run.spawn import PIPE_BYTES

JOIN_SECONDS = 60.0
"""For a cluster to be joined; a head that is gone lets Ray wait for minutes."""
CLOSE_SECONDS = 15.0
READ_BYTES = 2**20
INHERITED = frozenset({"PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"})


class Driver:
    """`autoresearchd.run.ferry`, from its start to its end; it is not started twice."""

    def __init__(self, settings: dict[str, Any], *, folder: Path, epoll: select.epoll) -> None:
        """Start it in `folder`; `epoll` becomes readable when it has news. Raises: OSError."""
        self.joined, self.is_gone = False, False
        self._epoll, self._log = epoll, folder / "ferry.log"
        self._until = time.monotonic() + JOIN_SECONDS
        self._in, self._out, self._why = b"", b"", ""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "autoresearchd.run.ferry", json.dumps(settings)),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder, start_new_session=True,
                env=_environment(),
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for descriptor in (self._to, self._from):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(PermissionError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        epoll.register(self._from, select.EPOLLIN)

    def order(self, **words: str) -> None:
        """Have something done; what does not fit into the pipe goes later."""
        self._out += json.dumps(words).encode() + b"\n"
        self._flush()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it said since the last call."""
        self._flush()
        while not self.is_gone:
            try:
                chunk = os.read(self._from, READ_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                self.close()
            self._in += chunk
        *lines, self._in = self._in.split(b"\n")
        for line in lines:
            news = json.loads(line)
            self.joined = self.joined or news["event"] == "joined"
            yield news
        if not (self.joined or self.is_gone) and time.monotonic() > self._until:
            self._why = f"it does not answer within {JOIN_SECONDS:g} s"
            self.close()

    def last_words(self) -> str:
        """Why it has ended."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return self._why or next((one_line(line) for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """End it, and with it all that it has on the cluster. Waits CLOSE_SECONDS at the most."""
        if self.is_gone:
            return
        self.is_gone = True
        self._epoll.unregister(self._from)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS if self.joined else 0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._out and not self.is_gone:
                self._out = self._out[os.write(self._to, self._out) :]


def _environment() -> dict[str, str]:
    """What the ferry gets of ours: how to reach the cluster, and no keys."""
    kept = {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith("RAY_")}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0"}
