"""A crash of the model's is given back to it: what comes back is the same experiment, and no device waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from autoresearchd.actions import Replay
from autoresearchd.clerk import Clerk
from autoresearchd.experiment import LLM, CommitOid, Ending, Outcome
from tests.ledger.lab import FILES, NOW, kept, new_ledger, opened, with_baseline
from tests.support.fakes import FakePipeline, proposal
from tests.support.lab_model import PROGRAM, LabModel, tree_of
from tests.support.measured import finish_all, measured_lab
from tests.support.night import Night
from tests.support.projects import git, lab


def crashed_lab() -> LabModel:
    """A lab in which the model's experiment 1 has crashed; two devices."""
    lab = measured_lab()
    lab.effects.update({1: 1.0, 5: 1.0})
    lab.propose(1, LLM)
    lab.step()
    crash(lab, "1")
    return lab


def crash(lab: LabModel, change: str) -> None:
    lab.now += 10
    (run,) = (run for run, spec in lab.live.items() if spec.tree == change)
    lab.end_run(run, Ending.CRASH, 0.0, "NameError: name 'f' is not defined")
    lab.step()


def test_a_crash_is_given_back_and_the_mended_code_is_the_same_experiment() -> None:
    lab = crashed_lab()
    assert lab.fixes_asked == {lab.opened[1].commit}
    lab.answer_fix(lab.opened[1].commit, 5)
    lab.step()
    assert (lab.opened[1].tree, lab.opened[1].fix_attempts) == (tree_of(frozenset({5})), 1)
    for _ in range(12):
        lab.now += 10
        finish_all(lab)
    assert lab.concluded[1][1].outcome is Outcome.KEEP
    assert list(lab.concluded) == [0, 1]


def test_while_a_crash_is_being_mended_the_devices_do_something_else() -> None:
    lab = crashed_lab()
    lab.propose(2)
    lab.propose(4)
    lab.step()
    assert len(lab.live) == 2
    assert 1 in lab.opened


def test_without_a_correction_the_crash_is_concluded() -> None:
    lab = crashed_lab()
    lab.answer_fix(lab.opened[1].commit, None)
    lab.step()
    assert lab.concluded[1][1].outcome is Outcome.CRASH
    assert "NameError" in lab.concluded[1][1].why


def test_a_crash_is_given_back_only_so_often_whatever_is_restarted_in_between() -> None:
    lab = crashed_lab()
    for attempt, change in enumerate((5, 6)):
        lab.crash()
        lab.step()
        assert lab.opened[1].fix_attempts == attempt
        lab.answer_fix(lab.opened[1].commit, change)
        lab.step()
        crash(lab, str(change))
    assert lab.concluded[1][1].outcome is Outcome.CRASH
    assert lab.concluded[1][0].fix_attempts == 2


def test_only_the_models_own_crashes_are_mended_and_no_slow_training() -> None:
    lab = measured_lab()
    for change, proposer, ending in ((1, "model", Ending.CRASH), (2, LLM, Ending.TIMEOUT), (4, LLM, Ending.UNSTABLE)):
        lab.propose(change, proposer)
        lab.step()
        lab.now += 10
        lab.end_run(next(iter(lab.live)), ending, 0.0, f"{ending} of {change}")
        lab.step()
    assert sorted(lab.concluded) == [0, 1, 2, 3]


def test_with_no_attempts_allowed_a_crash_is_a_crash() -> None:
    none = PROGRAM.propose.model_copy(update={"llm": PROGRAM.propose.llm.model_copy(update={"fix_attempts": 0})})
    lab = measured_lab(program=PROGRAM.model_copy(update={"propose": none}))
    lab.propose(1, LLM)
    lab.step()
    crash(lab, "1")
    assert lab.concluded[1][1].outcome is Outcome.CRASH


def test_a_pause_asks_for_no_correction_and_forgets_no_crash() -> None:
    lab = measured_lab()
    lab.propose(1, LLM)
    lab.step()
    lab.paused = True
    crash(lab, "1")
    assert not lab.fixes_asked
    assert 1 in lab.opened
    lab.paused = False
    lab.step()
    assert lab.fixes_asked == {lab.opened[1].commit}


def test_code_mended_for_an_older_best_is_measured_on_the_new_one() -> None:
    lab = crashed_lab()
    lab.answer_fix(lab.opened[1].commit, 5)
    lab.line.append(CommitOid("elsewhere"))
    lab.holds[CommitOid("elsewhere")] = frozenset({7})
    lab.runs[tree_of(frozenset({7}))] = list(lab.runs["imported"])
    lab.step()
    assert lab.opened[1].tree == tree_of(frozenset({5, 7}))
    assert [spec.tree for spec in lab.live.values()] == [tree_of(frozenset({5, 7}))]


def test_the_loop_trains_the_corrected_code_as_the_same_experiment(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"))
    night.steps(6)
    best = night.ledger.best().commit
    wrong = proposal(best, "RATE = 0 + raise\nDEPTH = 2\n", title="Halve the rate")
    night.pipeline.put(replace(wrong, proposer=LLM, cost_usd=0.25))
    night.steps(3)
    (open_,) = night.ledger.opened()
    assert night.pipeline.fixes_asked == {open_.commit}
    restarted = Night(night.ledger)
    restarted.steps(3)
    assert restarted.pipeline.fixes_asked == {open_.commit}
    mended = replace(proposal(best, "RATE = 0.5\nDEPTH = 2\n"), proposer=LLM, cost_usd=0.125)
    restarted.pipeline.fixes[open_.commit] = mended
    restarted.steps()
    assert restarted.outcome(1) is Outcome.KEEP
    log = git(night.ledger.path, "log", "-1", "best", "--format=%s|%(trailers:key=Cost-USD,valueonly,separator=)")
    assert log.strip() == "Halve the rate|0.375000"
    assert [entry.number for entry in night.ledger.entries()] == [0, 1]


def test_a_correction_is_not_waited_for_once_its_experiment_is_replayed(tmp_path: Path) -> None:
    ledger, pipeline = new_ledger(tmp_path), FakePipeline()
    with_baseline(ledger)
    crashed = opened(ledger, FILES["train.py"] + "raise\n")
    kept(ledger, "FIRST = 1\n" + FILES["train.py"])
    pipeline.fixes_asked = frozenset({crashed.commit})
    nobody = cast("Any", None)
    clerk = Clerk(
        ledger=ledger,
        pipeline=cast("Any", pipeline),
        memory=nobody,
        reception=nobody,
        session=nobody,
        metric=nobody,
        environment=nobody,
    )
    clerk.move(Replay(experiment=crashed), NOW)
    assert [each.parent for each in ledger.opened()] == [ledger.best().commit]
    assert pipeline.fixes_asked == frozenset()


def test_a_correction_that_git_cannot_hold_leaves_a_crash(tmp_path: Path) -> None:
    night = Night(lab(tmp_path / "project"))
    night.steps(6)
    best = night.ledger.best().commit
    night.pipeline.put(replace(proposal(best, "RATE = 0 + raise\n"), proposer=LLM))
    night.steps(3)
    (open_,) = night.ledger.opened()
    night.pipeline.fixes[open_.commit] = proposal(best, "x", path=".git/config")
    night.steps(3)
    assert night.outcome(1) is Outcome.CRASH
