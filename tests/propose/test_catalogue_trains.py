"""The catalogue on the reference target as it is today: what applies, and that each change trains and is measured."""

from __future__ import annotations

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import libcst
import pytest
import torch

from autoresearchd.propose.catalogue import PATTERNS
from tests.nanogpt.fixtures import PACKAGE, make_data

APPLY = {
    "model.py": {
        *("attention-learned-scale", "attention-sharpen", "branch-dropout", "branch-half", "embedding-norm-remove"),
        *("gated-mlp", "input-residual", "parallel-branches", "relu2-to-gelu", "relu2-to-leaky-relu2", "relu2-to-silu"),
        *("rmsnorm-to-layernorm", "sandwich-norm", "softcap-remove", "uniform-to-normal-init", "value-norm"),
        *("weight-tying-add", "zero-init-output-off"),
    },
    "optim.py": {"warmdown-cosine", "warmdown-root", "warmdown-square"},
    "train.py": {"label-smoothing-add", "weight-averaging", "z-loss"},
}
"""By file; whoever changes the catalogue or the target sees here what that adds or costs."""
CONSTANTS = {
    *("adam-beta1-lower", "adam-beta2-95", "adam-beta2-99", "adam-epsilon-smaller", "gradient-clipping-add"),
    *("gradient-clipping-remove", "nesterov-off", "nesterov-on", "weight-decay-off", "weight-decay-on"),
    *("embedding-init-larger", "embedding-init-smaller", "embedding-sqrt-scale", "matrix-init-smaller"),
    *("qk-norm-add", "qk-norm-remove", "rope-base-longer", "rope-base-shorter", "softcap-higher", "softcap-lower"),
}
"""What the reference target has as a constant with a name of its own: `space` moves that."""
ELSEWHERE = {
    *("cosine-to-linear", "dropout-off", "dropout-on", "embedding-dropout", "embedding-norm-add", "gelu-to-relu2"),
    *("gelu-to-silu", "head-init-larger", "head-init-smaller", "label-smoothing-remove", "layernorm-to-rmsnorm"),
    *("linear-bias-off", "relu-to-gelu", "relu-to-relu2", "serial-branches", "silu-to-gelu"),
    *("silu-to-relu2", "softcap-add", "weight-decay-cautious", "weight-decay-constant", "weight-decay-cosine"),
    *("weight-decay-linear", "weight-tying-remove", "zero-init-output-on"),
}
"""What is written for constructs that it does not have: it has their opposite, or none of them."""
STEPS = 2


@cache
def changed(name: str) -> dict[str, str]:
    """The file after each transform that applies to it."""
    module = libcst.parse_module((PACKAGE / name).read_text("utf-8"))
    found = {pattern.name: pattern.apply(module) for pattern in PATTERNS}
    return {pattern: after.code for pattern, after in found.items() if after is not None}


def test_every_transform_applies_where_it_is_known_to_and_none_is_left_out() -> None:
    assert {name: set(changed(name)) for name in ("model.py", "optim.py", "train.py")} == APPLY
    assert {pattern.name for pattern in PATTERNS} == {*CONSTANTS, *ELSEWHERE}.union(*APPLY.values())
    assert not (CONSTANTS | ELSEWHERE) & set().union(*APPLY.values())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("catalogue"))


def train(code: Path, out: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A training of this package in this process, as an executor would have it; what it says at its end."""
    settings = {"RUN": out.name, "SEED": 0, "STEPS": STEPS, "DEVICE": "cpu:0", "THREADS": 1, "OUT": out, "DATA": data}
    with monkeypatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"AUTORESEARCH_{name}", str(value))
        patch.setattr("sys.argv", ["train", "--depth", "1"])
        patch.syspath_prepend(code)
        for name in [name for name in sys.modules if name.partition(".")[0] == "nanogpt"]:
            patch.delitem(sys.modules, name)
        import nanogpt.train

        try:
            assert Path(nanogpt.train.__file__).is_relative_to(code)
            nanogpt.train.train()
        finally:
            torch.use_deterministic_algorithms(False)
            for name in [name for name in sys.modules if name.partition(".")[0] == "nanogpt"]:
                del sys.modules[name]
    said: dict[str, object] = json.loads((out / "result.json").read_text())
    return said


@pytest.mark.parametrize("name", ["model.py", "optim.py", "train.py"])
def test_every_change_of_it_trains(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only Python: shapes and types fit, every weight has its optimiser, and the loss is a number."""
    code = tmp_path / "code"
    shutil.copytree(PACKAGE, code / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
    before = (code / "nanogpt" / name).read_text("utf-8")
    for pattern, text in changed(name).items():
        (code / "nanogpt" / name).write_text(text, "utf-8")
        shutil.rmtree(code / "nanogpt" / "__pycache__", ignore_errors=True)  # written within a second, of equal size
        out = tmp_path / pattern
        why = ""
        try:
            train(code, out, data / "train", monkeypatch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said of which change
            why = str(error)
        assert not why, f"{pattern} in {name} does not train: {why}"
        curve = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert curve, pattern
        assert all(0 < point["train_loss"] < 20 for point in curve), pattern
    assert changed(name)
    (code / "nanogpt" / name).write_text(before, "utf-8")
