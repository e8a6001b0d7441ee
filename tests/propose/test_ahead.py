"""Proposers that think long, among those that answer at once: their ideas come first, and no device waits for them."""

from __future__ import annotations

import asyncio

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose.llm import Llm
from autoresearchd.propose.portfolio import build
from tests.propose.fakes import FakeLab
from tests.propose.llm.room import CALL, lab, researcher, thought
from tests.support.messages import MessagesServer, Say, edit, proposal, submit
from tests.support.projects import WITHOUT_IDEAS, without

RATE = Say(tools=(edit("return MATRIX_LR", "return 2 * MATRIX_LR"), submit("Double the rate")))
SPACE = "steer_share = 1.0\n" + without("patterns", "refine", "retest", "combine")


def asked(the_lab: FakeLab, llm: Llm, times: int) -> list[Proposal | None]:
    portfolio = build(the_lab.program, llm)

    async def night() -> list[Proposal | None]:
        found: list[Proposal | None] = []
        for _ in range(times):
            waiting = [each for each in found if each is not None]
            found.append(await portfolio.propose(the_lab.context(pending=waiting)))
        await portfolio.close()
        return found

    return asyncio.run(night())


def test_while_a_model_thinks_the_others_answer() -> None:
    with MessagesServer([Say(wait=600.0)]) as server:
        the_lab = lab(server, SPACE)
        found = asked(the_lab, researcher(the_lab), 4)
    assert [each.proposer for each in found if each] == ["space"] * 4


def test_a_finished_thought_comes_first() -> None:
    with MessagesServer([RATE]) as server:
        the_lab = lab(server, SPACE)
        llm = researcher(the_lab)
        portfolio = build(the_lab.program, llm)

        async def night() -> Proposal | None:
            assert await portfolio.propose(the_lab.context()) is not None
            await thought(llm)
            found = await portfolio.propose(the_lab.context())
            await portfolio.close()
            return found

        found = asyncio.run(night())
    assert found is not None
    assert found.title == "Double the rate"
    assert found.reason.startswith("llm was picked")
    assert found.reason.endswith("Asked for: steer.")


def test_a_model_alone_is_waited_for() -> None:
    with MessagesServer([RATE]) as server:
        the_lab = lab(server, WITHOUT_IDEAS)
        (found,) = asked(the_lab, researcher(the_lab), 1)
    assert found is not None
    assert found.proposer == "llm"


def test_the_samplers_next_point_is_shown_and_may_be_overridden() -> None:
    with MessagesServer([proposal(*CALL)]) as server:
        the_lab = lab(server, f"max_turns = 1\n{SPACE}")
        llm = researcher(the_lab)
        portfolio = build(the_lab.program, llm)

        async def one() -> Proposal | None:
            found = await portfolio.propose(the_lab.context())
            await thought(llm)
            await portfolio.close()
            return found

        first = asyncio.run(one())
        told = server.requests[0]["messages"][0]["content"][2]["text"]
    assert first is not None
    assert "STEER" in told
    assert "The sampler's next point: " in told
    assert "train.py:MATRIX_LR = 0.04" in told
    assert first.title not in told.partition("next point: ")[2].splitlines()[0]


def test_without_a_key_no_model_is_asked() -> None:
    with MessagesServer([RATE]) as server:
        the_lab = lab(server, "steer_share = 1.0\n")
        found = asked(the_lab, researcher(the_lab, key=""), 3)
        assert server.calls == 0
    assert all(each is not None and each.proposer != "llm" for each in found)


def test_a_proposal_for_an_older_best_is_still_handed_out_for_it_is_paid() -> None:
    with MessagesServer([RATE]) as server:
        the_lab = lab(server, WITHOUT_IDEAS)
        llm = researcher(the_lab)

        async def night() -> Proposal | None:
            assert await llm.propose(the_lab.context()) is None
            await thought(llm)
            the_lab.try_files({"train.py": "MATRIX_LR = 0.05\n"}, Outcome.KEEP, 0.9)
            found = llm.finished(the_lab.context())
            await llm.close()
            return found

        found = asyncio.run(night())
    assert found is not None
    assert found.parent != the_lab.best
    assert found.cost_usd is not None
