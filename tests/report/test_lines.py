"""Log lines."""

from __future__ import annotations

import io
import json
import os
import socket
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


def test_a_log_on_a_full_disk_ends_nobody_and_says_how_much_it_lacks(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        logging_to(full, readable=False)
        for _ in range(3):
            structlog.get_logger().info("run_finished", title="x" * 2**14)
        with (tmp_path / "log").open("w") as room:
            os.dup2(room.fileno(), full.fileno())
        structlog.get_logger().info("resumed")
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [event["event"] for event in events] == ["resumed", "log_lines_lost"]
    assert events[1]["at_most"] == 3


def test_a_log_that_nobody_reads_any_more_is_said() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    logging_to(stream, readable=False)
    with pytest.raises(BrokenPipeError):
        structlog.get_logger().info("run_finished")
    with pytest.raises(BrokenPipeError):
        stream.close()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A journal's socket, and the standard error that systemd would have joined to the journal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, (tmp_path / "stream").open("w") as stream:
        ear.bind(str(tmp_path / "socket"))
        ear.setblocking(False)
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr("autoresearchd.journal.SOCKET", tmp_path / "socket")
        logging_to(stream, readable=False)
        yield ear


def fields(entry: bytes) -> dict[str, str]:
    """An entry, read as systemd's specification has it."""
    found = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        found[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        entry = rest[9 + size :]
    return found


def test_the_journal_gets_fields_to_search_by_and_a_priority(journal: socket.socket) -> None:
    structlog.get_logger().warning("run_disturbed", experiment=42, tree="c0ffee", device="cuda:0", seed=3, why=None)
    found = fields(journal.recv(1 << 20))
    line = json.loads(found.pop("MESSAGE"))
    assert (line["event"], line["experiment"], line["level"]) == ("run_disturbed", 42, "warning")
    assert found == {
        "PRIORITY": "4", "SYSLOG_IDENTIFIER": "autoresearchd", "EVENT": "run_disturbed", "EXPERIMENT": "0042",
        "TREE": "c0ffee", "DEVICE": "cuda:0", "SEED": "3",
    }  # fmt: skip


def test_nobody_can_put_a_field_of_his_own_into_the_journal(journal: socket.socket) -> None:
    structlog.get_logger().info("run_finished", device="cuda:0\nPRIORITY=0\nEXPERIMENT=0001", why="x\nPRIORITY=0")
    found = fields(journal.recv(1 << 20))
    assert found["PRIORITY"] == "6"
    assert found.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EVENT", "DEVICE"}


def test_a_traceback_is_an_error_in_the_journal(journal: socket.socket) -> None:
    try:
        _fail("x")
    except RuntimeError:
        structlog.get_logger().exception("proposer_failed")
    found = fields(journal.recv(1 << 20))
    assert found["PRIORITY"] == "3"
    assert "no such model" in found["MESSAGE"]


def test_what_the_journal_does_not_take_goes_to_the_stream_with_its_priority(
    journal: socket.socket, tmp_path: Path
) -> None:
    structlog.get_logger().error("command_failed", why="x" * 2**22)
    journal.close()
    structlog.get_logger().info("resumed")
    lines = (tmp_path / "stream").read_text().splitlines()
    assert [line[:4] for line in lines] == ["<3>{", "<6>{"]


def test_a_file_gets_no_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    with (tmp_path / "file").open("w") as stream:
        logging_to(stream, readable=False)
        structlog.get_logger().warning("held")
    assert (tmp_path / "file").read_text().startswith("{")
