"""The training curve from metrics.jsonl, read as it grows: bounded, and tolerant to whatever a target writes there."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from autoresearchd.experiment import CurvePoint
from autoresearchd.run.folders import open_untrusted

MOST_POINTS = 512
LINE_BYTES = 4096
CHUNK_BYTES = 2**18
FINAL_CHUNKS = 64
"""Of a longer file the rest is not read: 16 MiB hold any honest curve."""


class Curve:
    """Points of one run in the order of training; thinned evenly so that there are never more than MOST_POINTS."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._torn = b""
        self._kept: list[CurvePoint] = []
        self._stride, self._seen = 1, 0
        self.last: CurvePoint | None = None
        self.diverged = False
        """A line said that the loss is not finite."""

    def read(self) -> bool:
        """Take what was appended since the last call, at most CHUNK_BYTES; False when there was nothing."""
        try:
            if self._path.lstat().st_size <= self._offset:
                return False
            file = open_untrusted(self._path)
        except OSError:
            return False  # not there yet, or no file at all: a run without a curve
        with os.fdopen(file, "rb", buffering=0) as stream:
            stream.seek(self._offset)
            chunk = stream.read(CHUNK_BYTES) or b""
        self._offset += len(chunk)
        self.feed(chunk)
        return bool(chunk)

    def read_all(self) -> None:
        """Take the rest of a file that grows no more."""
        for _ in range(FINAL_CHUNKS):
            if not self.read():
                return

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the file; a last line without its end waits for the next piece."""
        *lines, torn = (self._torn + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        # A line that grows beyond all bounds is no point: one byte more than allowed keeps it refused.
        self._torn = torn[: LINE_BYTES + 1]

    def points(self) -> tuple[CurvePoint, ...]:
        """The curve so far; its last point is always the newest."""
        if self.last is None or self._kept[-1] is self.last:
            return tuple(self._kept)
        return (*self._kept, self.last)

    def _take(self, line: bytes) -> None:
        point = self._parse(line)
        if point is None or (self.last is not None and point.step <= self.last.step):
            return
        self.last = point
        if self._seen % self._stride == 0:
            if len(self._kept) == MOST_POINTS - 1:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(point)
        self._seen += 1

    def _parse(self, line: bytes) -> CurvePoint | None:
        if len(line) > LINE_BYTES:
            return None
        try:
            said = json.loads(line)
            step, seconds, loss = said["step"], float(said["seconds"]), float(said["train_loss"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None  # garbage in a curve is no reason to end a run
        self.diverged = self.diverged or not math.isfinite(loss)
        if type(step) is not int or not 0 <= step < 2**53 or not (math.isfinite(loss) and 0 <= seconds < math.inf):
            return None
        if self.last is not None and seconds < self.last.seconds:
            return None
        return CurvePoint(step=step, seconds=seconds, train_loss=loss)
