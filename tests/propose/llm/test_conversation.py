"""One conversation with a server that answers as scripted: what comes of it, what it costs, and how it is given up."""

from __future__ import annotations

import asyncio
import json

import pytest

from autoresearchd.propose.llm.prices import Usage, rates
from tests.propose.llm.room import CALL, KEY, Clock, FakeWorkbench, ask, lab, researcher, think, thought
from tests.support.messages import Json, MessagesServer, Say, edit, proposal, submit, tool

GOOD = proposal(*CALL, title="Double the rate")


def results(body: Json) -> list[str]:
    """What the tools answered, in the last message."""
    return [block["content"] for block in body["messages"][-1]["content"] if block["type"] == "tool_result"]


def test_an_idea_becomes_a_proposal_that_says_what_it_cost() -> None:
    with MessagesServer([tool("read_file", path="train.py"), GOOD]) as server:
        found, status = ask(lab(server))
    assert found is not None
    assert (found.title, found.category, found.proposer) == ("Double the rate", "optimizer", "llm")
    assert found.edits[0].content is not None
    assert b"MATRIX_LR = 0.08" in found.edits[0].content
    assert "Expected effect: -0.01 in the metric" in found.rationale
    assert found.cost_usd == status.spent_total
    assert status.calls == 2
    assert status.endings == {"proposed": 1}


def test_the_price_is_the_apis_own_usage_at_the_programs_prices() -> None:
    with MessagesServer([tool("read_file", path="train.py"), GOOD]) as server:
        the_lab = lab(server, "[propose.llm.prices]\ninput = 50.0\noutput = 100.0\ncached = 5.0\n")
        found, _ = ask(the_lab)
        price, used = rates(the_lab.program.propose.llm), Usage()
    for usage in server.usages:
        hour = usage["cache_creation"]["ephemeral_1h_input_tokens"]
        used += Usage(
            input=usage["input_tokens"],
            output=usage["output_tokens"],
            cached=usage["cache_read_input_tokens"],
            cache_write=usage["cache_creation_input_tokens"] - hour,
            cache_write_hour=hour,
        )
    assert (price.input, price.output, price.cached, price.cache_write_hour) == (50.0, 100.0, 5.0, 100.0)
    assert found is None or found.cost_usd == pytest.approx(used.usd(price), abs=1e-6)
    assert used.cached > 0


def test_an_edit_that_matches_nothing_is_told_with_the_nearest_text() -> None:
    script = [Say(tools=(edit("MATRIX_LR = 0.05", "MATRIX_LR = 0.1"),)), GOOD]
    with MessagesServer(script) as server:
        found, _ = ask(lab(server))
    (answer,) = results(server.requests[1])
    assert "does not occur" in answer
    assert "MATRIX_LR = 0.04" in answer
    assert found is not None


def test_an_edit_that_matches_twice_changes_nothing() -> None:
    script = [Say(tools=(edit("MATRIX_LR", "RATE"),)), Say(tools=(submit(),)), GOOD]
    with MessagesServer(script) as server:
        found, _ = ask(lab(server))
    assert "occurs 2 times" in results(server.requests[1])[0]
    assert "does not differ from best" in results(server.requests[2])[0]
    assert found is not None
    assert found.title == "Double the rate"


def test_what_does_not_parse_is_not_submitted() -> None:
    script = [Say(tools=(edit("def main():", "def main(:"), submit("Break it"))), Say(text="oh")]
    with MessagesServer(script) as server:
        found, status = ask(lab(server))
    assert found is None
    assert "does not parse" in results(server.requests[1])[1]
    assert status.endings == {"no submission": 1}


def test_the_programs_own_check_has_to_pass() -> None:
    bench = FakeWorkbench("Traceback: the shapes do not fit")
    with MessagesServer([GOOD, Say(text="oh")]) as server:
        the_lab = lab(server, 'check = "python check.py"\n')
        found, _ = ask(the_lab, researcher(the_lab, workbench=bench))
    assert found is None
    assert "the shapes do not fit" in results(server.requests[1])[1]
    assert bench.checked[0][0] == "python check.py"


def test_a_file_outside_the_editable_paths_cannot_be_made() -> None:
    script = [Say(tools=(edit("", "x = 1", path="../evil.py"),)), GOOD]
    with MessagesServer(script) as server:
        ask(lab(server))
    assert "may not be edited" in results(server.requests[1])[0]


def test_what_was_proposed_already_is_sent_back() -> None:
    with MessagesServer([GOOD]) as server:
        the_lab = lab(server)
        first, _ = ask(the_lab)
        assert first is not None
        again, status = ask(the_lab, pending=[first])
    assert again is None
    assert any("the same files were tried or are waiting" in each for body in server.requests for each in results(body))
    assert set(status.endings) == {"too many turns"}


@pytest.mark.parametrize(
    ("say", "ending"),
    [
        (Say(text="I will not help with that.", stop="refusal"), "refused"),
        (Say(text="Once upon", stop="max_tokens"), "cut off"),
        (Say(tools=(("edit_file", '{"path": "train.py", "old'),), stop="max_tokens"), "cut off"),
        (Say(tools=(("edit_file", '{"path": }'),)), "malformed"),
        (Say(text="Let me think about it."), "no submission"),
        (Say(), "no submission"),
        (tool("read_file", path="train.py"), "too many turns"),
        (tool("no_such_tool", x=1), "too many turns"),
        (tool("read_file", file=1), "too many turns"),
        (Say(text="x", output_tokens=70_000, tools=(("check", {}),)), "too many tokens"),
    ],
)
def test_a_conversation_that_leads_nowhere_is_given_up_and_counted(say: Say, ending: str) -> None:
    with MessagesServer([say]) as server:
        found, status = ask(lab(server, "max_turns = 6\nusd_per_experiment = 5.0\n"))
        assert server.calls <= 6
    assert found is None
    assert status.endings == {ending: 1}
    assert status.state == "ready"  # nothing is wrong with the API


@pytest.mark.parametrize(("before", "state"), [([], "waiting"), ([tool("read_file", path="train.py")], "ready")])
def test_a_conversation_that_no_longer_fits_is_given_up_and_one_that_never_did_is_a_failure(
    before: list[Say], state: str
) -> None:
    with MessagesServer([*before, Say(status=413, error=("request_too_large", "Request exceeds"))]) as server:
        found, status = ask(lab(server))
    assert found is None
    assert status.endings == {"prompt too long": 1}
    assert status.state == state


def test_a_slow_stream_is_given_up_in_time_and_paid_for() -> None:
    with MessagesServer([Say(text="a word " * 400, pause=0.5)]) as server:
        found, status = ask(lab(server, "max_seconds = 1.0\n"))
    assert found is None
    assert status.endings == {"too long": 1}
    assert status.spent_total > 0


@pytest.mark.parametrize(
    "say",
    [
        Say(thinking="x" * 2_000, drop_after=3 + 5),
        Say(thinking="xy" * 500, piece=2, drop_after=3 + 500),
        Say(text="x" * 1_000, piece=1, drop_after=3 + 1_000),
        Say(tools=(("check", {"x": "x" * 1_000}),), piece=1, drop_after=3 + 1_000),
        Say(text="ä" * 500, piece=100, drop_after=3 + 5),
    ],
)
def test_an_answer_that_breaks_off_is_paid_for_by_all_that_was_said(say: Say) -> None:
    with MessagesServer([say]) as server:
        _, status = ask(lab(server))
    assert status.calls == 1
    assert status.output_tokens == 1 + 334  # the API's own first token, then 1000 bytes at three a token
    assert status.spent_total > 0


def test_an_answer_is_never_longer_than_its_money() -> None:
    with MessagesServer([tool("read_file", path="train.py")]) as server:
        found, status = ask(lab(server, "usd_per_experiment = 0.03\n"))
    assert found is None
    assert status.endings == {"too dear": 1}
    assert status.spent_total <= 0.03
    assert all(body["max_tokens"] <= 3_000 for body in server.requests)


def test_a_turn_that_the_api_pauses_goes_on_with_what_was_said_as_it_is() -> None:
    paused = Say(thinking="Let me see.", stop="pause_turn")
    with MessagesServer([paused, GOOD]) as server:
        found, status = ask(lab(server))
    assert found is not None
    assert status.endings == {"proposed": 1}
    said = server.requests[1]["messages"][-1]
    assert said == {"role": "assistant", "content": [{"type": "thinking", "thinking": "Let me see.", "signature": ""}]}


def test_a_budget_for_thinking_is_never_smaller_than_the_api_takes_and_leaves_room_to_answer() -> None:
    with MessagesServer([tool("read_file", path="train.py")]) as server:
        _, status = ask(lab(server, "thinking = 4096\nusd_per_experiment = 0.045\nmax_turns = 99\n"))
    assert status.endings == {"too dear": 1}
    budgets = [(body["thinking"]["budget_tokens"], body["max_tokens"]) for body in server.requests]
    assert min(budgets)[0] < 4096
    assert all(1024 <= budget <= most - 512 for budget, most in budgets)


def test_the_day_ends_a_conversation_before_its_money_is_gone() -> None:
    with MessagesServer([Say(text="x", output_tokens=2_000, tools=(("check", {}),))]) as server:
        the_lab = lab(server, "usd_per_day = 0.1\nmax_tokens = 2_000\n")
        llm = researcher(the_lab)

        async def night() -> None:
            for _ in range(8):
                await think(llm, the_lab)
            await llm.close()

        asyncio.run(night())
    assert llm.status.spent_today <= 0.1
    assert llm.status.state == "over budget"
    assert llm.status.until is not None
    assert llm.status.until % 86_400 == 0
    assert "of $0.10 are spent today" in llm.status.why


def test_the_head_of_the_prompt_is_the_same_for_every_conversation() -> None:
    with MessagesServer([GOOD]) as server:
        the_lab = lab(server)
        ask(the_lab)
        ask(the_lab)
    first, second = server.requests[0], server.requests[-1]
    assert first["system"] == second["system"]
    assert first["tools"] == second["tools"]
    assert first["messages"][0]["content"][:2] == second["messages"][0]["content"][:2]
    assert server.usages[1]["cache_read_input_tokens"] > 0.9 * server.usages[0]["cache_creation_input_tokens"]


def test_several_think_at_once_and_hear_of_each_other() -> None:
    with MessagesServer([tool("read_file", path="train.py"), tool("read_file", path="train.py"), GOOD]) as server:
        the_lab = lab(server, "in_flight = 2\n")
        llm = researcher(the_lab)

        async def both() -> int:
            assert await llm.propose(the_lab.context()) is None
            await asyncio.sleep(0)  # the first has read its context
            assert await llm.propose(the_lab.context()) is None
            assert await llm.propose(the_lab.context()) is None
            busy = llm.status.thinking
            await thought(llm)
            await llm.close()
            return busy

        assert asyncio.run(both()) == 2
    told = [json.dumps(body["messages"][0]) for body in server.requests]
    assert any("Others are thinking at this moment" in each for each in told)


def test_the_key_is_sent_to_the_server_and_nowhere_else() -> None:
    with MessagesServer([proposal(CALL[0], f"{CALL[1]}  # {KEY}", title=f"Show {KEY}")]) as server:
        the_lab = lab(server)
        llm = researcher(the_lab)
        found, status = ask(the_lab, llm)
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(server.requests[0])
    assert KEY not in repr(found)
    assert KEY not in repr(status) + repr(vars(llm))


def test_settings_reach_the_server() -> None:
    with MessagesServer([GOOD]) as server:
        ask(lab(server, 'model = "some-model"\nthinking = 2048\nmax_tokens = 4096\nmax_turns = 2\n'))
        ask(lab(server, 'thinking = "between_tools"\neffort = "low"\n'))
        ask(lab(server, 'thinking = "off"\ntemperature = 0.5\ncache_hour = false\n'))
    first, second, last = server.requests
    assert (first["model"], first["max_tokens"]) == ("some-model", 4096)
    assert first["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "temperature" not in first
    assert "output_config" not in first
    assert (second["thinking"], second["output_config"]) == ({"type": "between_tools"}, {"effort": "low"})
    assert (last["temperature"], last["thinking"]) == (0.5, {"type": "disabled"})
    assert "ttl" not in json.dumps(last)


def test_closing_cancels_what_thinks_and_writes_down_its_price() -> None:
    with MessagesServer([Say(text="word " * 400, pause=0.1)]) as server:
        the_lab = lab(server)
        llm = researcher(the_lab, clock=Clock())

        async def cut() -> None:
            await llm.propose(the_lab.context())
            while server.streamed < 5:  # its head, with what the words asked cost, was read long since
                await asyncio.sleep(0.01)
            await llm.close()

        asyncio.run(cut())
    assert llm.status.endings == {"cancelled": 1}
    assert llm.status.spent_total > 0
