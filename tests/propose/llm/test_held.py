"""What a conversation of minutes holds in memory, and what it still knows after them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

from autoresearchd.experiment import Concluded
from autoresearchd.ledger import history
from autoresearchd.pipeline import Pipeline
from autoresearchd.program import parse
from autoresearchd.propose.llm import Key, Llm
from autoresearchd.propose.portfolio import Portfolio
from bench.synthetic import make
from tests.propose.llm.room import KEY
from tests.support.messages import Json, MessagesServer, Say, tool
from tests.support.projects import PROGRAM

EXPERIMENTS = 3 * history.REMEMBERED
PATIENCE = 120.0


def records() -> int:
    """How many are held in this process."""
    gc.collect()
    return sum(type(each) is Concluded for each in gc.get_objects())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_a_conversation_holds_no_records_while_the_model_thinks_and_can_look_them_up(tmp_path: Path) -> None:
    lab, gate, before = make(tmp_path, EXPERIMENTS), threading.Event(), records()
    answers: list[Json] = []

    def answer(body: Json) -> Say:
        assert gate.wait(PATIENCE)
        answers.append(body["messages"][-1])
        return tool("show_experiment", number=len(answers))

    with MessagesServer(answer) as server:
        program = parse(f'{PROGRAM}[propose.llm]\nbase_url = "{server.url}"\nmax_turns = 3\n')
        llm = Llm(program, key=Key(KEY))
        pipeline = Pipeline(Portfolio([llm]), lab, wake=lambda: None)
        pipeline.ask(program, ())
        until(lambda: server.calls)
        until(lambda: records() - before <= history.REMEMBERED)  # those are the ledger's own
        gate.set()
        until(lambda: len(answers) == 3)
        pipeline.close()
    assert "0002" in str(answers[2])
