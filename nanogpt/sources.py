"""Where documents come from: the standard library, local texts, .jsonl and .parquet; each is bytes, none is empty.

Only reads. Cuts nothing, splits nothing, tokenizes nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanogpt.contract import WrongUse

STDLIB_BYTES = 8_000_000
"""Most bytes of the embedded default."""
EXCERPT_BYTES = 1024
"""Held-out documents of the embedded default are cut to this: many documents say more than a few long ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from, and how they are split."""

    name: str
    fingerprint: str
    """Equal for equal content; decides whether the data is already made."""
    documents: Callable[[], Iterator[bytes]]
    """All documents, in the same order at each call, none empty."""
    held_out: float
    """Share of the documents in val, and as much again in audit."""
    excerpt: int | None = None
    """Held-out documents are cut to this many bytes."""


def stdlib(folder: Path, held_out: float) -> Source:
    """The library's own modules, the same for every user.

    Without its tests, what was installed beside it, and the tables of encodings, which are copies of one another.
    """
    foreign = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "__pycache__"}
    paths = sorted(path for path in folder.rglob("*.py") if not foreign & set(path.relative_to(folder).parts))
    texts = sorted({text for path in paths if (text := path.read_bytes())}, key=key)
    taken: list[bytes] = []
    size = 0
    for text in texts:
        if size + len(text) <= STDLIB_BYTES:
            taken.append(text)
            size += len(text)
    if not taken:
        raise WrongUse(f"{folder} has no Python sources; name text files instead: python -m nanogpt.prepare PATHS")
    return Source(
        name=f"the standard library of Python {sys.version.split()[0]}",
        fingerprint=digest(*(key(text).hex() for text in taken)),
        documents=lambda: iter(taken),
        held_out=held_out,
        excerpt=EXCERPT_BYTES,
    )


def expand(paths: Sequence[Path]) -> tuple[Path, ...]:
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise WrongUse(f"{path} does not exist")
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not found:
        raise WrongUse(f"{', '.join(map(str, paths))}: no files there")
    return tuple(found)


def files(name: str, paths: Sequence[Path], field: str, held_out: float) -> Source:
    stats = [(path.name, path.stat()) for path in paths]
    return Source(
        name=name,
        fingerprint=digest(field, *(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)),
        documents=lambda: (text for path in paths for text in _read(path, field) if text),
        held_out=held_out,
    )


def _read(path: Path, field: str) -> Iterator[bytes]:
    """Documents of one file: a text is one, in .jsonl each line is one, in .parquet each row."""
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)[field].encode("utf-8", "surrogatepass")
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise WrongUse(f"{path}, line {number}: not JSON with a text named {field!r}") from error
    elif path.suffix == ".parquet":
        yield from _read_parquet(path, field)
    else:
        yield path.read_bytes()


def _read_parquet(path: Path, field: str) -> Iterator[bytes]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise WrongUse("parquet files need pyarrow: pip install 'autoresearchd[data]'") from error
    with pyarrow.parquet.ParquetFile(path) as file:
        if field not in file.schema_arrow.names:
            raise WrongUse(f"{path} has no column {field!r}; it has {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(columns=[field]):
            yield from (text.encode("utf-8") for text in batch.column(0).to_pylist() if text is not None)


def key(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
