"""What must hold of every reader of untrusted bytes, whatever the bytes are; one function a reader.

They raise when it does not hold. Hypothesis and atheris both look for bytes with which one does.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from autoresearchd.errors import CorruptRecord
from autoresearchd.judge import improper
from autoresearchd.program import parse
from autoresearchd.proposal import Change, FileMode
from autoresearchd.run import curve, log, target
from autoresearchd.trailers import parse as parse_message
from nanogpt import answer
from nanogpt.contract import Dishonest

PROGRAM = parse('[program]\nname = "x"\neditable = ["src/**"]\n[train]\ncommand = "t"\n[metric]\nname = "m"\n')


def result(content: bytes) -> None:
    """result.json is no more than finite numbers under plain names, or one sentence why not."""
    with TemporaryDirectory() as folder:
        Path(folder, "result.json").write_bytes(content)
        found, why = target.read_result(Path(folder), "r")
    assert bool(found) <= (why == "")
    assert "\n" not in why
    assert all(math.isfinite(value) for value in target.tidy(found, ("loss",)).values())


def metrics(chunks: Iterable[bytes]) -> None:
    """A curve never goes backwards nor grows without bound, however metrics.jsonl arrives."""
    found = curve.Curve(Path("absent"))
    for chunk in chunks:
        found.feed(chunk)
    points = found.points()
    assert len(points) <= curve.MOST_POINTS
    assert [point.step for point in points] == sorted({point.step for point in points})
    assert all(math.isfinite(point.train_loss) for point in points)


def output(chunks: Iterable[bytes]) -> None:
    """What a process says is bounded, and has neither escapes nor a sentence of two lines."""
    found = log.Log(r"^loss: (\S+)$")
    for chunk in chunks:
        found.feed(chunk)
    found.end()
    assert len(found.tail()) <= log.TAIL_CHARACTERS
    assert "\n" not in found.last_error()
    assert "\x1b" not in found.tail() + found.last_error()


def checkpoint(content: bytes) -> None:
    """Weights are loaded or refused, and nothing else happens."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.pt").write_bytes(content)
        with contextlib.suppress(Dishonest):
            answer.load_model(folder / "model.pt", torch.device("cpu"), vocab_size=256)
        assert [path.name for path in folder.iterdir()] == ["model.pt"]


def message(text: str) -> None:
    """A commit message is a record or corrupt."""
    with contextlib.suppress(CorruptRecord):
        parse_message(text)


def path(text: str) -> None:
    """No path is allowed that would leave the editable ones."""
    why = improper([Change(path=text, before=None, after=FileMode.REGULAR)], PROGRAM)
    assert "\n" not in why
    if not why:
        assert os.path.normpath(text) == text
        assert text.startswith("src/")
