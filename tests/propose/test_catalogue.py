"""The catalogue: what each transform writes, exactly, and what it leaves alone."""

from __future__ import annotations

import difflib
import io
import tokenize
from collections import Counter
from functools import cache

import libcst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearchd.propose.catalogue import PATTERNS, Pattern
from tests.propose import samples
from tests.propose.cases import CASES, TORCH, Case

BY_NAME = {pattern.name: pattern for pattern in PATTERNS}
REPEATABLE = {
    *("embedding-init-smaller", "embedding-init-larger", "head-init-larger", "head-init-smaller"),
    *("matrix-init-smaller", "softcap-higher", "softcap-lower"),
}
"""Transforms that may go on from their own result; all others promise to be done after once."""
WAYS_BACK = (
    ("gelu-to-silu", "silu-to-gelu", TORCH + "y = F.gelu(x)\n"),
    ("relu2-to-gelu", "gelu-to-relu2", samples.MODEL),
    ("relu2-to-silu", "silu-to-relu2", samples.MODEL),
    ("qk-norm-add", "qk-norm-remove", samples.OLD_MODEL),
    ("embedding-norm-remove", "embedding-norm-add", samples.MODEL),
    ("weight-tying-add", "weight-tying-remove", samples.MODEL),
    ("softcap-add", "softcap-remove", samples.OLD_MODEL),
    ("rmsnorm-to-layernorm", "layernorm-to-rmsnorm", samples.MODEL),
    ("parallel-branches", "serial-branches", samples.MODEL),
    ("gradient-clipping-add", "gradient-clipping-remove", samples.TRAIN),
    ("nesterov-off", "nesterov-on", samples.TRAIN),
    ("weight-decay-constant", "weight-decay-linear", samples.TRAIN),
)


@cache
def transformed(name: str, text: str) -> str | None:
    after = BY_NAME[name].apply(libcst.parse_module(text))
    return None if after is None else after.code


def tokens(text: str, *kinds: int) -> Counter[str]:
    return Counter(each.string for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type in kinds)


def test_every_transform_has_a_case_and_there_are_many() -> None:
    assert [case.name for case in CASES] == [pattern.name for pattern in PATTERNS]
    assert len(PATTERNS) >= 60
    assert len({pattern.title for pattern in PATTERNS}) == len(PATTERNS)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_titles_leave_room_for_a_file_name(pattern: Pattern) -> None:
    assert len(pattern.title) <= 46
    assert pattern.title[0].isupper()
    assert pattern.rationale.endswith(".")
    assert not pattern.title.endswith(".")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_writes_exactly_this(case: Case) -> None:
    assert transformed(case.name, case.before) == case.after
    compile(case.after, "after.py", "exec")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_code_that_only_looks_like_it_is_left_alone(case: Case) -> None:
    assert transformed(case.name, case.untouched) is None


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_strings_comments_and_another_library_are_left_alone(pattern: Pattern) -> None:
    assert pattern.apply(libcst.parse_module(samples.ELSEWHERE)) is None
    assert pattern.apply(libcst.parse_module("")) is None


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in REPEATABLE], ids=lambda case: case.name)
def test_once_is_enough(case: Case) -> None:
    assert transformed(case.name, case.after) is None


@pytest.mark.parametrize(("there", "back", "text"), WAYS_BACK, ids=[way[0] for way in WAYS_BACK])
def test_there_is_a_way_back(there: str, back: str, text: str) -> None:
    changed = transformed(there, text)
    assert changed is not None
    assert tokens(transformed(back, changed) or "", tokenize.NAME, tokenize.OP) == tokens(
        text, tokenize.NAME, tokenize.OP
    )


@settings(max_examples=20, deadline=None)
@given(
    case=st.sampled_from(CASES),
    comment=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_nothing_else_of_a_file_changes(case: Case, comment: str, newline: str) -> None:
    """Wherever the construct stands: comments, strings and all lines but a few are as they were."""
    text = "\n".join([case.before, f"# {comment}", "TEXT = 'F.relu(x).square()'  # softcap", ""]).replace("\n", newline)
    after = transformed(case.name, text)
    assert after is not None
    compile(after, "after.py", "exec")
    before_lines, after_lines = text.splitlines(), after.splitlines()
    touched = [line for line in difflib.ndiff(before_lines, after_lines) if line[0] in "+-"]
    assert len(touched) <= 12
    kept = tokens(after, tokenize.COMMENT, tokenize.STRING)
    assert not {
        each for each in tokens(text, tokenize.COMMENT, tokenize.STRING) - kept if each not in ("# QK norm", "# tied")
    }
    assert (newline == "\n") == ("\r\n" not in after)
