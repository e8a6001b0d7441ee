"""One reader of untrusted bytes under atheris: `python -m tests.attacks.guided READER [libFuzzer options] CORPUS`.

Follows the branches of our own code, where Hypothesis throws honest files with holes in them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import atheris

with atheris.instrument_imports(include=["autoresearchd", "nanogpt", "json", "zipfile"]):
    from tests.attacks import readers


def pieces(content: bytes) -> Iterator[bytes]:
    """As a file that grows while it is read: each piece as long as its first byte says."""
    while content:
        size = 1 + content[0]
        yield content[:size]
        content = content[size:]


READERS = {
    "checkpoint": readers.checkpoint,
    "message": lambda content: readers.message(content.decode("utf-8", "replace")),
    "metrics": lambda content: readers.metrics(pieces(content)),
    "output": lambda content: readers.output(pieces(content)),
    "path": lambda content: readers.path(content.decode("utf-8", "surrogateescape")),
    "result": readers.result,
}

if __name__ == "__main__":
    read = READERS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
