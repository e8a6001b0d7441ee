"""A training does what its order says, repeats to the last digit, and ends at once when it has lost its way."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nanogpt import contract, optim, train
from nanogpt.contract import Curve, Unstable, read_order
from tests.nanogpt.fixtures import Bench

PACKAGE = Path(train.__file__).parent


def test_the_result_names_the_run_and_counts_what_was_done(bench: Bench) -> None:
    assert bench.train("run-7", steps=6) == 0
    said: dict[str, Any] = bench.said("run-7")
    assert said["run"] == "run-7"
    assert said["metrics"]["steps"] == 6
    assert set(said["metrics"]) == {
        "train_seconds",
        "steps",
        "tokens_per_second",
        "peak_memory_mib",
        "parameters",
        "train_tflops",
    }
    assert all(value > 0 for value in said["metrics"].values())
    assert not (bench.out("run-7") / "result.partial").exists()


def test_equal_seed_and_steps_repeat_to_the_last_digit(bench: Bench) -> None:
    for name in ("first", "second"):
        assert bench.train(name, seed=5) == 0
        assert bench.evaluate(name) == 0
    first, second = (torch.load(bench.out(name) / "model.pt")["weights"] for name in ("first", "second"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert bench.score("first") == bench.score("second")


def test_another_seed_is_another_training(bench: Bench) -> None:
    assert bench.train("first", seed=1) == bench.train("second", seed=2) == 0
    first, second = (torch.load(bench.out(name) / "model.pt")["weights"] for name in ("first", "second"))
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_training_makes_the_score_better(bench: Bench) -> None:
    for name, steps in (("short", 1), ("long", 25)):
        assert bench.train(name, steps=steps) == 0
        assert bench.evaluate(name) == 0
    assert bench.score("long")["val_bpb"] < bench.score("short")["val_bpb"] - 0.5


def test_the_curve_has_a_few_tens_of_points_that_fall(bench: Bench) -> None:
    assert bench.train(steps=90) == 0
    points = [json.loads(line) for line in (bench.out("run-1") / "metrics.jsonl").read_text().splitlines()]
    assert 20 <= len(points) <= 40
    assert all(set(point) == {"step", "seconds", "train_loss"} for point in points)
    assert [point["step"] for point in points] == sorted({point["step"] for point in points})
    assert points[-1]["step"] == 90
    assert points[-1]["train_loss"] < points[0]["train_loss"]


def test_weights_are_plain_values_and_tensors(bench: Bench) -> None:
    assert bench.train() == 0
    saved = torch.load(bench.out("run-1") / "model.pt", weights_only=True)
    assert all(isinstance(value, int) for value in saved["config"].values())


def test_nan_ends_the_training_at_once_with_code_3(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optim, "EMBEDDING_LR", math.nan)
    assert bench.train(steps=1000) == 3
    assert capsys.readouterr().err == "the loss is nan at step 2\n"
    assert not (bench.out("run-1") / "result.json").exists()


def test_an_exploding_loss_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_OUT", str(tmp_path))
    curve = Curve(read_order({"AUTORESEARCH_OUT": str(tmp_path)}, out="", data=""), vocab_size=256)
    curve.put(torch.tensor(math.log(256)), step=1, seconds=0.1, progress=0.01)
    with pytest.raises(Unstable, match="exploded to 12 at step 2"):
        curve.put(torch.tensor(12.0), step=2, seconds=0.2, progress=0.02)


def test_a_budget_in_seconds_ends_when_they_are_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set(SECONDS=0.2)
    monkeypatch.setattr("sys.argv", ["train", "--depth", "1"])
    bench.set(OUT=bench.out("timed"), DATA=bench.data / "train", DEVICE="cpu")
    monkeypatch.delenv("AUTORESEARCH_STEPS", raising=False)
    assert train.main() == 0
    assert bench.said("timed")["metrics"]["train_seconds"] >= 0.2  # type: ignore[index]


def test_a_batch_in_parts_gives_the_same_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.train("whole", steps=1) == 0
    monkeypatch.setattr(train, "TOKENS_AT_ONCE", 32)
    assert bench.train("parts", steps=1) == 0
    whole, parts = (torch.load(bench.out(name) / "model.pt")["weights"] for name in ("whole", "parts"))
    torch.testing.assert_close(whole["blocks.0.feed_forward.out.weight"], parts["blocks.0.feed_forward.out.weight"])


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("STEPS", "many", "AUTORESEARCH_STEPS is 'many', which is not a number"),
        ("STEPS", "0", "AUTORESEARCH_STEPS is 0, it must be positive"),
        ("SEED", "-1", "AUTORESEARCH_SEED is -1, it must be zero or more"),
        ("DATA", "nowhere", "nowhere has no meta.json; make it: python -m nanogpt.prepare"),
    ],
)
def test_a_wrong_order_is_one_sentence_and_code_2(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    bench.set(DEVICE="cpu", OUT=bench.out("x"), **{name: value})
    assert train.main() == 2
    assert capsys.readouterr().err == sentence + "\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there_is_said_plainly() -> None:
    with pytest.raises(contract.WrongUse, match=r"cuda:3, but torch finds no CUDA device"):
        read_order({"AUTORESEARCH_DEVICE": "cuda:3"}, out="out", data="data")


def test_steps_win_over_seconds_and_a_cpu_counts_steps_by_itself(tmp_path: Path) -> None:
    out = {"AUTORESEARCH_OUT": str(tmp_path), "AUTORESEARCH_DEVICE": "cpu:0"}
    assert read_order(out, out="", data="").steps == 150
    both = read_order({**out, "AUTORESEARCH_STEPS": "7", "AUTORESEARCH_SECONDS": "9"}, out="", data="")
    assert (both.steps, both.seconds) == (7, None)
    assert read_order({**out, "AUTORESEARCH_SECONDS": "9"}, out="", data="").progress(step=5, seconds=4.5) == 0.5


def test_the_peak_of_a_gpu_is_known_by_its_own_name() -> None:
    assert contract.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert contract.peak_flops("NVIDIA L40S") == 362e12
    assert contract.peak_flops("something else") is None


@pytest.mark.parametrize(("name", "most"), [("model.py", 300), ("optim.py", 200), ("train.py", 250)])
def test_what_experiments_edit_stays_short(name: str, most: int) -> None:
    assert len((PACKAGE / name).read_text().splitlines()) <= most


@pytest.mark.parametrize("name", ["model.py", "optim.py", "train.py"])
def test_every_choice_is_a_constant_on_a_line_of_its_own_with_a_word_on_it(name: str) -> None:
    text = (PACKAGE / name).read_text()
    constants = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).split(":")[0].split(" =")[0].isupper()
    ]
    assert len(constants) >= 3
    assert len({node.lineno for node in constants}) == len(constants)
    for node in constants:
        assert node.lineno == node.end_lineno
        assert "  # " in text.splitlines()[node.lineno - 1]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_nanogpt_needs_torch_and_numpy_only(path: Path) -> None:
    optional = {"pyarrow", "pyarrow.parquet", "tokenizers"}
    top = ast.parse(path.read_text()).body
    modules = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert "autoresearchd" not in path.read_text().replace("autoresearchd[data]", "")
    assert not modules & optional
    third_party = {"torch", "torch.nn.functional", "numpy", "torch.nn"}
    outside = {m for m in modules - third_party if not m.startswith("nanogpt")}
    assert all(__import__(m.split(".")[0]).__name__ in __import__("sys").stdlib_module_names for m in outside)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_compiled_without_one_wait_in_its_steps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set(DEVICE="cuda:0", STEPS=30, OUT=bench.out("gpu"), DATA=bench.data / "train", RUN="gpu")
    monkeypatch.setattr("sys.argv", ["train", "--depth", "2"])
    steps = train.run_steps

    def watched(*arguments: Any) -> tuple[float, int]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return steps(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(train, "run_steps", watched)
    assert train.main() == 0
    assert bench.said("gpu")["metrics"]["steps"] == 30  # type: ignore[index]
    assert bench.evaluate("gpu", device="cuda:0") == 0
    assert bench.score("gpu")["val_bpb"] < 8.0


def test_a_run_that_fails_leaves_no_result_of_an_earlier_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.train(steps=2) == 0
    monkeypatch.setattr(optim, "EMBEDDING_LR", math.nan)
    assert bench.train(steps=20) == 3
    assert not (bench.out("run-1") / "result.json").exists()
