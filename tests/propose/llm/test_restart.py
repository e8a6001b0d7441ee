"""What a stop must not lose: an idea that is paid for, and how long a failing API is to be left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from tests.propose.fakes import FakeLab
from tests.propose.llm.room import CALL, KEY, Clock, FakeWorkbench, ask, lab, researcher
from tests.support.messages import MessagesServer, Say, proposal

HOUR = 3600.0
OVERLOADED = Say(status=529, error=("overloaded_error", "Overloaded"), headers=(("retry-after", "0"),))


def left_behind(the_lab: FakeLab, spend: Path) -> Proposal:
    """What a researcher thought of that ended before anybody opened it."""
    found, _ = ask(the_lab, researcher(the_lab, spend=spend))
    assert found is not None
    return found


def test_an_idea_that_was_paid_for_is_there_after_a_restart(tmp_path: Path) -> None:
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server)
        found = left_behind(the_lab, tmp_path / "spend.jsonl")
        again = researcher(the_lab, spend=tmp_path / "spend.jsonl")
        assert again.finished(the_lab.context()) == found
        assert server.calls == 1
        assert again.status.spent_total == found.cost_usd


def test_an_idea_that_was_opened_is_not_there_again(tmp_path: Path) -> None:
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server)
        found = left_behind(the_lab, tmp_path / "spend.jsonl")
        opened = the_lab.experiment(the_lab.files | {"train.py": found.edits[0].content or b""}, proposer="llm")
        the_lab.history.trees[opened.tree] = the_lab.files
        pending = [replace(opened, cost_usd=found.cost_usd)]
        assert researcher(the_lab, spend=tmp_path / "spend.jsonl").finished(the_lab.context(pending=pending)) is None
        assert not list((tmp_path / "proposals").glob("*.json"))


def test_an_idea_that_somebody_had_meanwhile_is_forgotten(tmp_path: Path) -> None:
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server)
        found = left_behind(the_lab, tmp_path / "spend.jsonl")
        the_lab.try_proposal(found, Outcome.DISCARD, 1.1)
        assert researcher(the_lab, spend=tmp_path / "spend.jsonl").finished(the_lab.context()) is None
        assert not list((tmp_path / "proposals").glob("*.json"))


def test_an_idea_of_another_lab_is_not_opened(tmp_path: Path) -> None:
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server)
        left_behind(the_lab, tmp_path / "spend.jsonl")
        the_lab.history.lines.clear()
        the_lab.best = the_lab.best.replace("0", "f")
        assert researcher(the_lab, spend=tmp_path / "spend.jsonl").finished(the_lab.context()) is None


@pytest.mark.parametrize("name", ["proposals/1.json", "api.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2", b"\xff\x00"])
def test_what_cannot_be_read_is_said_and_does_no_harm(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with MessagesServer([proposal(*CALL)]) as server, structlog.testing.capture_logs() as logs:
        the_lab = lab(server)
        assert ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl"))[0] is not None
    assert [entry for entry in logs if "unreadable" in entry["event"]]


def test_a_place_that_cannot_be_written_costs_no_idea(tmp_path: Path) -> None:
    (tmp_path / "proposals").write_text("in the way")
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server)
        assert ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl"))[0] is not None


@pytest.mark.parametrize("say", [OVERLOADED, Say(status=401, error=("authentication_error", "invalid x-api-key"))])
def test_restarting_again_and_again_does_not_wear_the_api_out(tmp_path: Path, say: Say) -> None:
    clock, counts = Clock(), []
    with MessagesServer([say]) as server:
        the_lab = lab(server)
        for _ in range(3):
            before, end = server.calls, clock.now + HOUR
            while clock.now < end:
                llm = researcher(the_lab, spend=tmp_path / "spend.jsonl", clock=clock)
                ask(the_lab, llm)
                clock.now += 30.0
            counts.append(server.calls - before)
    assert max(counts) <= 10
    assert min(counts) >= 1
    assert llm.status.state in ("waiting", "blocked")
    assert KEY not in (tmp_path / "api.json").read_text()


def test_a_new_key_is_tried_at_once(tmp_path: Path) -> None:
    wrong = Say(status=401, error=("authentication_error", "invalid x-api-key"))
    with MessagesServer([wrong, proposal(*CALL)]) as server:
        the_lab = lab(server)
        assert ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl"))[1].state == "blocked"
        again = researcher(the_lab, spend=tmp_path / "spend.jsonl", key="sk-ant-another-0123456789")
        assert ask(the_lab, again)[0] is not None


def test_what_works_again_is_forgotten_as_a_failure(tmp_path: Path) -> None:
    clock = Clock()
    with MessagesServer([OVERLOADED, OVERLOADED, OVERLOADED, proposal(*CALL)]) as server:
        the_lab = lab(server)
        _, status = ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl", clock=clock))
        assert status.until is not None
        clock.now = status.until
        assert ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl", clock=clock))[0] is not None
    assert not (tmp_path / "api.json").exists()


def test_a_check_of_an_earlier_start_is_not_needed_again(tmp_path: Path) -> None:
    bench = FakeWorkbench()
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server, 'check = "python check.py"\n')
        ask(the_lab, researcher(the_lab, spend=tmp_path / "spend.jsonl", workbench=bench))
        again = researcher(the_lab, spend=tmp_path / "spend.jsonl", workbench=bench)
        assert asyncio.run(again.propose(the_lab.context())) is not None
    assert len(bench.checked) == 1
