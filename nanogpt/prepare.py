"""Texts → token files: `python -m nanogpt.prepare` makes data/train, data/val and data/audit.

By default from the running Python's own standard library: no download, the same every time. A document is in the
split that its content's hash says, so that no text is in two. Not for experiments to change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nanogpt.contract import WrongUse, run_as_command
from nanogpt.data import FORMAT
from nanogpt.download import Remote, fetch, read_list
from nanogpt.sources import Source, digest, expand, files, key, stdlib

SPLITS = ("train", "val", "audit")
BATCH_DOCUMENTS = 1024
TOKENIZER_BYTES = 200_000_000
"""A BPE is trained on this many bytes of the training split."""
CLIMBMIX = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main/shard_{:05d}.parquet"
CLIMBMIX_SHARDS = 6543
"""Both as in https://github.com/karpathy/autoresearch/blob/master/prepare.py."""

Encode = Callable[[list[bytes]], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Bytes → tokens. Token 0 begins every document; for the byte tokenizer it is also the byte 0."""

    name: str
    vocab_size: int
    encode: Encode
    text: str | None = None
    """What is saved as tokenizer.json."""


def main() -> int:
    return run_as_command(lambda: prepare(sys.argv[1:]))


def prepare(arguments: Sequence[str]) -> None:
    """Make the three splits, or say that they are there.

    They are written aside and moved into place one by one, meta.json in each: a crash between leaves splits whose
    fingerprints differ, and the next call makes all of them anew.
    """
    said = _arguments(arguments)
    out = Path(said.out)
    source = _source(said)
    kind = "bytes" if said.tokenizer == "bytes" else f"bpe-{said.vocab_size}"
    fingerprint = digest(source.fingerprint, kind, str(source.held_out), str(source.excerpt), str(FORMAT))
    if all(_fingerprint(out / split) == fingerprint for split in SPLITS):
        print(f"{out} is already made from {source.name}, tokenizer {kind}")
        return
    tokenizer = _bytes() if said.tokenizer == "bytes" else _bpe(source, said.vocab_size)
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    metas = write_splits(partial, source, tokenizer, fingerprint)
    for split in SPLITS:
        shutil.rmtree(out / split, ignore_errors=True)
        (partial / split).replace(out / split)
    partial.rmdir()
    print(f"{out} is made from {source.name}, tokenizer {kind}:")
    for split, meta in metas.items():
        print(
            f"  {split:5} {meta['documents']:>9,} documents {meta['raw_bytes']:>13,} bytes {meta['tokens']:>13,} tokens"
        )


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nanogpt.prepare", description=__doc__)
    parser.add_argument("paths", nargs="*", help="text, .jsonl or .parquet files, or folders of them")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--source", choices=["stdlib"], help="the running Python's sources (the default)")
    origin.add_argument("--urls", metavar="FILE", help="a list of `URL [SHA-256]` lines to download and use")
    origin.add_argument("--recipe", choices=["climbmix"], help="the shards that karpathy/autoresearch trains on")
    parser.add_argument("--shards", type=int, default=10, help="of the recipe; the default is 10")
    parser.add_argument("--field", default="text", help="of .jsonl and .parquet files; the default is text")
    parser.add_argument("--held-out", type=float, help="share of the documents in val, and again in audit")
    parser.add_argument("--tokenizer", choices=["bytes", "bpe"], default="bytes")
    parser.add_argument("--vocab-size", type=int, default=8192, help="of the bpe tokenizer; the default is 8192")
    parser.add_argument("--out", default="data", help="the default is data")
    said = parser.parse_args(arguments)
    if said.paths and (said.source or said.urls or said.recipe):
        parser.error("give paths, or one of --source, --urls and --recipe")
    if said.held_out is not None and not 0 < said.held_out <= 0.4:
        parser.error(f"--held-out is {said.held_out}, it must be more than 0 and at most 0.4")
    if not 257 <= said.vocab_size <= 2**16:
        parser.error(f"--vocab-size is {said.vocab_size}, it must be from 257 to 65536")
    if not 1 <= said.shards <= CLIMBMIX_SHARDS:
        parser.error(f"--shards is {said.shards}, it must be from 1 to {CLIMBMIX_SHARDS}")
    return said


def _source(said: argparse.Namespace) -> Source:
    downloads = Path(said.out) / "downloads"
    if said.recipe:
        remotes = [Remote(url=CLIMBMIX.format(shard)) for shard in range(said.shards)]
        return files(f"{said.shards} shards of climbmix", fetch(remotes, downloads), said.field, said.held_out or 0.005)
    if said.urls:
        paths = fetch(read_list(Path(said.urls)), downloads)
        return files(said.urls, paths, said.field, said.held_out or 0.05)
    if said.paths:
        paths = expand([Path(path) for path in said.paths])
        return files(", ".join(said.paths), paths, said.field, said.held_out or 0.05)
    return stdlib(Path(sysconfig.get_path("stdlib")), said.held_out or 0.1)


def _bytes() -> Tokenizer:
    return Tokenizer(
        name="bytes", vocab_size=256, encode=lambda texts: [np.frombuffer(text, dtype=np.uint8) for text in texts]
    )


def _bpe(source: Source, vocab_size: int) -> Tokenizer:
    """A byte-level BPE trained on the training split only; what is not UTF-8 becomes U+FFFD, but counts as it was."""
    try:
        from tokenizers import Tokenizer as Bpe
        from tokenizers import decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise WrongUse("a BPE needs tokenizers: pip install 'autoresearchd[data]'") from error
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|boundary|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=sys.stderr.isatty(),
    )
    bpe.train_from_iterator(_training_texts(source), trainer)
    bpe.encode_special_tokens = True  # a text that says <|boundary|> is a text, not a boundary

    def encode(texts: list[bytes]) -> list[Any]:
        encoded = bpe.encode_batch([text.decode("utf-8", "replace") for text in texts], add_special_tokens=False)
        return [np.array(one.ids, dtype=np.uint16) for one in encoded]

    return Tokenizer(name="bpe", vocab_size=bpe.get_vocab_size(), encode=encode, text=bpe.to_str())


def _training_texts(source: Source) -> Iterator[str]:
    size = 0
    for text in source.documents():
        if _split(text, source.held_out) == "train":
            size += len(text)
            if size > TOKENIZER_BYTES:
                return
            yield text.decode("utf-8", "replace")


def write_splits(folder: Path, source: Source, tokenizer: Tokenizer, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Write every split below the folder and give their meta.json; documents are never all in memory.

    Raises: WrongUse when a split would have fewer than two documents.
    """
    dtype = np.dtype(np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)
    with ExitStack() as stack:
        writers = {split: stack.enter_context(_Writer(folder / split, dtype)) for split in SPLITS}
        documents = source.documents()
        while texts := list(islice(documents, BATCH_DOCUMENTS)):
            splits = [_split(text, source.held_out) for text in texts]
            texts = [
                _cut(text, None if split == "train" else source.excerpt)
                for text, split in zip(texts, splits, strict=True)
            ]
            for text, split, tokens in zip(texts, splits, tokenizer.encode(texts), strict=True):
                writers[split].add(tokens, raw_bytes=len(text))
        counts = {split: writer.close() for split, writer in writers.items()}
    said = {
        "format": FORMAT,
        "source": source.name,
        "fingerprint": fingerprint,
        "tokenizer": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "dtype": dtype.name,
    }
    metas = {split: {"split": split, **said, **counted} for split, counted in counts.items()}
    for split, meta in metas.items():
        if meta["documents"] < 2:
            raise WrongUse(f"{source.name} is too little: {split} would have {meta['documents']} documents of two")
        if tokenizer.text is not None:
            (folder / split / "tokenizer.json").write_text(tokenizer.text, "utf-8")
        (folder / split / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    return metas


class _Writer:
    """Appends documents to one split."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        folder.mkdir(parents=True)
        self._folder, self._dtype = folder, dtype
        self._file = (folder / "tokens.bin").open("wb")
        self._documents: list[tuple[int, int]] = []
        self._tokens, self._sha256 = 0, hashlib.sha256()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, tokens: Any, *, raw_bytes: int) -> None:
        whole = np.concatenate(([0], tokens)).astype(self._dtype).tobytes()
        self._file.write(whole)
        self._sha256.update(whole)
        self._documents.append((self._tokens, raw_bytes))
        self._tokens += len(tokens) + 1

    def close(self) -> dict[str, Any]:
        self._file.close()
        table = np.array(self._documents, dtype=np.int64).reshape(-1, 2)
        np.save(self._folder / "documents.npy", table)
        self._sha256.update(table.tobytes())
        return {
            "documents": len(table),
            "tokens": self._tokens,
            "raw_bytes": int(table[:, 1].sum()),
            "sha256": self._sha256.hexdigest(),
        }


def _split(text: bytes, held_out: float) -> str:
    """The split of a document, by its content alone."""
    place = int.from_bytes(key(text)[:8], "big") / 2**64
    return "val" if place < held_out else "audit" if place < 2 * held_out else "train"


def _cut(text: bytes, most: int | None) -> bytes:
    """Lines from somewhere in the text, at most this many bytes; where it begins follows from the content."""
    if most is None or len(text) <= most:
        return text
    start = int.from_bytes(key(text)[8:16], "big") % (len(text) - most)
    start = text.find(b"\n", start, -1) + 1  # 0, the beginning, where no line begins after it
    end = text.rfind(b"\n", start, start + most) + 1
    return text[start : end or start + most]


def _fingerprint(folder: Path) -> str | None:
    try:
        found = json.loads((folder / "meta.json").read_text("utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError):  # not there or damaged: it will be made anew
        return None
    return str(found) if all((folder / name).exists() for name in ("tokens.bin", "documents.npy")) else None


if __name__ == "__main__":
    sys.exit(main())
