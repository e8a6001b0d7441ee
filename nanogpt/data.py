"""Token files, read from disk without copying them into memory, and the batches a training is fed with.

Not for experiments to change: every run must see the same data. Writes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nanogpt.contract import WrongUse

FORMAT = 1
"""Version of the layout below; part of meta.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """One split: documents one after the other, each begun by the boundary token."""

    tokens: np.ndarray[Any, Any]
    """Memory-mapped, uint8 or uint16."""
    starts: np.ndarray[Any, Any]
    """Where each document's boundary token lies; one more at the end: the number of tokens."""
    raw_bytes: np.ndarray[Any, Any]
    """Length of each document in the source, counted before any tokenizer saw it."""
    vocab_size: int
    sha256: str

    def document(self, index: int) -> np.ndarray[Any, Any]:
        """Tokens of a document, the boundary first."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]


def open_tokens(folder: Path) -> TokenFile:
    """Open a split that `prepare` made.

    Raises: WrongUse when it is not there, or not what meta.json says.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        documents = np.load(folder / "documents.npy")
        tokens = np.memmap(folder / "tokens.bin", dtype=np.dtype(meta["dtype"]), mode="r")
    except FileNotFoundError as error:
        raise WrongUse(f"{folder} has no {Path(error.filename).name}; make it: python -m nanogpt.prepare") from error
    if meta["format"] != FORMAT or len(tokens) != meta["tokens"] or len(documents) != meta["documents"]:
        raise WrongUse(f"{folder} is damaged or of another version; remove it and run: python -m nanogpt.prepare")
    return TokenFile(
        tokens=tokens,
        starts=np.append(documents[:, 0], len(tokens)),
        raw_bytes=documents[:, 1],
        vocab_size=meta["vocab_size"],
        sha256=meta["sha256"],
    )


class Batches:
    """Endless random windows of the token file: `next()` gives inputs and targets, each (B, T), on the device.

    The windows depend on the seed only. On a GPU, two pinned buffers take turns: while the device computes on one batch
    the next one is copied on a stream of its own. No buffer is written while anything may still read it: the host
    fills a pinned buffer after its last copy has ended, and a copy overwrites a device buffer after the step that used
    it. So the host is never more than a few steps ahead, without one wait for the device's own work.
    """

    def __init__(self, file: TokenFile, *, batch: int, length: int, seed: int, device: torch.device) -> None:
        if len(file.tokens) <= length:
            raise WrongUse(f"the training data has {len(file.tokens)} tokens, a window needs more than {length}")
        self._tokens, self._batch, self._length, self._device = file.tokens, batch, length, device
        self._random = np.random.default_rng(seed)
        self._turn = 0
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pinned = [torch.empty(batch, length + 1, dtype=torch.long, pin_memory=True) for _ in range(2)]
            self._buffers = [torch.empty(batch, length + 1, dtype=torch.long, device=device) for _ in range(2)]
            self._copied = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
            self._used = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the memory of the buffers is really ours
            self._fill(0)

    def next(self) -> tuple[Tensor, Tensor]:
        block = self._swap() if self._device.type == "cuda" else torch.from_numpy(self._draw())
        return block[:, :-1], block[:, 1:]

    def _draw(self) -> np.ndarray[Any, Any]:
        # One window from each stretch of the file: every batch is as mixed as the whole, so seeds differ less.
        stretch = (len(self._tokens) - self._length) / self._batch
        starts = ((np.arange(self._batch) + self._random.random(self._batch)) * stretch).astype(np.int64)
        windows = starts[:, None] + np.arange(self._length + 1)
        drawn: np.ndarray[Any, Any] = self._tokens[windows].astype(np.int64)
        return drawn

    def _swap(self) -> Tensor:
        """The batch that was begun last time; begins the next one in the other pair of buffers."""
        ready, free = self._turn, 1 - self._turn
        # All steps on the other buffer are queued by now, and so is this mark behind them.
        self._used[free].record()
        self._fill(free)
        torch.cuda.current_stream().wait_event(self._copied[ready])
        self._turn = free
        return self._buffers[ready]

    def _fill(self, slot: int) -> None:
        self._copied[slot].synchronize()  # of this pinned buffer's last copy, not of the device's work
        self._pinned[slot].numpy()[:] = self._draw()
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._used[slot])
            self._buffers[slot].copy_(self._pinned[slot], non_blocking=True)
            self._copied[slot].record()
