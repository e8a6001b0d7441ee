"""What is written into a commit's message is read back alike, by us and by git, whatever words were put in."""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import Environment, Gain, Lines, Outcome, Verdict
from autoresearchd.trailers import LONGEST_TITLE, UNTITLED, Record, number, parse, render, slug, title

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TRAPS = st.sampled_from(
    [
        "---",
        "--- a/train.py",
        "Verdict: keep",
        "\n\nVerdict: keep",
        "words\n\nVerdict: keep\nMetric: val_bpb=0.1\n",
        "x\r\n\r\nVerdict: keep\r\n",
        "x\u2028\u2028Verdict: keep",
        "# ------------------------ >8 ------------------------",
        "Verdict:keep\n keep",
        "(cherry picked from commit 1234567)",
        "\x00\x1b[31m\u202e",
        " \u00a0\u3000\t",
        "Signed-off-by: A <a@b>",
        "#comment",
        "",
    ]
)
WORDS = st.one_of(st.text(), TRAPS, st.lists(st.one_of(st.text(), TRAPS), max_size=5).map("\n".join))
GAINS = st.none() | st.builds(Gain, value=NUMBERS, std_error=st.none() | NUMBERS)
VERDICTS = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    why=WORDS,
    metric=st.none() | NUMBERS,
    baseline=st.none() | NUMBERS,
    std_error=st.none() | NUMBERS,
    confidence=st.none() | NUMBERS,
    runs=st.integers(0, 99),
    seeds=st.lists(st.integers(), max_size=4).map(tuple),
    train_seconds=NUMBERS,
    device=WORDS,
    peak_memory_mib=st.none() | NUMBERS,
    throughput=st.none() | NUMBERS,
    metrics=st.dictionaries(WORDS | st.text("ab_-=", max_size=3), NUMBERS, max_size=5),
    environment=WORDS.map(Environment),
    together=GAINS,
    flag=WORDS,
)
RECORDS = st.builds(
    Record,
    number=st.integers(0, 10**6),
    title=WORDS,
    rationale=WORDS,
    proposer=WORDS,
    category=WORDS,
    lines=st.builds(Lines, added=st.integers(0, 10**5), removed=st.integers(0, 10**5)),
    reason=WORDS,
    cost_usd=st.none() | NUMBERS,
    fix_attempts=st.integers(0, 10),
    alone=GAINS,
    verdict=st.none() | VERDICTS,
    metric=WORDS,
)
OPEN = Record(
    number=42,
    title="Raise MATRIX_LR",
    rationale="It may learn faster.",
    proposer="space",
    category="rate",
    lines=Lines(added=3, removed=12),
)
KEEP = Verdict(
    outcome=Outcome.KEEP,
    why="clear over 3 seeds",
    metric=0.98421,
    baseline=0.99,
    std_error=0.0004,
    confidence=0.998,
    runs=3,
    seeds=(1, 2, 3),
    train_seconds=300.5,
    device="cuda:0",
    peak_memory_mib=45060.2,
    throughput=51234.0,
    metrics={"tokens_per_second": 51234.0, "val_loss": 2.5},
    environment=Environment("H100-abc"),
)


@given(RECORDS)
@settings(max_examples=300, deadline=None)
def test_what_is_read_back_is_written_alike(record: Record) -> None:
    message = render(record)
    assert render(parse(message)) == message


@given(RECORDS)
@settings(max_examples=300, deadline=None)
def test_no_words_can_forge_or_hide_a_verdict(record: Record) -> None:
    read = parse(render(record))
    assert (read.number, read.lines) == (record.number, record.lines)
    assert (read.verdict is None) == (record.verdict is None)
    if record.verdict is not None and read.verdict is not None:
        assert (read.verdict.outcome, read.verdict.runs) == (record.verdict.outcome, record.verdict.runs)
        assert read.verdict.seeds == record.verdict.seeds
        assert [name for name in read.verdict.metrics if not math.isfinite(read.verdict.metrics[name])] == []


def test_every_field_comes_back() -> None:
    record = replace(OPEN, verdict=KEEP, metric="val_bpb", reason="rate pays", cost_usd=0.25)
    assert parse(render(record)) == record


def test_the_message_reads_as_designed() -> None:
    assert render(replace(OPEN, verdict=replace(KEEP, metrics={"tokens_per_second": 51234.0}), metric="val_bpb")) == (
        "Raise MATRIX_LR\n"
        "\n"
        "It may learn faster.\n"
        "\n"
        "Experiment: 0042\n"
        "Proposer: space\n"
        "Category: rate\n"
        "Lines: +3 -12\n"
        "Verdict: keep\n"
        "Why: clear over 3 seeds\n"
        "Metric: val_bpb=0.984210\n"
        "Baseline: val_bpb=0.990000\n"
        "Runs: 3\n"
        "Std-Error: 0.0004\n"
        "Confidence: 0.998000\n"
        "Seeds: 1,2,3\n"
        "Train-Seconds: 300.500000\n"
        "Device: cuda:0\n"
        "Peak-Memory-MiB: 45060.200000\n"
        "Throughput: 51234.000000\n"
        "Metric-tokens-per-second: tokens_per_second=51234.000000\n"
        "Environment: H100-abc\n"
    )


@given(RECORDS)
@settings(max_examples=200, deadline=None)
def test_a_key_has_letters_digits_and_hyphens_only_and_comes_once(record: Record) -> None:
    keys = [line.partition(": ")[0] for line in _block(render(record))]
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", key) for key in keys)
    assert len({key.lower() for key in keys}) == len(keys)


def test_two_metrics_whose_names_make_one_key_are_both_kept() -> None:
    metrics = {"val_loss": 1.0, "val-loss": 2.0, "VAL loss": 3.0, "val_loss-1": 4.0}
    read = parse(render(replace(OPEN, verdict=replace(KEEP, metrics=metrics)))).verdict
    assert read is not None
    assert read.metrics == metrics


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_left_out(value: float) -> None:
    verdict = replace(KEEP, metric=value, baseline=value, std_error=value, train_seconds=value, metrics={"loss": value})
    message = render(replace(OPEN, verdict=verdict, metric="val_bpb", cost_usd=value))
    assert not re.search(r"nan|inf", message, re.IGNORECASE)
    assert parse(message).verdict == replace(
        KEEP, metric=None, baseline=None, std_error=None, train_seconds=0.0, metrics={}
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.00999999999)
@example(0.00999949999999)
@example(9999999.9999999)
@example(-0.0)
def test_a_number_survives_being_read_and_written(value: float) -> None:
    assert number(float(number(value))) == number(value)
    assert float(number(value)) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("words", ["", " \t", "\n\n", "---", "-- #", "\u00a0\u3000", "\x00\x07", "\u2028"])
def test_a_title_of_nothing_gets_a_name(words: str) -> None:
    assert title(words) == UNTITLED
    assert render(replace(OPEN, title=words)).startswith(f"{UNTITLED}\n\n")


@given(WORDS)
def test_a_title_is_one_short_line(words: str) -> None:
    line = title(words)
    assert 0 < len(line) <= LONGEST_TITLE
    assert line.splitlines() == [line]
    assert title(line) == line


@given(WORDS)
def test_a_slug_is_fit_for_a_branch(words: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(words))


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Fix a bug\n",
        "Fix a bug\n\nSigned-off-by: A <a@b>\n",
        "T\n\nExperiment: 1\n",
        "T\n\nExperiment: x\nLines: +1 -1\n",
        "T\n\nExperiment: 1\nLines: +1 -1\nVerdict: splendid\n",
        "T\n\nExperiment: 1\nLines: +1 -1\nVerdict: keep\nMetric: val_bpb=low\n",
        "T\n\nExperiment: 1\nLines: +1 -1\nVerdict: keep\nMetric: val_bpb=nan\n",
        "T\n\nExperiment: 1\nLines: 3\n",
        "T\n\nExperiment: 1\nLines: +1 -1\n\nAnd words after it\n",
    ],
)
def test_a_message_of_others_is_no_record(message: str) -> None:
    with pytest.raises(CorruptRecord) as raised:
        parse(message, where="refs/heads/exp/0001-x")
    assert raised.value.where == "refs/heads/exp/0001-x"


@given(RECORDS)
@settings(max_examples=50, deadline=None)
def test_git_reads_the_same_trailers_from_the_message(record: Record) -> None:
    message = render(record)
    parsed = _git(Path.cwd(), "interpret-trailers", "--parse", given=message)
    assert parsed.split("\n")[:-1] == _block(message)


@given(RECORDS)
@settings(max_examples=40, deadline=None)
def test_git_log_shows_the_same_verdict(record: Record) -> None:
    message, read = render(record), parse(render(record))
    commit = _git(_REPOSITORY, "commit-tree", _EMPTY_TREE, given=message).strip()
    show = "%(trailers:key=Verdict,valueonly)%x01%(trailers:key=Why,valueonly)%x01%(trailers:key=Experiment,valueonly)"
    outcome, why, found = _git(_REPOSITORY, "log", "-1", f"--format={show}%x01%s", commit).split("\x01")[:3]
    verdict = read.verdict
    assert outcome.rstrip("\n") == ("" if verdict is None else verdict.outcome.value)
    assert why.rstrip("\n") == ("" if verdict is None else verdict.why)
    assert int(found) == read.number


@given(RECORDS)
@settings(max_examples=40, deadline=None)
def test_git_log_shows_the_title_as_subject(record: Record) -> None:
    commit = _git(_REPOSITORY, "commit-tree", _EMPTY_TREE, given=render(record)).strip()
    assert _git(_REPOSITORY, "log", "-1", "--format=%s", commit) == title(record.title) + "\n"


_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_REPOSITORY = Path()


@pytest.fixture(scope="module", autouse=True)
def _repository() -> Iterator[None]:
    """A repository for the whole module: hypothesis and function fixtures do not mix."""
    global _REPOSITORY
    with TemporaryDirectory() as folder:
        _REPOSITORY = Path(folder)
        _git(_REPOSITORY, "init", "-q")
        _git(_REPOSITORY, "hash-object", "-w", "-t", "tree", "/dev/null")
        yield


def _block(message: str) -> list[str]:
    return message.rstrip("\n").rpartition("\n\n")[2].split("\n")


def _git(folder: Path, *arguments: str, given: str = "") -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    names = ("-c", "user.name=P", "-c", "user.email=p@localhost")
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(
        command, input=given.encode(), check=True, capture_output=True, env=environment
    ).stdout.decode()


def test_a_number_that_nobody_checked_says_so_in_the_commit() -> None:
    verdict = Verdict(outcome=Outcome.KEEP, trust="self-reported")
    record = Record(
        number=1, title="x", rationale="", proposer="p", category="c", lines=Lines(added=0, removed=0), verdict=verdict
    )
    assert "Trust: self-reported\n" in render(record)
    assert parse(render(record)).verdict == verdict


def test_what_a_win_gained_alone_and_on_top_of_another_is_one_trailer_that_git_reads() -> None:
    won = replace(OPEN, alone=Gain(value=0.3, std_error=0.01))
    verdict = Verdict(outcome=Outcome.KEEP, together=Gain(value=-0.0004, std_error=0.0125))
    assert parse(render(won)).alone == won.alone
    message = render(replace(won, verdict=verdict, metric="loss"))
    said = subprocess.run(["git", "interpret-trailers", "--parse"], input=message, capture_output=True, text=True)
    assert "Additivity: alone=0.300000+-0.010000 together=-0.0004+-0.012500" in said.stdout.splitlines()
    back = parse(message)
    assert back.alone == won.alone
    assert back.verdict is not None
    assert back.verdict.together == verdict.together
