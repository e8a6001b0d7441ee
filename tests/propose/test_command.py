"""A program of the user's own as a proposer: what it leaves is the proposal, and nobody waits for it."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._rest import PATIENCE
from autoresearchd.propose.command import Command
from tests.propose.fakes import FakeLab
from tests.propose.llm.room import FakeWorkbench

TOML = '[propose.command]\ncommand = "agent --headless"\n'
EDITS = (Edit(path="train.py", content=b"RATE = 2\n"),)


def lab() -> FakeLab:
    return FakeLab({"train.py": "RATE = 1\n", "model.py": "DEPTH = 1\n"}, toml=TOML)


def turn(command: Command, the_lab: FakeLab) -> Proposal | None:
    """One question, and the time that it takes."""

    async def ask() -> Proposal | None:
        now = await command.propose(the_lab.context())
        while command.is_thinking:
            await command.wait()
            await asyncio.sleep(0)
        return now

    return asyncio.run(ask())


def test_what_it_leaves_is_proposed_at_the_next_turn() -> None:
    the_lab, bench = lab(), FakeWorkbench(edits=EDITS)
    command = Command(bench)
    assert turn(command, the_lab) is None
    found = turn(command, the_lab)
    assert found is not None
    assert (found.edits, found.proposer, found.parent) == (EDITS, "command", the_lab.best)
    assert found.title == "Change train.py as agent left it"
    assert "The lab" not in found.rationale
    assert "What is on best" in bench.digests[0]


def test_a_newer_best_gets_what_it_left_if_its_files_are_the_same() -> None:
    the_lab, command = lab(), Command(FakeWorkbench(edits=EDITS))
    turn(command, the_lab)
    the_lab.try_files({"train.py": "RATE = 1\n", "model.py": "DEPTH = 3\n"}, Outcome.KEEP, 0.9)
    found = turn(command, the_lab)
    assert found is not None
    assert found.parent == the_lab.best


def test_a_newer_best_with_other_lines_does_not() -> None:
    the_lab, command = lab(), Command(FakeWorkbench(edits=EDITS))
    turn(command, the_lab)
    the_lab.try_files({"train.py": "RATE = 5\n", "model.py": "DEPTH = 1\n"}, Outcome.KEEP, 0.9)
    assert turn(command, the_lab) is None


def test_one_that_always_fails_is_asked_less_and_less() -> None:
    the_lab, bench = lab(), FakeWorkbench(why="exit code 1")
    command = Command(bench)
    for _ in range(100):
        assert turn(command, the_lab) is None
    assert PATIENCE < len(bench.digests) < 12
    assert command.trouble == "exit code 1"


def test_one_that_cannot_even_be_started_is_asked_less_and_less_too() -> None:
    class Broken(FakeWorkbench):
        async def work(self, *arguments: object, **more: object) -> tuple[tuple[Edit, ...], str]:
            self.digests.append("asked")
            raise OSError("no space left on device")

    the_lab, bench = lab(), Broken()
    command = Command(bench)
    with structlog.testing.capture_logs():
        for _ in range(100):
            assert turn(command, the_lab) is None
    assert PATIENCE < len(bench.digests) < 12
    assert command.trouble == "OSError: no space left on device"


def test_why_what_it_left_was_not_taken_is_told_to_it_the_next_time() -> None:
    bench = FakeWorkbench(edits=(Edit(path="train.py", content=b"RATE = 2\r\n"),))
    the_lab, command = lab(), Command(bench)
    for _ in range(3):
        assert turn(command, the_lab) is None
    assert "not taken" not in bench.digests[0]
    assert "not taken: 'train.py' would have carriage returns" in bench.digests[1]
    bench.edits = EDITS
    assert [turn(command, the_lab), turn(command, the_lab)][-1] is not None


def test_without_a_command_it_is_silent() -> None:
    the_lab, bench = FakeLab({"train.py": "RATE = 1\n"}), FakeWorkbench(edits=EDITS)
    command = Command(bench)
    assert turn(command, the_lab) is None
    assert turn(command, the_lab) is None
    assert bench.digests == []


def test_it_has_a_network_only_where_that_is_said() -> None:
    for extra, network in (("", False), ("network = true\n", True)):
        bench = FakeWorkbench(edits=EDITS)
        turn(Command(bench), FakeLab({"train.py": "RATE = 1\n"}, toml=TOML + extra))
        assert bench.networks == [network]


def test_a_secret_that_it_was_given_reaches_no_log_and_no_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_API_KEY", "very-secret-words")
    the_lab = FakeLab({"train.py": "RATE = 1\n"}, toml=TOML + 'environment = ["AGENT_API_KEY"]\n')
    leaks = (
        Edit(path="train.py", content=b"KEY = 'very-secret-words'\n"),
        Edit(path="very-secret-words.py", content=b"RATE = 2\n"),
    )
    failing = Command(FakeWorkbench(why="401: very-secret-words is no key"))
    with structlog.testing.capture_logs() as logs:
        for leak in leaks:
            leaking = Command(FakeWorkbench(edits=(leak,)))
            assert [turn(leaking, the_lab), leaking.finished(the_lab.context())] == [None, None]
        turn(failing, the_lab)
    assert [entry["why"] for entry in logs] == [
        *2 * ["it wrote a secret of its environment into a file or its name"],
        "401: [secret] is no key",
    ]
