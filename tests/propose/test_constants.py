"""Finding constants and rewriting them: the value comes back, nothing else changes, a seed is never touched."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.program import Tunable
from autoresearchd.propose._spelling import respell
from autoresearchd.propose.constants import Constant, Kind, Scale, Value, find, rewrite, skeleton

SOURCE = '''\
"""A trainer. — non-ascii, so that bytes are not characters"""
from dataclasses import dataclass, field
from typing import Final, Literal
import argparse

DEPTH = 4
TOTAL_BATCH_SIZE = 2**19  # tokens
TOKENS = 8 * 128          # a product
MATRIX_LR: float = 0.02
EMBED_LR = 1e-3
WEIGHT_DECAY = 0.1; BIAS = -0.1
ADAM_BETAS = (0.8, 0.95)
WARMDOWN_FRAC = 0.5
TIE_WEIGHTS = False
ACTIVATION: Final[Literal["relu2", "gelu"]] = "relu2"  # é
WINDOW = "SSSL"
SEED = 42
DATA_SEED_OFFSET = 7
VERSION = 3
lower = 5
COMPUTED = DEPTH * 64
HUGE = 2**10**9

@dataclass
class Config:
    width: int = 768
    dropout: float = 0
    heads: int = field(default=6)
    given: int = 9

config = Config(given=DEPTH)
parser = argparse.ArgumentParser()
parser.add_argument("--gain", type=float, default=1)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--schedule", choices=["cosine", "linear"], default="linear")
parser.add_argument("--steps", type=int, default=100)
'''
FILES = {"train.py": SOURCE.encode()}


def by_name(files: dict[str, bytes] = FILES, tunables: dict[str, Tunable] | None = None) -> dict[str, Constant]:
    return {constant.name: constant for constant in find(files, tunables)}


def rewritten(name: str, value: Value, files: dict[str, bytes] = FILES) -> bytes:
    (edit,) = rewrite(files, {by_name(files)[name]: value})
    assert edit.content is not None
    return edit.content


def test_every_way_to_write_a_constant_is_found() -> None:
    values = {name: constant.value for name, constant in by_name().items()}
    assert values == {
        "DEPTH": 4,
        "TOTAL_BATCH_SIZE": 2**19,
        "TOKENS": 1024,
        "MATRIX_LR": 0.02,
        "EMBED_LR": 1e-3,
        "WEIGHT_DECAY": 0.1,
        "BIAS": -0.1,
        "ADAM_BETAS[0]": 0.8,
        "ADAM_BETAS[1]": 0.95,
        "WARMDOWN_FRAC": 0.5,
        "TIE_WEIGHTS": False,
        "ACTIVATION": "relu2",
        "Config.width": 768,
        "Config.dropout": 0.0,
        "Config.heads": 6,
        "--gain": 1.0,
        "--schedule": "linear",
    }


def test_a_seed_is_never_tunable_even_where_the_program_asks() -> None:
    tunables = {"SEED": Tunable(low=0, high=99), "train.py:--seed": Tunable(choices=(1, 2))}
    assert not {"SEED", "DATA_SEED_OFFSET", "--seed"} & by_name(tunables=tunables).keys()


def test_the_scale_follows_the_name_and_the_value() -> None:
    found = by_name()
    assert found["MATRIX_LR"].range.scale is Scale.LOG
    assert found["ADAM_BETAS[1]"].range.scale is Scale.COMPLEMENT
    assert found["Config.dropout"].range.scale is Scale.SHIFTED
    assert (found["WARMDOWN_FRAC"].range.low, found["WARMDOWN_FRAC"].range.high) == (0.0, 1.0)
    assert found["TOTAL_BATCH_SIZE"].range.kind is Kind.POWER_OF_TWO
    assert found["DEPTH"].range.kind is Kind.INTEGER
    assert found["ACTIVATION"].range.choices == ("relu2", "gelu")
    assert found["TIE_WEIGHTS"].range.choices == (False, True)


def test_one_step_is_a_coarse_move_on_its_own_scale() -> None:
    def moved(name: str, steps: float) -> Value:
        span, value = by_name()[name].range, by_name()[name].value
        return span.at(span.coordinate(value) + steps)

    assert moved("MATRIX_LR", 1) == 0.04
    assert moved("ADAM_BETAS[1]", 1) == 0.975
    assert moved("TOTAL_BATCH_SIZE", -1) == 2**18
    assert moved("Config.width", 1) == 1536
    assert moved("Config.width", 0.4) == 1024
    assert moved("WARMDOWN_FRAC", 99) == 1.0
    assert moved("Config.dropout", 1) == 0.05


def test_the_program_overrides_what_was_inferred() -> None:
    tunables = {
        "MATRIX_LR": Tunable(low=0.01, high=0.03, log=False),
        "train.py:DEPTH": Tunable(fixed=True),
        "WINDOW": Tunable(choices=("SSSL", "SSL", "L")),
        "VERSION": Tunable(low=1, high=9),
    }
    found = by_name(tunables=tunables)
    assert (found["MATRIX_LR"].range.scale, found["MATRIX_LR"].range.high) == (Scale.LINEAR, 0.03)
    assert "DEPTH" not in found
    assert found["WINDOW"].range.choices == ("SSSL", "SSL", "L")
    assert found["VERSION"].range.high == 9


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ("2**19", 2**20, "2**20"),
        ("2 ** 19", 2**18, "2 ** 18"),
        ("1 << 19", 2**20, "1 << 20"),
        ("2**19", 3, "3"),
        ("8 * 128", 2048, "16 * 128"),
        ("8 * 128", 64, "8 * 8"),
        ("2**4 * 128", 4096, "2**5 * 128"),
        ("1e-3", 2e-3, "2e-3"),
        ("1e-3", 2.5e-4, "2.5e-4"),
        ("3E-04", 6e-4, "6e-04"),
        ("0.02", 0.04, "0.04"),
        ("1.0", 2.0, "2.0"),
        (".5", 0.25, ".25"),
        ("-0.1", -0.2, "-0.2"),
        ("-0.1", 0.2, "0.2"),
        ("1_000", 2_000, "2_000"),
        ("True", False, "False"),
        ("'relu'", "gelu", "'gelu'"),
        ('"relu"', "gelu", '"gelu"'),
        ("1 / 3", 0.5, "0.5"),
        ("0.1", 1e-30, "1e-30"),
    ],
)
def test_a_new_value_is_written_as_the_old_one_was(source: str, value: Value, expected: str) -> None:
    assert respell(source.encode(), value).decode() == expected


LITERALS = ["2**19", "8 * 128", "1e-3", "0.02", "-0.1", ".5", "1_000", "1 << 4", "3E-04", "7", "1 / 3", "2**3 * 5**2"]


@given(
    source=st.sampled_from(LITERALS),
    value=st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text(),
)
def test_whatever_is_written_reads_back_as_exactly_the_value(source: str, value: Value) -> None:
    back = eval(respell(source.encode(), value))
    assert (back, type(back)) == (value, type(value))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.floats(-6, 6), min_size=17, max_size=17))
def test_only_the_spans_of_the_changed_constants_change(steps: list[float]) -> None:
    constants = find(FILES)
    values = {c: c.range.at(c.range.coordinate(c.value) + s) for c, s in zip(constants, steps, strict=True)}
    after = {"train.py": SOURCE.encode()} | {edit.path: edit.content or b"" for edit in rewrite(FILES, values)}
    found = {constant.name: constant for constant in find(after)}
    assert {name: constant.value for name, constant in found.items()} == {c.name: v for c, v in values.items()}
    assert skeleton(after, found.values()) == skeleton(FILES, constants)
    assert after["train.py"].count(b"\n") == SOURCE.encode().count(b"\n")


@given(steps=st.floats(-50, 50), index=st.integers(0, 16))
def test_no_step_leaves_the_range(steps: float, index: int) -> None:
    span = find(FILES)[index].range
    value = span.at(span.coordinate(find(FILES)[index].value) + steps)
    if span.is_numeric:
        assert isinstance(value, int | float)
        assert span.low <= value <= span.high
        assert isinstance(value, float if span.kind is Kind.FLOAT else int)
        assert span.at(span.coordinate(value)) == pytest.approx(value, rel=2e-3)
    else:
        assert value in span.choices


def test_a_change_is_a_diff_of_one_line() -> None:
    before, after = SOURCE.encode().split(b"\n"), rewritten("ACTIVATION", "gelu").split(b"\n")
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        'ACTIVATION: Final[Literal["relu2", "gelu"]] = "gelu"  # é'.encode()
    ]


@pytest.mark.parametrize(
    "content", [b"A = (", b"\xff\xfe", b"A = 1\0", b"A" * 2**21, b"A = 9**9**9**9", b"", b"(" * 5000]
)
def test_source_that_makes_no_sense_has_no_constants(content: bytes) -> None:
    assert find({"train.py": content}) == ()


def test_other_files_are_not_looked_into() -> None:
    assert find({"README.md": b"DEPTH = 4\n"}) == ()


def test_windows_line_ends_and_a_byte_order_mark_stay() -> None:
    files = {"train.py": b"\xef\xbb\xbfDEPTH = 4\r\nMATRIX_LR = 0.02\r\n"}
    assert rewritten("MATRIX_LR", 0.04, files) == b"\xef\xbb\xbfDEPTH = 4\r\nMATRIX_LR = 0.04\r\n"
    assert rewritten("DEPTH", 5, files) == b"\xef\xbb\xbfDEPTH = 5\r\nMATRIX_LR = 0.02\r\n"


def test_what_is_assigned_twice_is_no_constant() -> None:
    assert find({"train.py": b"DEPTH = 4\nDEPTH = 5\n"}) == ()


def test_hyperparameters_in_small_letters_are_constants_where_nothing_else_writes_to_them() -> None:
    source = b"""
learning_rate = 6e-4
n_layer, n_head = 12, 12
n_embd: int = 768
dropout = 0.1
beta2 = 0.95
decay_lr = True
batch_size = 12  # halved below
if small:
    batch_size = 6
weight_decay = 0.1
def quiet():
    global weight_decay
    weight_decay = 0.0
def shadowed():
    dropout = 0.5
class Other:
    beta2 = 0.5
counter = 5
max_iters = 600
eval_batch = 3
width = depth = 4
"""
    found = by_name({"train.py": source})
    assert {name: constant.value for name, constant in found.items()} == {
        "learning_rate": 6e-4,
        "n_embd": 768,
        "dropout": 0.1,
        "beta2": 0.95,
        "decay_lr": True,
    }
    assert b"learning_rate = 1.2e-3\n" in rewritten("learning_rate", 0.0012, {"train.py": source})


def test_the_rewritten_source_is_valid_python() -> None:
    assert ast.parse(rewritten("TOTAL_BATCH_SIZE", 2**21))
