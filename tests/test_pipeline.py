"""Proposals ahead of need, from a real thread and a real ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from autoresearchd import pipeline as pipelines
from autoresearchd.ledger import Ledger
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import parse
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Context, Proposer
from autoresearchd.propose.portfolio import Portfolio
from tests.support.fakes import proposal
from tests.support.projects import PROGRAM, lab

PATIENCE = 120.0


class Thinker:
    """A proposer that answers with what the test gives it, and remembers what it saw."""

    name = "thinker"

    def __init__(self, answer: Callable[[Context], Proposal | None]) -> None:
        self.answer = answer
        self.seen: list[Context] = []

    async def propose(self, context: Context) -> Proposal | None:
        self.seen.append(context)
        return self.answer(context)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.ledger: Ledger = lab(folder)
        self.woken = threading.Event()
        self.pipelines: list[Pipeline] = []

    def pipeline(self, answer: Callable[[Context], Proposal | None]) -> tuple[Pipeline, Thinker]:
        thinker = Thinker(answer)
        return self.over(thinker), thinker

    def over(self, proposer: Proposer) -> Pipeline:
        self.pipelines.append(Pipeline(proposer, self.ledger.path, wake=self.woken.set))
        return self.pipelines[-1]

    def ask(self, pipeline: Pipeline) -> None:
        self.woken.clear()
        pipeline.ask(parse(PROGRAM), ())
        assert self.woken.wait(PATIENCE), "nobody was woken"

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            self.woken.wait(0.05)
            self.woken.clear()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path / "project")
    yield found
    for pipeline in found.pipelines:
        pipeline.close()


def better(context: Context) -> Proposal:
    return proposal(context.best, f"RATE = {len(context.pending)}\n")


def test_a_proposal_that_was_asked_for_waits_until_it_is_taken(rig: Rig) -> None:
    pipeline, thinker = rig.pipeline(better)
    rig.ask(pipeline)
    (ready,) = pipeline.ready
    assert thinker.seen[0].files == {"train.py": b"RATE = 1\nDEPTH = 2\n"}
    assert pipeline.asked == 0
    pipeline.take(ready)
    assert pipeline.ready == ()


def test_who_is_asked_before_a_proposal_is_opened_and_thinks_after_it_knows_of_it(rig: Rig) -> None:
    """Else the same change is proposed again, and opened while the first one trains."""
    thinks, opened = threading.Event(), threading.Event()

    def slow(context: Context) -> Proposal:
        if len(thinker.seen) == 2:
            thinks.set()
            assert opened.wait(PATIENCE)
        return proposal(context.best, f"RATE = {len(thinker.seen)}\n")

    pipeline, thinker = rig.pipeline(slow)
    rig.ask(pipeline)
    (first,) = pipeline.ready
    rig.woken.clear()
    for _ in range(2):  # the second is asked for now, and thought of when the first of the two has been answered
        pipeline.ask(parse(PROGRAM), ())
    assert thinks.wait(PATIENCE)
    pipeline.take(first)
    opened.set()
    rig.until(lambda: len(pipeline.ready) == 2)
    assert first in thinker.seen[2].pending


def test_the_second_proposer_call_sees_the_first_answer_as_pending(rig: Rig) -> None:
    pipeline, thinker = rig.pipeline(better)
    rig.ask(pipeline)
    rig.ask(pipeline)
    assert thinker.seen[1].pending == (pipeline.ready[0],)


def test_the_same_state_of_the_lab_gives_the_same_dice(rig: Rig) -> None:
    rolls = []
    for _ in range(2):
        pipeline, thinker = rig.pipeline(lambda context: None)
        rig.ask(pipeline)
        rolls.append(thinker.seen[0].rng.random())
    assert rolls[0] == rolls[1]


def test_a_persons_idea_comes_before_what_the_proposers_thought_of(rig: Rig) -> None:
    pipeline, _ = rig.pipeline(better)
    rig.ask(pipeline)
    idea = proposal(rig.ledger.best().commit, "RATE = 9\n")
    pipeline.put(idea)
    assert pipeline.ready[0] == idea


def test_a_proposer_that_fails_is_logged_and_asked_again_another_time(rig: Rig) -> None:
    def fail(context: Context) -> Proposal | None:
        raise RuntimeError("nonsense")

    pipeline, thinker = rig.pipeline(fail)
    with structlog.testing.capture_logs() as logs:
        rig.ask(pipeline)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["proposer_failed"]
    thinker.answer = better
    pipeline.ask(parse(PROGRAM), ())
    rig.until(lambda: pipeline.ready)


@pytest.mark.parametrize("fails", [False, True], ids=["says nothing", "fails"])
def test_who_has_no_idea_or_fails_is_silent_and_only_the_first_has_had_them_all(rig: Rig, *, fails: bool) -> None:
    def answer(context: Context) -> Proposal | None:
        if fails:
            raise RuntimeError("nonsense")
        return None

    pipeline, _ = rig.pipeline(answer)
    rig.ask(pipeline)
    assert pipeline.is_silent
    assert pipeline.is_exhausted is not fails


def test_an_empty_answer_is_not_asked_for_again_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "FIRST_PAUSE_SECONDS", 60.0)
    pipeline, thinker = rig.pipeline(lambda context: None)
    rig.ask(pipeline)
    assert pipeline.asked == 1, "the pause after an empty answer is over already"
    assert len(thinker.seen) == 1


def test_who_proposes_knows_the_memory_of_the_smallest_device(rig: Rig) -> None:
    thinker = Thinker(better)
    pipeline = Pipeline(thinker, rig.ledger.path, wake=rig.woken.set, memory_mib=24_000.0)
    rig.pipelines.append(pipeline)
    rig.ask(pipeline)
    assert thinker.seen[0].memory_mib == 24_000.0


def test_who_had_no_idea_is_not_asked_with_the_same_draw_again(rig: Rig) -> None:
    draws: list[float] = []

    def answer(context: Context) -> Proposal | None:
        draws.append(context.rng.random())
        return better(context) if len(draws) == 2 else None

    pipeline, _ = rig.pipeline(answer)
    for _ in range(2):
        pipeline.ask(parse(PROGRAM), ())
    rig.until(lambda: pipeline.ready)
    assert draws[0] != draws[1]


def test_a_session_that_waits_until_every_idea_was_had_goes_on_while_one_that_has_them_fails(rig: Rig) -> None:
    broken = True

    def answer(context: Context) -> Proposal | None:
        del context
        if broken:
            raise OSError("git cannot read it")
        return None

    pipeline = rig.over(Portfolio((), last=(Thinker(answer),)))
    for _ in range(3):  # it is asked, left alone for a turn, and asked again
        rig.ask(pipeline)
        assert pipeline.is_silent
        assert not pipeline.is_exhausted
    broken = False
    rig.ask(pipeline)
    rig.ask(pipeline)
    assert pipeline.is_exhausted
