"""Log lines."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from autoresearchd.report.lines import logging_to
from tests.report.nouns import EVIL


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _said(*, readable: bool) -> str:
    stream = io.StringIO()
    logging_to(stream, readable=readable)
    structlog.get_logger().info("run_finished", title=EVIL, why=None, metric=1.5)
    return stream.getvalue()


def test_a_machine_gets_one_json_object_a_line() -> None:
    line = _said(readable=False)
    event = json.loads(line)
    assert line.count("\n") == 1
    assert (event["event"], event["level"], event["metric"]) == ("run_finished", "info", 1.5)
    assert event["title"] == EVIL
    assert "why" not in event


@pytest.mark.parametrize("readable", [True, False])
def test_no_line_steers_the_terminal(readable: bool) -> None:
    said = _said(readable=readable)
    assert "owned" in said
    assert not [char for char in said if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize("readable", [True, False])
def test_a_traceback_tells_no_local_variables(readable: bool) -> None:
    stream = io.StringIO()
    logging_to(stream, readable=readable)
    try:
        _fail("sk-" + "secret")
    except RuntimeError:
        structlog.get_logger().exception("proposer_failed")
    assert "no such model" in stream.getvalue()
    assert "sk-secret" not in stream.getvalue()


def _fail(key: str) -> None:
    raise RuntimeError(f"no such model ({len(key)})")


def test_a_logger_made_earlier_follows_to_the_new_place() -> None:
    log, first, second = structlog.get_logger(), io.StringIO(), io.StringIO()
    logging_to(first, readable=False)
    log.info("one")
    logging_to(second, readable=False)
    log.info("two")
    assert "one" in first.getvalue()
    assert "two" not in first.getvalue()
    assert "two" in second.getvalue()


def test_a_key_in_an_event_or_an_exception_is_not_logged() -> None:
    stream, key = io.StringIO(), "sk-ant-" + "a1b2" * 10
    logging_to(stream, readable=False)
    try:
        int(f"refused {key}")
    except ValueError:
        structlog.get_logger().exception("failed", why=f"key {key}")
    assert key not in stream.getvalue()
    assert stream.getvalue().count("[key removed]") >= 2


def test_the_journal_gets_a_priority_before_each_line_and_a_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("journal", "file"):
        with (tmp_path / name).open("w") as stream:
            if name == "journal":
                found = os.fstat(stream.fileno())
                monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
            logging_to(stream, readable=False)
            structlog.get_logger().warning("held")
            structlog.get_logger().info("resumed")
    assert [line[:4] for line in (tmp_path / "journal").read_text().splitlines()] == ["<4>{", "<6>{"]
    assert [line[:1] for line in (tmp_path / "file").read_text().splitlines()] == ["{", "{"]
