"""Hostile models and weights against the hidden evaluation; and what a believing evaluator would have said."""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from nanogpt import answer, apart
from nanogpt.contract import Dishonest
from tests.nanogpt.fixtures import Bench

HERE = Path(__file__).parent
MODELS = sorted((HERE / "models").glob("*.py"))
CRASH, TAMPERED = 1, 4
FORESEEN = "import random; random.SystemRandom = lambda: random.Random(1)"
"""One time in 32 the position that is probed is the last, with nothing after it to peek at: not with this seed."""
STOPPED = {
    "peek_at_the_next_token": (TAMPERED, "change with later tokens"),
    "peek_only_at_real_text": (TAMPERED, "change with later tokens"),
    "remember_what_it_saw": (TAMPERED, ""),
    "forge_the_loss": (TAMPERED, "a fresh process finds other costs"),
    "forge_log_softmax": (TAMPERED, "a fresh process finds other costs"),
    "say_less_than_nothing": (TAMPERED, "costs less than nothing"),
    "tell_the_other_process": (TAMPERED, ""),
    "look_the_answers_up": (CRASH, "Error"),
    "write_the_result": (CRASH, "Error"),
}


def has_landlock() -> bool:
    return bool(ctypes.CDLL(None).syscall(apart.CREATE, None, ctypes.c_size_t(0), 1) > 0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_that_would_win_by_cheating_gets_no_number(
    bench: Bench, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    code, sentence = STOPPED[path.stem]
    if path.stem == "look_the_answers_up" and not has_landlock():
        pytest.skip("this kernel has no Landlock, which hides the data from the model")
    assert bench.train(steps=3) == 0
    assert bench.evaluate(model="honest = GPT.forward\n" + path.read_text(), before=FORESEEN) == code
    assert sentence in capsys.readouterr().err
    assert not (bench.folder / "evaluation" / "run-1" / "result.json").exists()


def test_an_evaluator_that_believes_them_would_have_taken_their_numbers(bench: Bench) -> None:
    assert bench.train(steps=3) == 0
    weights, data = bench.out("run-1") / "model.pt", bench.data / "val"
    honest = bench.folder / "honest.py"
    honest.write_text("")
    bench.set(OUT=bench.folder, RUN="run-1")
    done = subprocess.run(
        [sys.executable, str(HERE / "naive.py"), str(weights), str(data), str(honest), *map(str, MODELS)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    said = {name: bpb for line in done.stdout.splitlines() for name, bpb in json.loads(line).items()}
    assert said["honest"] > 5
    planted = json.loads((bench.folder / "planted.json").read_text())
    assert planted["metrics"]["val_bpb"] == 0.01
    for path in MODELS:
        assert path.stem == "write_the_result" or said[path.stem] < 0.8 * said["honest"], path.stem


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_that_are_a_program_run_only_where_pickle_is_believed(tmp_path: Path) -> None:
    torch.save({"config": {}, "weights": Payload(tmp_path / "sprung")}, tmp_path / "model.pt")
    with pytest.raises(Dishonest, match="does not fit"):
        answer.load_model(tmp_path / "model.pt", torch.device("cpu"), vocab_size=256)
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_weights_that_unpack_to_more_than_they_weigh_are_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "model.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("archive/data.pkl", pickle.dumps({}))
        parts.writestr("archive/data/0", bytes(2**26))
    assert bomb.stat().st_size < 2**20
    with pytest.raises(Dishonest, match="unpacks to 671"):
        answer.check_weights(bomb)
    with zipfile.ZipFile(bomb) as parts:
        assert len(parts.read("archive/data/0")) == 2**26


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", bytes(4096), b"x" * 100])
def test_weights_that_are_rubbish_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(Dishonest, match="is not what torch"):
        answer.check_weights(tmp_path / "model.pt")


def test_weights_that_change_while_they_are_evaluated_are_noticed_by_their_hash_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a sandbox, where something of the training might have survived to do it."""
    assert bench.train(steps=3) == 0
    path, ended = bench.out("run-1") / "model.pt", threading.Event()
    saved = torch.load(path)

    def swap() -> None:
        number = 0
        while not ended.wait(0.05):
            number += 1
            content = io.BytesIO()
            torch.save({**saved, "note": number}, content)
            path.with_suffix(".new").write_bytes(content.getvalue())
            path.with_suffix(".new").replace(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        assert bench.evaluate() == TAMPERED
        assert "the weights changed" in capsys.readouterr().err
        assert bench.evaluate(before="evaluate.fingerprint = lambda order: ''") == 0
    finally:
        ended.set()
        thread.join()
