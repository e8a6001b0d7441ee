"""The number is bits per byte of the source, with an honest error, and no model gets it by cheating."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nanogpt import prepare
from nanogpt.answer import costs
from nanogpt.contract import WrongUse
from nanogpt.data import TokenFile, open_tokens
from nanogpt.evaluate import Array, choose, cut, ratio
from tests.nanogpt.fixtures import Bench


def uniform(tokens: Tensor) -> Tensor:
    return torch.zeros(*tokens.shape, 256)


def measure(file: TokenFile, count: int) -> Array:
    nats = np.zeros(count)
    for batch in cut(file, range(count), length=16, rows=4):
        tokens, targets = torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets)
        np.add.at(nats, batch.documents, costs(uniform, tokens, targets))
    return nats


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def all_splits(data: Path) -> list[TokenFile]:
    return [open_tokens(data / split) for split in prepare.SPLITS]


def test_knowing_nothing_costs_eight_bits_a_byte_whatever_the_bytes_are(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_bytes(
            "größer ≥ 你好 🙂".encode() * number + b"\xff\xfe\x80\x00" + bytes([number])
        )
    prepare.prepare([str(folder), "--out", str(tmp_path / "data"), "--held-out", "0.3"])
    for file in all_splits(tmp_path / "data"):
        count = len(file.raw_bytes)
        nats = measure(file, count)
        assert ratio(nats / math.log(2), file.raw_bytes).bits_per_byte == pytest.approx(8.0, rel=1e-6)


def test_bytes_are_counted_in_the_source_not_in_decoded_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    sources = {number: bytes([0xFF, 0x80, number]) * (number + 1) for number in range(60)}  # no UTF-8 at all
    for number, source in sources.items():
        (folder / f"{number}.txt").write_bytes(source)
    prepare.prepare([str(folder), "--out", str(tmp_path / "data"), "--held-out", "0.3"])
    counted = sum(int(file.raw_bytes.sum()) for file in all_splits(tmp_path / "data"))
    assert counted == sum(map(len, sources.values()))


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    length=st.integers(1, 17),
    rows=st.integers(1, 5),
)
def test_every_byte_is_predicted_exactly_once_and_never_across_documents(
    lengths: list[int], length: int, rows: int
) -> None:
    documents = [np.arange(1, n + 1) + 50 * index for index, n in enumerate(lengths)]
    tokens = np.concatenate([np.concatenate(([0], document)) for document in documents])
    starts = np.cumsum([0, *(n + 1 for n in lengths)])
    file = TokenFile(tokens=tokens, starts=starts, raw_bytes=np.array(lengths), vocab_size=512, sha256="")
    found: dict[int, list[int]] = {index: [] for index in range(len(lengths))}
    for batch in cut(file, range(len(lengths)), length=length, rows=rows):
        for row, index in enumerate(batch.documents):
            found[int(index)] += [int(target) for target in batch.targets[row] if target >= 0]
    assert [found[index] for index in range(len(lengths))] == [list(document) for document in documents]


def test_the_standard_error_is_that_of_a_bootstrap_over_documents() -> None:
    chance = np.random.default_rng(0)
    raw_bytes = chance.integers(200, 5000, size=80)
    bits = raw_bytes * chance.normal(2.0, 0.3, size=80) + chance.normal(0, 50, size=80)
    score = ratio(bits, raw_bytes)
    draws = chance.integers(0, 80, size=(20_000, 80))
    bootstrap = bits[draws].sum(axis=1) / raw_bytes[draws].sum(axis=1)
    assert score.bits_per_byte == pytest.approx(bits.sum() / raw_bytes.sum())
    assert score.std_error == pytest.approx(bootstrap.std(), rel=0.06)


def test_one_document_alone_gives_no_standard_error() -> None:
    with pytest.raises(WrongUse, match="one document alone"):
        ratio(np.array([8.0]), np.array([4]))


def test_the_subset_is_whole_documents_from_the_start() -> None:
    file = TokenFile(
        tokens=np.zeros(30, np.uint8),
        starts=np.array([0, 10, 15, 30]),
        raw_bytes=np.array([9, 4, 14]),
        vocab_size=256,
        sha256="",
    )
    assert [choose(file, tokens) for tokens in (1, 10, 14, 15, 29, 30, 99)] == [1, 1, 1, 2, 2, 3, 3]


def test_the_result_names_the_run_and_gives_the_number_with_its_error(bench: Bench) -> None:
    assert bench.train("run-9") == bench.evaluate("run-9") == 0
    said = json.loads((bench.folder / "evaluation" / "run-9" / "result.json").read_text())
    assert said["run"] == "run-9"
    assert set(said["metrics"]) == {"val_bpb", "val_bpb_std_error"}
    assert 0 < said["metrics"]["val_bpb_std_error"] < said["metrics"]["val_bpb"] < 8.1


CHEAT = """
_honest = GPT.forward
def cheat(self, tokens):
    {0}
GPT.forward = cheat
"""
SEES_NEXT = "return 20.0 * F.one_hot(torch.roll(tokens, -1, dims=1), 256).float()"
REMEMBERS = "self.calls = getattr(self, 'calls', 0) + 1; return _honest(self, tokens) * self.calls"


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (SEES_NEXT, "change with later tokens or with other rows"),
        ("return _honest(self, tokens) + tokens.float().mean() * torch.randn(256)", "change with later"),
        (REMEMBERS, "change with later tokens or with other rows"),
        ("return _honest(self, tokens) * math.nan", "not all finite"),
        ("return _honest(self, tokens)[..., :10]", "the logits are"),
        ("return 0.0", "the logits are float"),
    ],
)
def test_a_model_that_cheats_is_refused_with_code_4(
    bench: Bench, capsys: pytest.CaptureFixture[str], forward: str, sentence: str
) -> None:
    assert bench.train(steps=3) == 0
    assert bench.evaluate(model=CHEAT.format(forward)) == 4
    assert sentence in capsys.readouterr().err
    assert not (bench.folder / "evaluation" / "run-1" / "result.json").exists()


def test_a_loss_that_the_model_replaces_is_found_by_the_fresh_process(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.train(steps=3) == 0
    patch = (
        "import nanogpt.answer\nnanogpt.answer.costs = lambda logits, t, w: (w >= 0).sum(1).double().numpy() * 0.1\n"
    )
    assert bench.evaluate(model=patch) == 4
    assert "a fresh process finds other costs" in capsys.readouterr().err


def test_logits_that_do_not_sum_to_one_are_normalised_here(bench: Bench) -> None:
    assert bench.train() == bench.evaluate() == 0
    before = bench.score()["val_bpb"]
    assert bench.evaluate(model=CHEAT.format("return _honest(self, tokens) + 100.0")) == 0
    assert bench.score()["val_bpb"] == pytest.approx(before, rel=1e-4)


def test_weights_that_do_not_fit_the_model_are_refused(bench: Bench) -> None:
    assert bench.train(steps=1) == 0
    path = bench.out("run-1") / "model.pt"
    saved = torch.load(path)
    torch.save({"config": saved["config"], "weights": {}}, path)
    assert bench.evaluate() == 4


class _Trap:
    """Weights that write a file when they are unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_that_are_code_are_never_run(bench: Bench, tmp_path: Path) -> None:
    assert bench.train(steps=1) == 0
    torch.save({"config": {}, "weights": _Trap(tmp_path / "sprung")}, bench.out("run-1") / "model.pt")
    assert bench.evaluate() == 4
    assert not (tmp_path / "sprung").exists()


def test_without_weights_the_way_out_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.evaluate("never-trained") == 2
    assert "train first: python -m nanogpt.train" in capsys.readouterr().err
