"""Token files are made from sources, the same way every time, and no document is in two splits."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt import prepare, sources
from nanogpt.contract import WrongUse
from nanogpt.data import open_tokens
from tests.nanogpt.fixtures import write_texts


def read(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def documents(folder: Path) -> list[bytes]:
    file = open_tokens(folder)
    return [file.document(index)[1:].tobytes() for index in range(len(file.raw_bytes))]


def make(*arguments: object) -> None:
    prepare.prepare([str(argument) for argument in arguments])


def test_the_embedded_default_is_this_pythons_library_within_its_size(tmp_path: Path) -> None:
    make("--out", tmp_path / "data")
    texts = {split: documents(tmp_path / "data" / split) for split in prepare.SPLITS}
    train = set(texts["train"])
    assert any(b"class JSONDecoder" in text for split in texts.values() for text in split)
    assert 2_000_000 < sum(map(len, train)) <= sources.STDLIB_BYTES
    assert all(len(text) <= sources.EXCERPT_BYTES for split in ("val", "audit") for text in texts[split])
    assert all(len(texts[split]) >= 40 for split in ("val", "audit"))
    held_out = [text for split in ("val", "audit") for text in texts[split] if len(text) > 500]
    assert not any(text in whole for text in held_out for whole in train)


def test_preparing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    make(texts, "--out", tmp_path / "one")
    make(texts, "--out", tmp_path / "two")
    assert read(tmp_path / "one") == read(tmp_path / "two")


def test_what_is_already_made_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, out = write_texts(tmp_path / "texts"), tmp_path / "data"
    make(texts, "--out", out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    make(texts, "--out", out)
    assert "already made" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: shutil.rmtree(out / "audit"),
        lambda out: (out / "val" / "meta.json").write_text("{"),
        lambda out: (out / "train" / "tokens.bin").unlink(),
        lambda out: (out / ".partial").mkdir(),
    ],
    ids=["a split is missing", "a torn meta.json", "no tokens", "a crash left its work"],
)
def test_what_a_crash_left_is_made_anew(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    texts, out = write_texts(tmp_path / "texts"), tmp_path / "data"
    make(texts, "--out", out)
    whole = read(out)
    damage(out)
    make(texts, "--out", out)
    assert read(out) == whole


def test_other_texts_replace_the_data(tmp_path: Path) -> None:
    out = tmp_path / "data"
    make(write_texts(tmp_path / "old", seed=1), "--out", out, "--held-out", "0.2")
    make(write_texts(tmp_path / "new", seed=2), "--out", out, "--held-out", "0.2")
    texts = {text for split in prepare.SPLITS for text in documents(out / split)}
    assert texts == {path.read_bytes() for path in (tmp_path / "new").iterdir()}


def test_no_document_is_in_two_splits_even_where_it_comes_twice(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    shutil.copytree(texts, texts / "again")
    make(texts, "--out", tmp_path / "data", "--held-out", "0.3")
    splits = [set(documents(tmp_path / "data" / split)) for split in prepare.SPLITS]
    assert all(len(split) >= 2 for split in splits)
    assert sum(map(len, splits)) == len(set.union(*splits)) == 60


def test_more_documents_move_none_to_another_split(tmp_path: Path) -> None:
    few, many = write_texts(tmp_path / "few", 40), write_texts(tmp_path / "many", 80)
    make(few, "--out", tmp_path / "one", "--held-out", "0.3")
    make(many, "--out", tmp_path / "two", "--held-out", "0.3")
    for split in prepare.SPLITS:
        assert set(documents(tmp_path / "one" / split)) <= set(documents(tmp_path / "two" / split))


def test_a_jsonl_line_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": f"Größe {n} \udc80"}) + "\n" for n in range(60)))
    make(path, "--out", tmp_path / "data", "--field", "body", "--held-out", "0.2")
    texts = [text for split in prepare.SPLITS for text in documents(tmp_path / "data" / split)]
    assert sorted(texts) == sorted(f"Größe {n} \udc80".encode("utf-8", "surrogatepass") for n in range(60))


def test_a_parquet_row_is_a_document(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra [data]")
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "shard.parquet"
    parquet.write_table(arrow.table({"text": [f"Größe {n}" for n in range(60)] + [None]}), path)
    make(path, "--out", tmp_path / "data", "--held-out", "0.2")
    texts = [text for split in prepare.SPLITS for text in documents(tmp_path / "data" / split)]
    assert sorted(texts) == sorted(f"Größe {n}".encode() for n in range(60))


def test_a_bpe_counts_the_bytes_of_the_source_and_learns_from_train_only(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra [data]")
    texts, out = write_texts(tmp_path / "texts"), tmp_path / "data"
    (texts / "odd.txt").write_bytes("你好 <|boundary|> ".encode() * 30 + b"\xff")
    make(texts, "--out", out, "--tokenizer", "bpe", "--vocab-size", "300", "--held-out", "0.2")
    total = sum(int(open_tokens(out / split).raw_bytes.sum()) for split in prepare.SPLITS)
    assert total == sum(path.stat().st_size for path in texts.iterdir())
    bpe = tokenizers.Tokenizer.from_file(str(out / "val" / "tokenizer.json"))
    known = {path.read_text("utf-8", "replace") for path in texts.iterdir()}
    for split in prepare.SPLITS:
        file = open_tokens(out / split)
        assert file.tokens.dtype == np.uint16
        assert file.vocab_size <= 300
        for index in range(len(file.raw_bytes)):
            tokens = file.document(index)
            assert tokens[0] == 0
            assert 0 not in tokens[1:]
            assert bpe.decode(tokens[1:].tolist()) in known


@given(text=st.binary(min_size=1, max_size=400), most=st.integers(1, 100))
def test_an_excerpt_is_a_piece_of_the_text_never_too_long_never_empty(text: bytes, most: int) -> None:
    excerpt = prepare._cut(text, most)
    assert excerpt in text
    assert 0 < len(excerpt) <= max(most, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.txt"], "nowhere.txt does not exist"),
        (["empty"], "empty: no files there"),
        (["one.txt"], "one.txt is too little: "),
        (["bad.jsonl"], "bad.jsonl, line 1: not JSON with a text named 'text'"),
        (["--urls", "nowhere"], "nowhere cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.txt").write_text("alone")
    (tmp_path / "bad.jsonl").write_text('{"words": 1}\n')
    monkeypatch.setattr("sys.argv", ["prepare", *arguments])
    assert prepare.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1
    assert not (tmp_path / "data" / "train").exists()


@pytest.mark.parametrize(("module", "arguments"), [("pyarrow", ["x.parquet"]), ("tokenizers", ["--tokenizer", "bpe"])])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WrongUse, match=rf"{module}: pip install 'autoresearchd\[data\]'"):
        prepare.prepare(arguments)
