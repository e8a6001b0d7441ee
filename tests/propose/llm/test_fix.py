"""A crashed experiment of the model's: the traceback goes in, the corrected edit comes out, for the money there is."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import pytest

from autoresearchd.experiment import Concluded, Outcome, Verdict
from autoresearchd.proposal import Proposal
from autoresearchd.propose.llm import Llm
from autoresearchd.propose.portfolio import build
from autoresearchd.status import LlmStatus
from tests.propose.fakes import FakeLab, apply, measurement
from tests.propose.llm.room import lab, researcher, thought
from tests.support.messages import Json, MessagesServer, Say, edit, proposal, submit

TRACEBACK = "Traceback (most recent call last):\n  File \"train.py\", line 1\nNameError: name 'two' is not defined"
WRONG = "MATRIX_LR = 2 * two"
MENDED = proposal(WRONG, "MATRIX_LR = 2 * 2", title="Say 2")


def crashed(the_lab: FakeLab, *, cost: float = 0.02, attempts: int = 0) -> Concluded:
    """An open experiment of the model's whose only run has crashed, with the verdict it would get."""
    files = {**the_lab.files, "train.py": the_lab.files["train.py"].replace(b"MATRIX_LR = 0.04", WRONG.encode())}
    made = the_lab.experiment(files, title="Double it", proposer="llm")
    own = replace(made, rationale="Twice is better.", cost_usd=cost, fix_attempts=attempts)
    the_lab.history.trees[own.tree] = files
    the_lab.history.runs[own.tree] = [
        replace(measurement(own.tree, None), log_tail=TRACEBACK, why="NameError: name 'two' is not defined")
    ]
    verdict = Verdict(outcome=Outcome.CRASH, why="NameError: name 'two' is not defined")
    return Concluded(experiment=own, verdict=verdict)


def mend(the_lab: FakeLab, crash: Concluded, llm: Llm | None = None) -> tuple[Proposal | None, LlmStatus]:
    """As the portfolio has it mended, and the status after it."""
    who = llm or researcher(the_lab)

    async def whole() -> Proposal | None:
        portfolio = build(the_lab.program, who)
        found = await portfolio.fix(the_lab.context(pending=[crash.experiment]), crash)
        await portfolio.close()
        return found

    return asyncio.run(whole()), who.status


def told(server: MessagesServer) -> str:
    return "\n".join(block["text"] for block in server.requests[0]["messages"][0]["content"])


def test_the_traceback_goes_in_and_the_corrected_edit_comes_out() -> None:
    with MessagesServer([MENDED]) as server:
        the_lab = lab(server)
        found, status = mend(the_lab, crashed(the_lab))
        words = told(server)
    assert found is not None
    assert b"MATRIX_LR = 2 * 2" in apply(the_lab.files, found.edits)["train.py"]
    assert found.rationale == "Mended after it crashed (NameError: name 'two' is not defined): Say 2."
    assert found.cost_usd is not None
    assert status.spent_total == pytest.approx(found.cost_usd + 0.02)
    assert "FIX: the experiment below crashed." in words
    assert "Twice is better." in words
    assert "+MATRIX_LR = 2 * two" in words
    assert 'File "train.py", line 1' in words
    assert "propose something else\nnothing yet" in words


def test_a_draft_that_was_not_mended_is_not_taken() -> None:
    with MessagesServer([Say(tools=(submit("Leave it"),))]) as server:
        the_lab = lab(server, "max_turns = 3\n")
        found, status = mend(the_lab, crashed(the_lab))
        assert server.calls == 3
    assert found is None
    assert status.endings == {"too many turns": 1}


def test_its_cost_is_the_experiments() -> None:
    with MessagesServer([MENDED]) as server:
        the_lab = lab(server, "usd_per_experiment = 0.1\n")
        found, status = mend(the_lab, crashed(the_lab, cost=0.099))
        assert server.calls == 0
    assert found is None
    assert status.endings == {"too dear": 1}


@pytest.mark.parametrize("extra", ["usd_per_day = 0.0\n", "enabled = false\n"])
def test_without_money_or_permission_nobody_is_asked(extra: str) -> None:
    with MessagesServer([MENDED]) as server:
        the_lab = lab(server, extra)
        assert mend(the_lab, crashed(the_lab))[0] is None
        assert server.calls == 0


def test_an_api_that_was_just_out_of_order_is_not_asked() -> None:
    with MessagesServer([Say(status=401, error=("authentication_error", "invalid x-api-key"))]) as server:
        the_lab = lab(server)
        llm = researcher(the_lab)
        for _ in range(3):
            found, status = mend(the_lab, crashed(the_lab), llm)
            assert found is None
        assert server.calls == 1
    assert status.state == "blocked"


def test_somebody_elses_crash_is_not_its_business() -> None:
    with MessagesServer([MENDED]) as server:
        the_lab = lab(server)
        crash = crashed(the_lab)
        foreign = replace(crash, experiment=replace(crash.experiment, proposer="space"))
        assert mend(the_lab, foreign)[0] is None
        assert server.calls == 0


def test_a_change_that_has_no_place_in_the_new_best_is_not_mended() -> None:
    with MessagesServer([MENDED]) as server:
        the_lab = lab(server)
        crash = crashed(the_lab)
        the_lab.try_files({"train.py": "MATRIX_LR = 0.09\n"}, Outcome.KEEP, 0.9)
        assert mend(the_lab, crash)[0] is None
        assert server.calls == 0


def test_a_crash_waits_for_room_and_goes_before_new_ideas() -> None:
    gate = threading.Event()

    def answer(body: Json) -> Say:
        if "FIX" in json.dumps(body["messages"]):
            return MENDED
        gate.wait(120)
        return Say(text="No.", stop="refusal")

    with MessagesServer(answer) as server:
        the_lab = lab(server, "in_flight = 1\n")
        llm, crash = researcher(the_lab), crashed(the_lab)

        async def both() -> Proposal | None:
            assert llm.begin(the_lab.context())
            fixing = asyncio.create_task(llm.fix(the_lab.context(), crash))
            while not server.calls:
                await asyncio.sleep(0.01)
            gate.set()
            async with asyncio.timeout(120):
                while not fixing.done():
                    llm.begin(the_lab.context())
                    await asyncio.sleep(0)
            found = await fixing
            await llm.close()
            return found

        assert asyncio.run(both()) is not None
    assert ["FIX" in json.dumps(body["messages"]) for body in server.requests[:2]] == [False, True]


def test_an_idea_that_was_begun_before_best_moved_is_not_lost() -> None:
    gate = threading.Event()

    def answer(_: Json) -> Say:
        gate.wait(120)
        return Say(tools=(edit("0.2", "0.1"), submit("Decay less")))

    with MessagesServer(answer) as server:
        the_lab = lab(server)
        llm = researcher(the_lab)

        async def night() -> Proposal | None:
            assert llm.begin(the_lab.context())
            while not server.calls:
                await asyncio.sleep(0.01)
            the_lab.try_files({"train.py": "MATRIX_LR = 0.09\n"}, Outcome.KEEP, 0.9)
            assert llm.finished(the_lab.context()) is None
            gate.set()
            await thought(llm)
            found = llm.finished(the_lab.context())
            await llm.close()
            return found

        found = asyncio.run(night())
    assert found is not None
    assert found.title == "Decay less"
