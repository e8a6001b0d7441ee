"""Who is asked, why, and what never leaves the portfolio."""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FunctionType, ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._observations import RECENT
from autoresearchd.propose._protocol import Context
from autoresearchd.propose.command import Command
from autoresearchd.propose.portfolio import ATTEMPTS, Portfolio, build, credit
from tests.propose.fakes import FakeLab, apply
from tests.propose.samples import MODEL, TRAIN

FILES = {"a.py": "A = 1\n", "b.py": "B = 1\n"}


class Scripted:
    """Proposes what a function of the context says; counts how often it was asked."""

    def __init__(self, name: str, answer: Callable[[Context, int], Proposal | None]) -> None:
        self.name, self.answer, self.asked = name, answer, 0

    async def propose(self, context: Context) -> Proposal | None:
        self.asked += 1
        return self.answer(context, self.asked)


def proposal(context: Context, name: str, *edits: tuple[str, bytes | None], title: str = "Try") -> Proposal:
    made = tuple(Edit(path=path, content=content) for path, content in edits)
    return Proposal(parent=context.best, edits=made, title=title, rationale="Perhaps.", category="x", proposer=name)


def fresh(name: str) -> Scripted:
    """Always has something new."""
    return Scripted(name, lambda context, n: proposal(context, name, ("a.py", f"A = '{name} {n}'\n".encode())))


def silent(name: str) -> Scripted:
    return Scripted(name, lambda context, n: None)


def failing(name: str) -> Scripted:
    def fail(context: Context, n: int) -> Proposal | None:
        raise ValueError(f"{name} is broken")

    return Scripted(name, fail)


def stubborn(name: str, *edits: tuple[str, bytes | None]) -> Scripted:
    return Scripted(name, lambda context, n: proposal(context, name, *edits))


def ask(context: Context, proposers: Sequence[Scripted]) -> Proposal | None:
    return asyncio.run(Portfolio(proposers).propose(context))


def record(lab: FakeLab, name: str, *, keeps: int, misses: int, gain: float = 0.01, seconds: float = 10.0) -> None:
    for step in range(keeps + misses):
        won = step < keeps
        value = (lab.value_of_best() or 0.0) - (gain if won else -0.1)
        files = {**lab.files, "b.py": f"B = '{name} {lab.count}'\n"}
        outcome = Outcome.KEEP if won else Outcome.DISCARD
        lab.try_files(files, outcome, value, proposer=name, train_seconds=seconds)


def picks(lab: FakeLab, names: Sequence[str], times: int = 200) -> Counter[str]:
    """Who is picked over many draws."""
    found = (ask(lab.context(seed=seed), [fresh(name) for name in names]) for seed in range(times))
    return Counter(each.proposer for each in found if each is not None)


def test_one_that_has_nothing_makes_way_for_the_next() -> None:
    lab = FakeLab(FILES)
    made = ask(lab.context(), [silent("quiet"), fresh("busy"), silent("mute")])
    assert made is not None
    assert made.proposer == "busy"


def test_one_that_fails_makes_way_for_the_next() -> None:
    lab = FakeLab(FILES)
    with capture_logs() as logs:
        for seed in range(5):
            made = ask(lab.context(seed=seed), [failing("broken"), fresh("busy")])
            assert made is not None
            assert made.proposer == "busy"
    assert {(each["event"], each["proposer"]) for each in logs} == {("proposer_failed", "broken")}


def test_who_fails_can_be_told_while_another_begins_to_fail() -> None:
    portfolio, names = Portfolio([]), iter(range(10**6))

    def fail(phase: str, info: object) -> None:
        del phase, info
        with portfolio._noting(failing(str(next(names)))):
            raise ValueError

    with capture_logs():
        fail("", None)
        before = gc.get_threshold()
        gc.callbacks.append(fail)  # wherever the other thread may have its turn
        gc.set_threshold(1)
        try:
            for _ in range(20):
                assert portfolio.failing == {}
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(fail)


def test_one_whose_idea_cannot_be_looked_at_makes_way_for_the_next() -> None:
    def odd(context: Context, n: int) -> Proposal:
        made = proposal(context, "odd", ("a.py", b"A = 2\n"))
        return replace(made, edits=(*made.edits, Edit(path="b.py", content="no bytes")))  # type: ignore[arg-type]

    with capture_logs():
        for seed in range(5):
            made = ask(FakeLab(FILES).context(seed=seed), [Scripted("odd", odd), fresh("busy")])
            assert made is not None
            assert made.proposer == "busy"


def test_one_that_only_fails_is_asked_less_and_less_is_named_and_the_others_go_on() -> None:
    lab, broken, busy = FakeLab(FILES), failing("broken"), fresh("busy")
    portfolio = Portfolio([broken, busy])
    assert portfolio.failing == {}
    with capture_logs():
        for seed in range(300):
            made = asyncio.run(portfolio.propose(lab.context(seed=seed)))
            assert made is not None
            assert made.proposer == "busy"
    assert 3 <= broken.asked <= 12
    assert portfolio.failing == {"broken": "ValueError: broken is broken"}


def test_one_that_works_again_is_named_no_more() -> None:
    def fail_first(context: Context, n: int) -> Proposal:
        if n <= 4:
            raise OSError("the disk is full")
        return proposal(context, "mended", ("a.py", f"A = {n}\n".encode()))

    lab = FakeLab(FILES)
    portfolio = Portfolio([Scripted("mended", fail_first)])
    with capture_logs():
        while asyncio.run(portfolio.propose(lab.context())) is None:
            assert set(portfolio.failing.values()) <= {"OSError: the disk is full"}
    assert portfolio.failing == {}


def test_one_that_fails_while_it_hands_out_what_it_thought_of_costs_nobody_a_turn() -> None:
    class Muddled(Scripted):
        is_thinking = False

        def finished(self, context: Context) -> Proposal | None:
            raise ValueError("what did I think of?")

        async def wait(self) -> None: ...

        async def close(self) -> None:
            raise ValueError("never")

    lab, muddled = FakeLab(FILES), Muddled("muddled", lambda context, n: None)
    portfolio = Portfolio([muddled, fresh("busy")])
    with capture_logs():
        for seed in range(3):
            made = asyncio.run(portfolio.propose(lab.context(seed=seed)))
            assert made is not None
        asyncio.run(portfolio.close())
    assert "what did I think of?" in portfolio.failing["muddled"] or "never" in portfolio.failing["muddled"]


def test_nobody_has_anything() -> None:
    with capture_logs():
        assert ask(FakeLab(FILES).context(), [silent("quiet"), failing("broken")]) is None
    assert ask(FakeLab(FILES).context(), []) is None


def test_the_reason_is_one_sentence_with_the_record() -> None:
    lab = FakeLab(FILES)
    made = ask(lab.context(), [fresh("space")])
    assert made is not None
    assert made.reason == "space was picked to try it out: nothing of it was tried yet."
    record(lab, "space", keeps=1, misses=3)
    made = ask(lab.context(), [fresh("space")])
    assert made is not None
    assert made.reason == (
        "space was picked by a draw from its record: 1 of its last 4 kept, 0.01 gained by a keep, "
        "10 s of training each."
    )


def test_the_reason_names_those_that_had_nothing() -> None:
    lab = FakeLab(FILES)
    reasons = set()
    for seed in range(10):
        made = ask(lab.context(seed=seed), [silent("quiet"), fresh("busy")])
        assert made is not None
        reasons.add(made.reason)
    assert any(reason.endswith(", after quiet had nothing.") for reason in reasons)


def test_the_one_that_is_kept_more_often_is_picked_more_often() -> None:
    lab = FakeLab(FILES)
    record(lab, "good", keeps=8, misses=12)
    record(lab, "poor", keeps=1, misses=19)
    counts = picks(lab, ["good", "poor"])
    assert counts["good"] > 160


def test_the_one_that_costs_less_time_is_picked_more_often() -> None:
    lab = FakeLab(FILES)
    record(lab, "quick", keeps=4, misses=16, seconds=10.0)
    record(lab, "slow", keeps=4, misses=16, seconds=100.0)
    counts = picks(lab, ["quick", "slow"])
    assert counts["quick"] > 160


def test_the_one_that_gains_more_is_picked_more_often() -> None:
    lab = FakeLab(FILES)
    record(lab, "leaps", keeps=4, misses=16, gain=0.05)
    record(lab, "steps", keeps=4, misses=16, gain=0.005)
    counts = picks(lab, ["leaps", "steps"])
    assert counts["leaps"] > 140


def test_one_with_a_poor_record_is_still_tried_now_and_then() -> None:
    lab = FakeLab(FILES)
    record(lab, "good", keeps=2, misses=8)
    record(lab, "poor", keeps=0, misses=10)
    assert picks(lab, ["good", "poor"])["poor"] >= 3


def test_an_old_record_fades() -> None:
    lab = FakeLab(FILES)
    record(lab, "before", keeps=5, misses=0)
    assert credit(lab.context())["before"].trials == pytest.approx(5, rel=0.05)
    record(lab, "since", keeps=0, misses=150)
    assert credit(lab.context())["before"].trials < 1.5


def test_what_says_nothing_of_a_proposer_does_not_count() -> None:
    lab = FakeLab(FILES)
    for outcome in (Outcome.STALE, Outcome.SKIPPED):
        lab.try_files({**lab.files, "a.py": outcome.value}, outcome, None, proposer="space")
    assert credit(lab.context()) == {}


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param((), id="no edits"),
        pytest.param((("a.py", b"A = 1\n"),), id="the file as it is"),
        pytest.param((("secret.py", b"S = 1\n"),), id="a protected file"),
        pytest.param((("../a.py", b"A = 2\n"),), id="a path outside"),
        pytest.param((("missing.py", None),), id="the removal of what is not there"),
    ],
)
def test_what_may_not_be_or_changes_nothing_never_leaves(edits: tuple[tuple[str, bytes | None], ...]) -> None:
    lab = FakeLab(FILES)
    subject = lab.program.program.model_copy(update={"protected": ("secret.py",)})
    lab.program = lab.program.model_copy(update={"program": subject})
    bad = stubborn("bad", *edits)
    assert ask(lab.context(), [bad]) is None
    assert bad.asked == ATTEMPTS
    made = ask(lab.context(), [bad, fresh("good")])
    assert made is not None
    assert made.proposer == "good"


def test_a_proposal_for_another_best_never_leaves() -> None:
    lab = FakeLab(FILES)
    old = lab.context()
    lab.try_files({**lab.files, "a.py": "A = 2\n"}, Outcome.KEEP, 0.9)
    late = Scripted("late", lambda context, n: proposal(old, "late", ("b.py", b"B = 3\n")))
    assert ask(lab.context(), [late]) is None


def test_what_was_tried_or_waits_never_leaves() -> None:
    lab = FakeLab(FILES)
    lab.try_files({**lab.files, "a.py": "A = 5\n"}, Outcome.DISCARD, 1.5)
    assert ask(lab.context(), [stubborn("again", ("a.py", b"A = 5\n"))]) is None
    waiting = proposal(lab.context(), "other", ("a.py", b"A = 6\n"))
    assert ask(lab.context(pending=[waiting]), [stubborn("again", ("a.py", b"A = 6\n"))]) is None
    running = lab.experiment({**lab.files, "a.py": b"A = 7\n"})
    lab.history.trees[running.tree] = {**lab.files, "a.py": b"A = 7\n"}
    assert ask(lab.context(pending=[running]), [stubborn("again", ("a.py", b"A = 7\n"))]) is None
    assert ask(lab.context(), [stubborn("again", ("a.py", b"A = 6\n"))]) is not None


def test_one_that_repeats_itself_is_asked_again_with_that_waiting() -> None:
    lab = FakeLab(FILES)
    lab.try_files({**lab.files, "a.py": "A = 5\n"}, Outcome.DISCARD, 1.5)

    def next_number(context: Context, n: int) -> Proposal:
        return proposal(context, "counter", ("a.py", f"A = {5 + len(context.pending)}\n".encode()))

    made = ask(lab.context(), [Scripted("counter", next_number)])
    assert made is not None
    assert made.edits[0].content == b"A = 6\n"


def test_who_is_switched_off_is_not_asked() -> None:
    lab = FakeLab(FILES, toml="[propose.retest]\nenabled = false\n")
    off = fresh("retest")
    assert ask(lab.context(), [off]) is None
    assert off.asked == 0
    assert ask(lab.context(), [off, fresh("llm")]) is not None


@settings(max_examples=50, deadline=None)
@given(
    results=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from([Outcome.KEEP, Outcome.DISCARD, Outcome.CRASH, Outcome.DUPLICATE]),
            st.one_of(st.none(), st.floats(-1e6, 1e6)),
            st.sampled_from([0.0, 0.5, 300.0]),
        ),
        max_size=12,
    )
)
def test_any_history_gives_a_proposal(results: list[tuple[str, Outcome, float | None, float]]) -> None:
    lab = FakeLab(FILES)
    for number, (name, outcome, value, seconds) in enumerate(results):
        lab.try_files({"b.py": f"{number}"}, outcome, value, proposer=name, train_seconds=seconds)
    made = ask(lab.context(), [fresh(name) for name in "abc"])
    assert made is not None
    assert apply(lab.files, made.edits) != lab.files
    assert made.reason.endswith(".")
    assert all(math.isfinite(each.gained) and each.gained >= 0 for each in credit(lab.context()).values())


def test_what_the_house_keeps_does_not_grow_with_a_labs_age() -> None:
    """A daemon lives for weeks: what is older than it looks at is let go of."""
    lab = FakeLab({"model.py": MODEL, "train.py": f"LR = 0.1\nDEPTH = 4\n{TRAIN}"})
    portfolio, sizes = build(lab.program), list[int]()
    for older in (2 * RECENT, RECENT):
        for _ in range(older):
            files = {**lab.files, "train.py": f"LR = 0.{lab.count:05d}1\nDEPTH = 4\n{TRAIN}"}
            lab.try_files(files, Outcome.DISCARD, 1.5)
        for each in (portfolio, *portfolio.proposers):
            asyncio.run(each.propose(lab.context()))
        gc.collect()
        sizes.append(reachable(portfolio))
    assert sizes[1] < 1.05 * sizes[0], sizes


def reachable(start: object) -> int:
    """How many objects it holds, whatever they are held by."""
    seen, todo = dict[int, object](), [start]
    while todo:
        found = todo.pop()
        if id(found) not in seen and not isinstance(found, type | ModuleType | FunctionType):
            seen[id(found)] = found
            todo.extend(gc.get_referents(found))
    return len(seen)


def test_the_five_of_the_house_keep_a_lab_busy() -> None:
    """A night in small: every proposal is new, allowed and says why; the proposers take turns."""
    lab = FakeLab({"model.py": MODEL, "train.py": "LR = 0.1\nDEPTH = 4\n" + TRAIN})
    with capture_logs() as logs:
        build(lab.program, Command())
    assert "command" not in logs[0]["enabled"], "none is set"
    portfolio = build(lab.program)
    assert [each.name for each in portfolio.proposers] == ["space", "refine", "patterns", "retest", "combine"]
    trees, names = {lab.best_tree}, Counter[str]()
    for number in range(40):
        made = asyncio.run(portfolio.propose(lab.context()))
        assert made is not None
        assert made.reason.startswith(f"{made.proposer} was picked")
        assert len(made.title) <= 60
        outcome = (Outcome.KEEP, Outcome.INCONCLUSIVE, Outcome.DISCARD, Outcome.CRASH)[number % 8 % 4]
        value = None if outcome is Outcome.CRASH else 1.0 - number / 200 + (0.1 if outcome is Outcome.DISCARD else 0.0)
        concluded = lab.try_proposal(made, outcome, value, std_error=0.02)
        assert concluded.experiment.tree not in trees
        trees.add(concluded.experiment.tree)
        names[made.proposer] += 1
    assert len(names) >= 4
