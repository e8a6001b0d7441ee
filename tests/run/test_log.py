"""What is kept and understood of a target's output."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.run.log import HEAD_BYTES, TAIL_BYTES, WHY_CHARACTERS, Log, one_line, plain

BLOCK = "---\nval_bpb:          0.997900\npeak_vram_mb:     45,060.2\nmfu_percent:      39.80%\ndepth:            8\n"


def log_of(*chunks: str | bytes, pattern: str | None = None, private: str = "") -> Log:
    log = Log(pattern, private=private)
    for chunk in chunks:
        log.feed(chunk.encode() if isinstance(chunk, str) else chunk)
    log.end()
    return log


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_a_short_log_is_kept_whole(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert log_of(*chunks).text() == plain(whole.decode("utf-8", "replace"))


def test_of_a_flood_head_and_tail_are_kept() -> None:
    log = log_of("first\n", *[b"y\n" * 2**15] * 40, "last\n")
    assert log.text().startswith("first\n")
    assert log.text().endswith("last\n")
    assert len(log.text()) <= HEAD_BYTES + TAIL_BYTES + 16
    assert log_of(b"x" * 2**22 + b"end").tail().endswith("xend")


@given(st.lists(st.integers(0, 200), max_size=6))
def test_the_pattern_finds_the_last_number_whatever_the_pieces(cuts: list[int]) -> None:
    text = b"loss: 9\rloss: 3\r\nnot loss: 1\nloss: bad\n" + b"x" * 50 + b"\nloss: 2.5"
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert log_of(*pieces, pattern=r"^loss: (\S+)$").number == 2.5


def test_a_number_is_not_lost_in_a_flood() -> None:
    flood = [b"x" * 2**20]
    assert log_of("loss: 1\n", *flood, pattern=r"^loss: (\S+)").number == 1.0


def test_an_optional_group_that_matched_nothing_says_nothing() -> None:
    assert log_of("loss: 1\nloss:\n", pattern=r"^loss:(?: (\S+))?").number == 1.0


def test_a_summary_block_is_read_and_the_last_one_counts() -> None:
    log = log_of("loss: 5\n", BLOCK.replace("0.9979", "3.5"), "more words\nafter: 1\n", BLOCK)
    assert log.summary == {"val_bpb": 0.9979, "peak_vram_mb": 45060.2, "mfu_percent": 39.8, "depth": 8.0}


def test_without_a_block_nothing_is_harvested() -> None:
    assert log_of("loss: 5\n---\nprose: here\n").summary == {}
    assert len(log_of("---\n", *(f"m{n}: {n}\n" for n in range(1000))).summary) == 64


def test_the_tail_is_fit_to_be_shown() -> None:
    tail = log_of("\x1b[31mred\x1b[0m\x1b]0;title\x07 \x00\u202etext\r100%\r\nend").tail()
    assert tail == "red text\n100%\nend"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Traceback (most recent call last):\n  x\nValueError: no\n", "ValueError: no"),
        ("torch.OutOfMemoryError: CUDA out of memory\nterminated\n", "torch.OutOfMemoryError: CUDA out of memory"),
        ("KeyError: 'a'\n\nDuring handling...\n\nTypeError: b\n", "TypeError: b"),
        ("AssertionError\nlast words\n", "AssertionError"),
        ("nothing like it\n\n  \n", "nothing like it"),
        ("setpriv: failed to execute nosuch: No such file\n", "failed to execute nosuch: No such file"),
        ("RuntimeError: <f at 0x7f00aa> in process 4242, pid=77", "RuntimeError: <f at 0x…> in process N, pid=N"),
        ("OSError: /lab/runs/r1/train/code/a.py", "OSError: train/code/a.py"),
        ("", ""),
    ],
)
def test_the_last_error_is_one_stable_sentence(text: str, why: str) -> None:
    assert log_of(text, private="/lab/runs/r1/").last_error() == why


@given(st.text())
def test_a_sentence_is_one_short_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= WHY_CHARACTERS
    assert line == "" or (line.isprintable() and len(line.splitlines()) == 1)
