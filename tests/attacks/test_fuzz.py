"""Whatever bytes an experiment or a push leaves, reading them ends, with a value or one of the errors it names.

A short look in the tests; `make fuzz` looks for ten minutes. The corpus is honest files with holes in them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearchd.errors import RefLocked, UnfilablePath
from autoresearchd.ledger import Ledger
from tests.attacks import readers
from tests.support.projects import fsck, lab

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
EXAMPLES = 1000 if MINUTES else 60
SHARES = 13
"""Seven properties that Hypothesis looks into, six readers that atheris does, and so many equal parts of the time."""
ROOT = Path(__file__).parents[2]
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)

HONEST_RESULT = json.dumps({"run": "r", "metrics": {"loss": 1.5, "steps": 10}}).encode()
HONEST_CURVE = b'{"step": 1, "seconds": 0.5, "train_loss": 2.5}\n{"step": 2, "seconds": 1.0, "train_loss": 2.25}\n'
HONEST_MESSAGE = b"Title\n\nWhy.\n\nExperiment: 0001\nProposer: p\nCategory: c\nLines: +1 -0\nVerdict: keep\nRuns: 1\n"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def honest_checkpoint() -> bytes:
    content = io.BytesIO()
    config = {"vocab_size": 256, "sequence_length": 8, "depth": 1, "dim": 32, "head_dim": 32}
    torch.save({"config": config, "weights": {"x": torch.zeros(4)}}, content)
    return content.getvalue()


HONEST = {
    "checkpoint": honest_checkpoint(),
    "message": HONEST_MESSAGE,
    "metrics": HONEST_CURVE,
    "output": b"loss: 1.5\nTraceback\nValueError: no\n",
    "path": b"src/model.py",
    "result": HONEST_RESULT,
}


@st.composite
def broken(draw: Callable[..., object], honest: bytes) -> bytes:
    """Bytes that were honest once: cut, overwritten, doubled, or none of it at all."""
    found = bytearray(honest)
    for _ in range(int(str(draw(st.integers(0, 4))))):
        at = int(str(draw(st.integers(0, max(0, len(found) - 1)))))
        piece = draw(st.binary(max_size=12))
        assert isinstance(piece, bytes)
        found[at : at + int(str(draw(st.integers(0, 20))))] = piece
    return bytes(found[: int(str(draw(st.integers(0, len(found)))))]) if draw(st.booleans()) else bytes(found)


def until_enough(test: Callable[[], None]) -> None:
    """Run a property for its share of the minutes, with new examples each time; without any, once."""
    end = time.monotonic() + 60 * MINUTES / SHARES
    test()
    while time.monotonic() < end:
        test()


def test_no_result_is_more_than_finite_numbers_under_plain_names() -> None:
    @fuzz
    @given(broken(HONEST_RESULT) | st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
    def check(content: bytes) -> None:
        readers.result(content)

    until_enough(check)


def test_no_curve_goes_backwards_or_grows_without_bound() -> None:
    @fuzz
    @given(st.lists(broken(HONEST_CURVE * 3) | st.binary() | JSON.map(lambda v: json.dumps(v).encode() + b"\n")))
    def check(chunks: list[bytes]) -> None:
        readers.metrics(chunks)

    until_enough(check)


def test_no_output_breaks_its_line_or_its_bound() -> None:
    @fuzz
    @given(st.lists(st.binary(max_size=3000)))
    def check(chunks: list[bytes]) -> None:
        readers.output(chunks)

    until_enough(check)


def test_no_checkpoint_does_more_than_be_refused() -> None:
    @fuzz
    @given(broken(honest_checkpoint()))
    def check(content: bytes) -> None:
        readers.checkpoint(content)

    until_enough(check)


def test_no_commit_message_is_more_than_a_record_or_corrupt() -> None:
    @fuzz
    @given(broken(HONEST_MESSAGE).map(lambda content: content.decode("utf-8", "replace")) | st.text())
    def check(text: str) -> None:
        readers.message(text)

    until_enough(check)


def test_no_path_is_allowed_that_would_leave_the_editable_ones() -> None:
    @fuzz
    @given(st.text() | st.from_regex(r"(src/|\.\./|/|\./|[a-z.]{1,6}){1,6}", fullmatch=True))
    def check(text: str) -> None:
        readers.path(text)

    until_enough(check)


GUIDED = ("checkpoint", "message", "metrics", "output", "path", "result")


@pytest.mark.skipif(not MINUTES, reason="looks for minutes: make fuzz")
@pytest.mark.parametrize("reader", GUIDED)
def test_nothing_is_found_by_following_the_branches_of_the_code(tmp_path: Path, reader: str) -> None:
    pytest.importorskip("atheris", reason="atheris is not here: pip install 'autoresearchd[fuzz]'")
    (tmp_path / "honest").write_bytes(HONEST.get(reader, b""))
    seconds = max(1, round(60 * MINUTES / SHARES))
    command = [sys.executable, "-m", "tests.attacks.guided", reader, f"-max_total_time={seconds}", "-timeout=60"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return lab(tmp_path)


def test_no_pushed_branch_does_more_than_be_a_proposal_or_refused(ledger: Ledger) -> None:
    repo = pygit2.Repository(str(ledger.path))
    best, count = repo.get(ledger.best().commit), 0
    names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)
    modes = st.sampled_from([0o100644, 0o100755, 0o120000, 0o160000])

    @fuzz
    @given(st.binary(max_size=300), st.lists(st.tuples(names, modes, st.binary(max_size=40)), max_size=4))
    def check(message: bytes, files: list[tuple[str, int, bytes]]) -> None:
        nonlocal count
        count += 1
        # A raw object, as a push brings it: no library has looked whether it makes sense.
        rows = {name.encode(): (mode, repo.create_blob(content)) for name, mode, content in files}
        raw = b"".join(b"%o %s\0" % (mode, name) + blob.raw for name, (mode, blob) in sorted(rows.items()))
        tree = repo.odb.write(pygit2.enums.ObjectType.TREE, raw)
        who = b"A <a@b> 1 +0000"
        head = f"tree {tree}\nparent {best.id}\n".encode() + b"author " + who + b"\ncommitter " + who + b"\n\n"
        commit = repo.odb.write(pygit2.enums.ObjectType.COMMIT, head + message)
        ref = f"refs/heads/idea/x{count}"
        (ledger.path / ref).parent.mkdir(parents=True, exist_ok=True)
        (ledger.path / ref).write_text(f"{commit}\n")
        for idea in ledger.ideas():
            if idea.proposal is not None:
                with contextlib.suppress(UnfilablePath, RefLocked):
                    ledger.open_experiment(idea.proposal, now=float(count))
            ledger.drop_idea(idea)

    until_enough(check)
    assert ledger.best().commit == str(best.id)
    assert "best" not in fsck(ledger.path)
