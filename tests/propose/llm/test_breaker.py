"""A failing API is left alone: at most ten calls an hour reach it, and a person reads why."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.propose.llm import api
from autoresearchd.propose.llm.breaker import FIRST_SECONDS, LONGEST_SECONDS, Breaker, Failure
from autoresearchd.propose.llm.failures import pause
from tests.propose.llm.room import CALL, Clock, ask, lab, researcher, thought
from tests.support.messages import Json, MessagesServer, Say, proposal, tool

HOUR = 3600.0
SLOW_DOWN = (("retry-after", "0"),)


def garbled(data: str) -> Say:
    """A stream that nobody understands."""
    return Say(raw=("text/event-stream", f"event: message_start\ndata: {data}\n\n"))


def hammer(server: MessagesServer, extra: str, *, hours: float, every: float = 20.0) -> tuple[list[int], str, str]:
    """Ask as a busy portfolio does, on a clock of ours: calls in each hour, and the state and reason at the end."""
    the_lab, clock = lab(server, extra), Clock()
    llm = researcher(the_lab, clock=clock)
    counts: list[int] = []

    async def night() -> None:
        for _ in range(int(hours)):
            before = server.calls
            for _ in range(int(HOUR / every)):
                await llm.propose(the_lab.context())
                await llm.propose(the_lab.context())
                await thought(llm)
                clock.now += every
            counts.append(server.calls - before)
        await llm.close()

    asyncio.run(night())
    return counts, llm.status.state, llm.status.why


@pytest.mark.parametrize(
    ("say", "state", "why"),
    [
        (Say(status=529, error=("overloaded_error", "Overloaded"), headers=SLOW_DOWN), "waiting", "overloaded"),
        (Say(status=500, error=("api_error", "oops"), headers=SLOW_DOWN), "waiting", "out of order"),
        (Say(status=429, error=("rate_limit_error", "slow"), headers=SLOW_DOWN), "waiting", "limits the rate"),
        (Say(text="x" * 2000, drop_after=3), "waiting", "cannot be reached"),
        (Say(text="x" * 2000, error_after=3, error=("overloaded_error", "busy")), "waiting", "overloaded"),
        (Say(status=401, error=("authentication_error", "invalid x-api-key")), "blocked", "refuses the API key"),
        (Say(status=403, error=("permission_error", "not you")), "blocked", "refuses the API key"),
        (Say(status=404, error=("not_found_error", "model: x")), "blocked", "does not know the model"),
        (Say(status=400, error=("invalid_request_error", "Your credit balance is too low")), "blocked", "used up"),
        (Say(status=400, error=("invalid_request_error", "thinking: no")), "blocked", "refuses the request"),
        (Say(status=409, error=("conflict_error", "again"), headers=SLOW_DOWN), "waiting", "out of order"),
        (Say(status=408, error=("timeout_error", "again"), headers=SLOW_DOWN), "waiting", "out of order"),
        (Say(status=402, error=("billing_error", "pay")), "blocked", "used up"),
        (Say(status=403, error=("billing_error", "pay")), "blocked", "used up"),
        (Say(status=429, error=("rate_limit_error", "no"), code="enforced_spend_limit_reached"), "blocked", "used up"),
        (Say(raw=("text/html", "<h1>Sign in</h1>")), "waiting", "does not answer as the Messages API does"),
        (garbled("{oops"), "waiting", "does not answer as the Messages API does"),
        (garbled('{"type": "x"}'), "waiting", "does not answer as the Messages API does"),
        (Say(status=413, error=("request_too_large", "Request exceeds")), "waiting", "does not fit the model"),
        (Say(status=400, error=("invalid_request_error", "prompt is too long: 9 > 8")), "waiting", "does not fit"),
    ],
)
def test_a_broken_api_sees_at_most_ten_calls_an_hour(say: Say, state: str, why: str) -> None:
    with MessagesServer([say]) as server:
        counts, found, words = hammer(server, "", hours=3)
    assert max(counts) <= 10
    assert min(counts) >= 1  # it is tried again by itself
    assert found == state
    assert why in words


def test_an_api_that_fails_in_the_middle_of_every_conversation_is_left_alone_too() -> None:
    failed = 0

    def answer(body: Json) -> Say:
        nonlocal failed
        if len(body["messages"]) == 1:
            return tool("read_file", path="train.py")
        failed += 1
        return Say(status=529, error=("overloaded_error", "Overloaded"), headers=SLOW_DOWN)

    with MessagesServer(answer) as server:
        _, state, why = hammer(server, "", hours=1)
    assert 1 < failed <= 10
    assert state == "waiting"
    assert "overloaded" in why


def test_a_dead_port_is_no_storm_either() -> None:
    with MessagesServer([Say()]) as server:
        the_lab = lab(server)
    found, status = ask(the_lab)
    assert found is None
    assert status.state == "waiting"
    assert "cannot be reached" in status.why


def test_what_works_again_is_used_again() -> None:
    overloaded = Say(status=529, error=("overloaded_error", "Overloaded"), headers=SLOW_DOWN)
    with MessagesServer([overloaded, overloaded, overloaded, proposal(*CALL)]) as server:
        the_lab, clock = lab(server), Clock()
        llm = researcher(the_lab, clock=clock)
        first, status = ask(the_lab, llm)
        assert (first, status.state) == (None, "waiting")
        assert status.until is not None
        clock.now = status.until
        second, status = ask(the_lab, llm)
    assert second is not None
    assert (status.state, status.why, status.until) == ("ready", "", None)


@pytest.mark.parametrize("header", [("retry-after", "1000"), ("retry-after-ms", "1000000")])
def test_a_server_that_says_when_is_obeyed(header: tuple[str, str]) -> None:
    say = Say(status=429, error=("rate_limit_error", "slow"), headers=(header,))
    with MessagesServer([say]) as server:
        the_lab, clock = lab(server), Clock()
        _, status = ask(the_lab, researcher(the_lab, clock=clock))
        assert server.calls == 1  # the SDK would sleep as long in the middle of a conversation
    assert status.until == clock.now + 1000


def test_a_server_may_say_when_by_a_date() -> None:
    assert pause({"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=5))}) == pytest.approx(
        18_000, abs=600
    )
    assert pause({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert pause({"retry-after": "soon"}) is pause({}) is None


def test_an_api_that_never_answers_is_left_alone() -> None:
    with MessagesServer([Say(wait=600.0)]) as server:
        the_lab = lab(server, "max_seconds = 1.0\n")
        llm = researcher(the_lab)
        found, status = ask(the_lab, llm)
        assert found is None
        assert status.endings == {"too long": 1}
        assert status.state == "waiting"
        assert "was silent until the 1 s of a conversation were over" in status.why
        assert not llm.begin(the_lab.context())


def test_an_api_that_falls_silent_in_the_middle_of_an_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "LEAST_SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(api, "SILENCES", 300)
    with MessagesServer([Say(text="word " * 400, pause=600.0)]) as server:
        _, status = ask(lab(server, "max_seconds = 600.0\n"))
    assert status.state == "waiting"
    assert "does not answer in time" in status.why


def test_a_model_that_talks_until_the_time_is_over_is_no_failure_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    timeout, note, limits = asyncio.timeout, api._Seen.note, list[asyncio.Timeout]()

    def limited(seconds: float) -> asyncio.Timeout:
        limits.append(timeout(seconds))
        return limits[-1]

    def heard(seen: api._Seen, event: object) -> None:
        note(seen, event)
        while limits:
            limits.pop().reschedule(0.0)  # its time is over once it has begun to talk

    monkeypatch.setattr(asyncio, "timeout", limited)
    monkeypatch.setattr(api._Seen, "note", heard)
    with MessagesServer([Say(text="a word " * 400, pause=600.0)]) as server:
        _, status = ask(lab(server, "max_seconds = 600.0\n"))
    assert status.endings == {"too long": 1}
    assert status.state == "ready"


def test_a_model_that_refuses_all_that_a_lab_asks_is_left_alone_and_says_why() -> None:
    no = Say(text="I", stop="refusal", refusal=("frontier_llm", "It could train a rival."))
    with MessagesServer([no]) as server:
        counts, state, why = hammer(server, "", hours=2)
    assert max(counts) <= 10
    assert state == "waiting"
    assert why.endswith("in a row: frontier_llm: It could train a rival.")


def test_another_model_is_tried_at_once() -> None:
    unknown = Say(status=404, error=("not_found_error", "model: x"))
    with MessagesServer([unknown, proposal(*CALL)]) as server:
        the_lab = lab(server)
        llm = researcher(the_lab)
        assert ask(the_lab, llm)[1].state == "blocked"
        the_lab.program = lab(server, 'model = "another"\n').program
        found, status = ask(the_lab, llm)
    assert found is not None
    assert status.state == "ready"


def test_what_the_former_model_still_says_does_not_speak_for_the_new_one() -> None:
    gate = threading.Event()

    def answer(body: Json) -> Say:
        if body["model"] == "another":
            return Say(status=404, error=("not_found_error", "model: another"))
        gate.wait(120)
        return proposal(*CALL)

    with MessagesServer(answer) as server:
        the_lab = lab(server)
        llm = researcher(the_lab)

        async def switch() -> None:
            assert llm.begin(the_lab.context())
            async with asyncio.timeout(120):
                while not server.calls:
                    await asyncio.sleep(0.01)
                the_lab.program = lab(server, 'model = "another"\n').program
                assert llm.begin(the_lab.context())
                while llm.status.state != "blocked":
                    await asyncio.sleep(0.01)
                gate.set()
                await thought(llm)
            await llm.close()

        asyncio.run(switch())
    assert llm.status.endings == {"api failed": 1, "proposed": 1}
    assert llm.status.state == "blocked"


@given(st.lists(st.tuples(st.floats(0, 5_000), st.booleans(), st.sampled_from([None, 0.0, 50.0, 1e9])), max_size=40))
def test_a_probe_is_never_early_and_never_two(steps: list[tuple[float, bool, float | None]]) -> None:
    breaker, now, wait = Breaker(), 0.0, 0.0
    for seconds, fatal, after in steps:
        now += seconds
        if not breaker.admit(now):
            assert now < breaker.until
            continue
        assert now >= wait
        assert breaker.is_closed or not breaker.admit(now)
        breaker.failed(Failure(why="x", fatal=fatal, retry_after=after), now)
        wait = breaker.until
        assert now + FIRST_SECONDS <= wait <= now + LONGEST_SECONDS
