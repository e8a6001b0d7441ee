"""metrics.jsonl as targets write it, honest ones and others."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.run.curve import MOST_POINTS, Curve


def line(step: int, seconds: float = 0.0, loss: float = 1.0) -> bytes:
    return json.dumps({"step": step, "seconds": seconds, "train_loss": loss}).encode() + b"\n"


def curve_of(*chunks: bytes) -> Curve:
    curve = Curve(Path("nowhere"))
    for chunk in chunks:
        curve.feed(chunk)
    return curve


def test_a_torn_last_line_waits_for_its_end() -> None:
    text = line(1, 0.5, 3.0)
    curve = curve_of(text[:10])
    assert curve.points() == ()
    curve.feed(text[10:])
    (point,) = curve.points()
    assert (point.step, point.seconds, point.train_loss) == (1, 0.5, 3.0)


def test_garbage_is_ignored_and_the_rest_is_read() -> None:
    garbage = [
        b"\n",
        b"null\n",
        b"[1]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 3000 + b"\n",
        b"x" * 9000 + b"\n",
        b'{"step": "1", "seconds": 1, "train_loss": 1}\n',
        b'{"step": true, "seconds": 1, "train_loss": 1}\n',
        b'{"step": -1, "seconds": 1, "train_loss": 1}\n',
        b'{"step": 1, "seconds": -1, "train_loss": 1}\n',
        b'{"step": 1, "seconds": Infinity, "train_loss": 1}\n',
        b'{"step": 1, "seconds": 1, "train_loss": {}}\n',
        b'{"step": 1, "seconds": 1, "train_loss": 1' + b"0" * 400 + b"}\n",
    ]
    assert [point.step for point in curve_of(*garbage, line(5)).points()] == [5]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    curve = curve_of(*[b"x" * 2**16] * 64, b"\n", line(1))
    assert len(curve.points()) == 1


def test_steps_and_seconds_only_go_forward() -> None:
    curve = curve_of(line(1, 1.0), line(1, 2.0), line(5, 5.0), line(3, 6.0), line(6, 4.0), line(7, 5.0))
    assert [point.step for point in curve.points()] == [1, 5, 7]


def test_a_loss_that_is_no_number_is_no_point_but_is_remembered() -> None:
    curve = curve_of(line(1), b'{"step": 2, "seconds": 1, "train_loss": NaN}\n')
    assert curve.diverged
    assert len(curve.points()) == 1


@settings(max_examples=40)
@given(count=st.integers(0, 3000), cuts=st.lists(st.integers(1, 3000), max_size=5))
def test_a_curve_is_thinned_evenly_whatever_the_pieces_it_came_in(count: int, cuts: list[int]) -> None:
    text = b"".join(line(step) for step in range(count))
    places = [0, *sorted(cut * 20 for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    points = curve_of(*pieces).points()
    assert points == curve_of(text).points()
    assert len(points) <= MOST_POINTS
    steps = [point.step for point in points]
    assert steps[:1] == [0][:count]
    assert steps[-1:] == [count - 1][:count]
    assert len({later - earlier for earlier, later in itertools.pairwise(steps[:-1])}) <= 1


def test_what_is_no_file_is_no_curve(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "real").write_bytes(line(1))
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "link", "folder", "absent"):
        curve = Curve(tmp_path / name)
        curve.read_all()
        assert curve.points() == ()
    curve = Curve(tmp_path / "real")
    curve.read_all()
    assert len(curve.points()) == 1
    assert not curve.read()
