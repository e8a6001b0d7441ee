"""The measure: `python -m nanogpt.evaluate` gives bits per byte of the raw text, with its standard error.

The experiment's model runs in two processes that see neither the held-out data nor the result. The first commits to
what every document costs; then the second, fresh one is given a few documents drawn at random - first with their ends
changed, then as they are, then shuffled - and must agree, by logits alone. Not for experiments to change.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nanogpt import apart
from nanogpt.answer import LONGEST_CONTEXT, Answerer
from nanogpt.contract import Dishonest, Order, WrongUse, read_order, run_as_command, write_result
from nanogpt.data import TokenFile, open_tokens

CPU_TOKENS, CUDA_TOKENS = 2**16, 2**24
"""Whole documents from the start of the split, up to this many tokens."""
CPU_LOGITS, CUDA_LOGITS = 2**19, 2**25
"""Numbers of one batch of logits: 2 MiB, 128 MiB."""
CPU_AUDIT, CUDA_AUDIT = 2**21, 2**26
"""Numbers of all logits that the audit asks for: 8 MiB, 256 MiB."""
CHECKS = 3
"""Batches, chosen anew in every run, that are tried for a look at the future and for a sense of order."""
SCRATCH = ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""What the processes may write, each below a folder of its own."""
ORDERLESS, WORSE = 0.9, 1.03
"""A model below this share of what the letters cost without their order lives by the order; then shuffled text must
cost it at least so many times as much."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows of documents, padded on the right."""

    tokens: Array
    """(B, T), what the model sees."""
    targets: Array
    """(B, T), what comes next; -1 where nothing does."""
    documents: Array
    """(B,), whose window each row is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Bits per byte of the raw text over all documents, and its standard error over documents."""

    bits_per_byte: float
    std_error: float


def main() -> int:
    try:
        return run_as_command(evaluate)
    except apart.Failed as error:
        print(error, file=sys.stderr)
        return 1


def evaluate() -> None:
    peers = [apart.start(Answerer(), name=name) for name in ("first", "second")]  # before torch has started a thread
    try:
        order = read_order(os.environ, out="out/evaluation", data="data/val")
        apart.keep_to_ourselves()
        score, count = judge(order, *peers)
    finally:
        for peer in peers:
            peer.close()
    write_result(order, {"val_bpb": score.bits_per_byte, "val_bpb_std_error": score.std_error})
    print(f"{order.run}: val_bpb {score.bits_per_byte:.6f} +- {score.std_error:.6f} over {count} documents")


def judge(order: Order, first: apart.Peer, second: apart.Peer) -> tuple[Score, int]:
    """The score that the first process commits to, once the second has confirmed it.

    The experiment's code is never in both at once, and they share nothing that can be written: else the first could
    tell the second what it has been asked.

    Raises: Dishonest when it does not.
    """
    path = order.model / "model.pt"
    if not path.is_file():
        raise WrongUse(f"{path} does not exist; train first: python -m nanogpt.train")
    file, weights = open_tokens(order.data), fingerprint(order)
    length = load(order, first, file)
    cuda = order.device.type == "cuda"
    count = choose(file, CUDA_TOKENS if cuda else CPU_TOKENS)
    rows = max(2, (CUDA_LOGITS if cuda else CPU_LOGITS) // (length * file.vocab_size))
    nats = commit(first, cut(file, range(count), length=length, rows=rows), count)
    first.close()
    apart.end_all_but(second)
    if load(order, second, file) != length:
        raise Dishonest("the two processes do not agree on the context")
    numbers = CUDA_AUDIT if cuda else CPU_AUDIT
    drawn = draw(file, count, numbers // file.vocab_size)
    audit(second, list(cut(file, drawn, length=length, rows=rows)), nats, file.vocab_size, close=5e-2 if cuda else 1e-4)
    if fingerprint(order) != weights:
        raise Dishonest("the weights changed while they were evaluated")
    return ratio(nats / math.log(2), file.raw_bytes[:count]), count


def load(order: Order, peer: apart.Peer, file: TokenFile) -> int:
    """Have a process load the model; the context that it reads."""
    scratch = {name: Path(os.environ[name], peer.name) for name in SCRATCH if os.environ.get(name)}
    for folder in scratch.values():
        folder.mkdir(parents=True, exist_ok=True)
    request = {
        "do": "load",
        "model": str((order.model / "model.pt").absolute()),
        "device": str(order.device),
        "threads": torch.get_num_threads() if order.device.type == "cpu" else 0,
        "vocab_size": file.vocab_size,
        "readable": [os.path.realpath(order.model)],
        "hidden": [str(order.data.absolute())],
        "scratch": {name: str(folder) for name, folder in scratch.items()},
    }
    (length,) = peer.ask(request, shape=(1,))
    return max(1, min(int(length), LONGEST_CONTEXT))


def fingerprint(order: Order) -> str:
    with (order.model / "model.pt").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def choose(file: TokenFile, tokens: int) -> int:
    """How many documents from the start have at most this many tokens together; one at least."""
    return max(1, int(np.searchsorted(file.starts[1:], tokens, side="right")))


def draw(file: TokenFile, count: int, tokens: int) -> list[int]:
    """Documents in an order that nobody can foresee, with about so many tokens together; two at least."""
    order = random.SystemRandom().sample(range(count), count)
    sizes = np.cumsum([file.starts[index + 1] - file.starts[index] for index in order])
    return order[: max(2, int(np.searchsorted(sizes, tokens, side="right")))]


def cut(file: TokenFile, documents: Sequence[int], *, length: int, rows: int) -> Iterator[Batch]:
    """The windows of these documents, none across a boundary, every token predicted exactly once."""
    windows = [
        (index, document[start : start + length + 1].astype(np.int64))
        for index in documents
        for document in (file.document(index),)
        for start in range(0, len(document) - 1, length)
    ]
    for first in range(0, len(windows), rows):
        some = windows[first : first + rows]
        tokens, targets = np.zeros((len(some), length), np.int64), np.full((len(some), length), -1, np.int64)
        for row, (_, window) in enumerate(some):
            tokens[row, : len(window) - 1], targets[row, : len(window) - 1] = window[:-1], window[1:]
        yield Batch(tokens=tokens, targets=targets, documents=np.array([index for index, _ in some]))


def commit(peer: apart.Peer, batches: Iterator[Batch], count: int) -> Array:
    """Nats that each document costs, as the first process says."""
    nats = np.zeros(count)
    for batch in batches:
        said = peer.ask({"do": "costs"}, [batch.tokens, batch.targets], shape=(len(batch.tokens),))
        if not bool(np.isfinite(said).all()) or bool((said < 0).any()):
            raise Dishonest("a document costs less than nothing, or no number")
        np.add.at(nats, batch.documents, said)
    return nats


def audit(peer: apart.Peer, batches: list[Batch], nats: Array, vocab_size: int, *, close: float) -> None:
    """Have the second process answer for the documents of these batches.

    Raises: Dishonest when earlier logits change with later tokens or with other rows, when the costs are not those that
    were committed to, or when the order of the tokens does not matter to a model that claims to predict it.
    """
    chance = random.SystemRandom()
    costs = np.zeros(len(nats))
    for number, batch in enumerate(batches):
        probed = probe(peer, batch, vocab_size, chance) if number < CHECKS else None
        logits = ask_logits(peer, batch.tokens, vocab_size)
        if probed is not None:
            row, last, before = probed
            if not np.allclose(before, logits[row, : last + 1], rtol=close, atol=close):
                raise Dishonest(f"the logits up to position {last} change with later tokens or with other rows")
        rows = cost(logits, batch.targets)
        np.add.at(costs, batch.documents, rows)
        if number < CHECKS:
            check_order(peer, batch, vocab_size, rows)
    drawn = sorted({int(index) for batch in batches for index in batch.documents})
    check_agreement(nats[drawn], costs[drawn], close)


def probe(peer: apart.Peer, batch: Batch, vocab_size: int, chance: random.Random) -> tuple[int, int, Array]:
    """A row, a position, and the logits up to there, given before the true rest of the row has ever been seen."""
    row, last = chance.randrange(len(batch.tokens)), chance.randrange(batch.tokens.shape[1])
    shift = np.full_like(batch.tokens, chance.randrange(1, vocab_size))
    shift[row, : last + 1] = 0
    return row, last, ask_logits(peer, (batch.tokens + shift) % vocab_size, vocab_size)[row, : last + 1]


def ask_logits(peer: apart.Peer, tokens: Array, vocab_size: int) -> Array:
    found = peer.ask({"do": "logits"}, [tokens], shape=(*tokens.shape, vocab_size))
    if not bool(np.isfinite(found).all()):
        raise Dishonest("the logits are not all finite numbers")
    return found


def cost(logits: Array, targets: Array) -> Array:
    """Nats of each row (B,), with probabilities that sum to one because they are made here."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))
    chosen = np.take_along_axis(shifted, np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    found: Array = ((total - chosen) * (targets >= 0)).sum(axis=1)
    return found


def check_agreement(committed: Array, found: Array, close: float) -> None:
    """Each document to rounding, and their sum more closely: rounding has no direction, a lie has one.

    Raises: Dishonest when they differ by more.
    """
    apart_by = np.abs(committed - found) / np.maximum(found, 1.0)
    total = abs(float(committed.sum() - found.sum())) / max(float(found.sum()), 1.0)
    if float(apart_by.max()) > close or total > close / 20:
        worst = int(apart_by.argmax())
        said, was = committed[worst], found[worst]
        raise Dishonest(f"a fresh process finds other costs: {was:.4f} nats where {said:.4f} were committed to")


def check_order(peer: apart.Peer, batch: Batch, vocab_size: int, rows: Array) -> None:
    """Raises: Dishonest when shuffled text costs a model that lives by the order about as little as the text itself."""
    inside, orderless = batch.targets >= 0, 0.0
    shuffled = batch.tokens.copy()
    chance = np.random.default_rng()
    for row in range(len(shuffled)):
        size = int(inside[row].sum())
        text = np.append(batch.tokens[row, :1], chance.permutation(batch.targets[row, :size]))
        shuffled[row, :size] = text[:-1]
        counts = np.bincount(batch.targets[row, :size])
        orderless -= float((counts[counts > 0] * np.log(counts[counts > 0] / size)).sum())
    if float(rows.sum()) >= ORDERLESS * orderless:
        return
    targets = np.where(inside, np.concatenate([shuffled[:, 1:], shuffled[:, :1]], axis=1), -1)
    targets[np.arange(len(targets)), inside.sum(axis=1) - 1] = -1
    honest = float(rows.sum()) * float((targets >= 0).sum()) / float(inside.sum())
    if float(cost(ask_logits(peer, shuffled, vocab_size), targets).sum()) < WORSE * honest:
        raise Dishonest("shuffled text costs no more than the text itself: it is known, not predicted")


def ratio(bits: Array, raw_bytes: Array) -> Score:
    """Sum of bits by sum of bytes, with the linearised standard error of a ratio over documents.

    Cochran, Sampling Techniques, 3rd edition, section 6.3: the residuals are bits - ratio * bytes.
    Raises: WrongUse for one document alone, which says nothing about the spread.
    """
    count, total = len(bits), float(raw_bytes.sum())
    if count < 2:
        raise WrongUse("one document alone gives no standard error; prepare more data")
    found = float(bits.sum()) / total
    residuals = bits - found * raw_bytes
    return Score(bits_per_byte=found, std_error=math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total)


if __name__ == "__main__":
    sys.exit(main())
