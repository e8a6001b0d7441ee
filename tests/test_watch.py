"""What wakes the loop: real files, the stock git client, and no tick to fall back on."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyEmitter

from autoresearchd.controls import stop_switch
from autoresearchd.ledger import Ledger
from autoresearchd.watch import REST_SECONDS, SavedFile, Wake, ending, watching
from tests.support.projects import git, lab

PATIENCE_SECONDS = 120.0


class Watched:
    """A lab whose files are watched."""

    def __init__(self, ledger: Ledger, saved: SavedFile, wake: Wake) -> None:
        self.ledger, self.saved, self.wake = ledger, saved, wake
        self.project, self.program = ledger.path.parent, ledger.path.parent / "program.toml"

    def woken(self, *, seconds: float = PATIENCE_SECONDS) -> bool:
        """Whether something has woken it, or does so soon; what has is forgotten."""
        readable, _, _ = select.select([self.wake], [], [], seconds)
        if readable:
            os.read(self.wake.fileno(), 4096)
        return bool(readable)

    def at_rest(self) -> None:
        while self.woken(seconds=0.3):
            pass


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    ledger = lab(tmp_path / "project")
    ledger.pause_switch.parent.mkdir(exist_ok=True)
    switches = (ledger.pause_switch, stop_switch(ledger.path))
    saved = SavedFile(tmp_path / "project/program.toml")
    with Wake() as wake, watching(saved, switches, ledger.path / "refs/heads/idea", wake):
        yield Watched(ledger, saved, wake)


def test_the_end_is_no_complaint_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The watcher's thread looks once more after it was stopped, now and then."""
    ledger = lab(tmp_path / "project")
    saved = SavedFile(tmp_path / "project/program.toml")
    with Wake() as wake, watching(saved, (), ledger.path / "refs/heads/idea", wake):
        pass
    InotifyEmitter(Queue(), ObservedWatch(str(tmp_path), recursive=False)).queue_events(0.0)
    assert caplog.text == ""


def test_every_pushed_idea_wakes_it_also_after_git_took_the_empty_folder_away(watched: Watched) -> None:
    for name in ("first", "deep/second"):
        git(watched.project, "push", "-q", str(watched.ledger.path), f"HEAD:refs/heads/idea/{name}")
        assert watched.woken()
        git(watched.ledger.path, "update-ref", "-d", f"refs/heads/idea/{name}")
        assert not (watched.ledger.path / "refs/heads/idea").exists()
        watched.at_rest()


def test_a_saved_program_and_a_switch_wake_it(watched: Watched) -> None:
    watched.program.write_text("in place")
    assert watched.woken()
    beside = watched.program.with_suffix(".new")
    beside.write_text("as editors do")
    watched.at_rest()
    beside.replace(watched.program)
    assert watched.woken()
    watched.at_rest()
    for switch in (watched.ledger.pause_switch, stop_switch(watched.ledger.path)):
        switch.touch()
        assert watched.woken()
        switch.unlink()
        assert watched.woken()
        watched.at_rest()


def test_neither_its_own_writing_nor_a_program_that_is_not_whole_yet_wakes_it(watched: Watched) -> None:
    (watched.ledger.path / "autoresearchd" / "status.json").write_text("{}")
    git(watched.ledger.path, "update-ref", "refs/heads/exp/0001-x", watched.ledger.best().commit)
    (watched.project / "train.py").write_text("RATE = 2\n")
    with watched.program.open("w") as half:
        half.write("[program]\n")
        half.flush()
        assert not watched.woken(seconds=0.5)
    assert watched.woken()


def test_a_file_is_new_once_for_each_time_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text("one")
    saved = SavedFile(path)
    assert not saved.is_new()
    with path.open("w") as half:
        assert not saved.is_new()
        half.write("another")
    saved.closed()
    assert [saved.is_new(), saved.is_new()] == [True, False]
    path.unlink()
    saved.closed()
    assert [saved.is_new(), saved.is_new()] == [True, False]
    saved.forget()
    assert saved.is_new()


def test_half_a_file_is_not_new_and_a_whole_one_is_though_nobody_saw_it_closed(tmp_path: Path) -> None:
    path, now = tmp_path / "program.toml", 100.0
    path.write_text("one")
    saved = SavedFile(path, clock=lambda: now)
    with path.open("w") as half:
        for piece in ("half", "of", "it"):
            half.write(piece)
            half.flush()
            assert not saved.is_new()
            now += REST_SECONDS - 1
            assert not saved.is_new()
    assert not saved.is_new()
    now += REST_SECONDS
    assert [saved.is_new(), saved.is_new()] == [True, False]


def test_what_was_closed_before_says_nothing_of_what_is_being_saved_since(watched: Watched) -> None:
    watched.program.write_text("one")
    assert watched.woken()
    with watched.program.open("w") as half:
        half.write("half")
        half.flush()
        assert not watched.saved.is_new()
    assert watched.woken()
    assert watched.saved.is_new()


def test_a_signal_that_comes_while_it_begins_to_listen_asks_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    set_handler, coming = signal.signal, [signal.SIGTERM]

    def set_and_raise(number: int, handler: Any) -> Any:
        before = set_handler(number, handler)
        while coming:
            signal.raise_signal(coming.pop())
        return before

    monkeypatch.setattr(signal, "signal", set_and_raise)
    with ending(asked.append):
        assert asked == ["SIGTERM"]


def test_the_first_signal_asks_and_the_second_is_as_it_was_before() -> None:
    asked: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append("before"))
    try:
        with ending(asked.append):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert asked == ["SIGTERM", "before", "SIGINT"]
    finally:
        signal.signal(signal.SIGTERM, before)
