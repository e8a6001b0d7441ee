"""The whole policy against a lab in memory, one situation a test: what is opened, trained, replayed and kept."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.actions import Ask, ConcludeExperiment, OpenExperiment, Start
from autoresearchd.experiment import NULL, CommitOid, Ending, Outcome
from autoresearchd.plan import plan
from tests.support.lab_model import LabModel, tree_of
from tests.support.measured import CPU, SIGMA, finish_all, measured_lab


def test_the_baseline_is_measured_before_anything_is_opened() -> None:
    lab = LabModel(devices=CPU[:1], effects={1: 0.0})
    lab.propose(1)
    lab.step()
    assert list(lab.opened) == [0]
    assert [spec.tree for spec in lab.live.values()] == ["imported"]


def test_a_proposal_is_asked_for_before_a_device_is_free() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.propose(2)
    lab.step()
    assert len(lab.live) == 2
    assert lab.asked >= 2


def test_a_clear_win_moves_best_and_the_other_win_is_measured_again_on_top_of_it() -> None:
    lab = measured_lab()
    lab.effects.update({1: 1.0, 2: 1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    for _ in range(12):
        lab.now += 10
        finish_all(lab)
    assert lab.holds[lab.line[-1]] == {1, 2}
    assert [lab.concluded[number][1].outcome for number in (1, 2)] == [Outcome.KEEP, Outcome.KEEP]
    assert lab.concluded[2][0].parent == lab.line[-2], "the second win was not replayed on the first"


def test_a_win_that_conflicts_with_the_new_best_is_stale() -> None:
    lab = measured_lab(conflicts={2})
    lab.effects.update({1: 1.0, 2: 1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    for _ in range(12):
        lab.now += 10
        finish_all(lab)
    assert {lab.concluded[number][1].outcome for number in (1, 2)} == {Outcome.KEEP, Outcome.STALE}


def test_the_same_change_twice_is_a_duplicate_and_not_trained() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.step()
    while lab.opened:
        lab.now += 10
        finish_all(lab, noise=1.0)
    runs = len(lab.runs[tree_of(frozenset({1}))])
    lab.propose(1)
    lab.step()
    assert lab.concluded[2][1].outcome is Outcome.DUPLICATE
    assert len(lab.runs[tree_of(frozenset({1}))]) == runs


def test_a_change_of_nothing_is_a_duplicate() -> None:
    lab = measured_lab()
    lab.holds[lab.line[-1]] = frozenset({1})
    lab.propose(1)
    lab.step()
    assert lab.concluded[1][1].outcome is Outcome.DUPLICATE


def test_a_pause_lets_live_runs_end_and_starts_nothing() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.step()
    lab.paused = True
    finish_all(lab)
    assert not lab.live


def test_no_more_experiments_are_opened_than_were_asked_for() -> None:
    lab = measured_lab(remaining=1)
    for change in (1, 2, 4):
        lab.propose(change)
    lab.step()
    assert sorted(lab.opened) == [1]
    assert not any(isinstance(action, OpenExperiment | Ask) for action in plan(lab.world()))


def test_at_the_end_of_the_hours_nothing_begins_and_what_has_its_evidence_is_concluded() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.step()
    lab.closing = "the hours are over"
    lab.end_run(next(iter(lab.live)), Ending.FINISHED, 1.0)
    actions = plan(lab.world())
    assert any(isinstance(action, ConcludeExperiment) for action in actions)
    assert not any(isinstance(action, Start | OpenExperiment) for action in actions)
    lab.step()
    assert lab.finished


def test_an_experiment_made_from_an_older_best_gets_no_more_device_time_there() -> None:
    lab = measured_lab()
    lab.effects.update({1: 1.0, 2: 0.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    old = tree_of(frozenset({2}))
    (slow,) = (run for run, spec in lab.live.items() if spec.tree == old)
    while 1 not in lab.concluded:
        lab.now += 10
        for run in sorted(set(lab.live) - {slow}):
            lab.end_run(run, Ending.FINISHED, 0.0)
        lab.step()
    lab.end_run(slow, Ending.FINISHED, -2.5 * SIGMA)
    lab.step()
    assert lab.opened[2].tree == tree_of(frozenset({1, 2}))
    assert all(spec.tree != old for spec in lab.live.values())


def test_a_free_proposal_made_for_an_older_best_is_thought_of_anew_and_a_persons_is_replayed() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.propose(2)
    lab.ready[1] = replace(lab.ready[1], proposer="person")
    lab.line.append(CommitOid("elsewhere"))
    lab.holds[CommitOid("elsewhere")] = frozenset({5})
    lab.runs[tree_of(frozenset({5}))] = list(lab.runs["imported"])
    lab.step()
    assert lab.ready == []
    assert [lab.contents[number] for number in lab.opened] == [frozenset({2, 5})]


def test_what_an_agent_wrote_for_an_older_best_is_not_thrown_away() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.ready[0] = replace(lab.ready[0], proposer="command")
    lab.line.append(CommitOid("elsewhere"))
    lab.holds[CommitOid("elsewhere")] = frozenset({5})
    lab.runs[tree_of(frozenset({5}))] = list(lab.runs["imported"])
    lab.step()
    assert [lab.contents[number] for number in lab.opened] == [frozenset({1, 5})]


def test_the_baseline_is_measured_on_all_devices_at_once() -> None:
    lab = LabModel(devices=CPU, effects={1: 0.0})
    lab.step()
    assert sorted((spec.tree, spec.seed) for spec in lab.live.values()) == [("imported", seed) for seed in range(3)]
    assert len({spec.device for spec in lab.live.values()}) == 3


def test_what_was_thought_of_while_the_baseline_was_measured_is_trained() -> None:
    lab = LabModel(devices=CPU[:1], effects={1: 0.0})
    lab.step()
    lab.propose(1)
    for noise in (-SIGMA, 0.0, SIGMA):
        finish_all(lab, noise)
    assert 0 in lab.concluded
    assert lab.contents[1] == frozenset({1})


def test_a_null_experiment_that_looks_like_a_win_is_said_and_not_kept() -> None:
    lab = measured_lab()
    lab.effects[1] = 1.0
    lab.propose(1)
    lab.ready[0] = replace(lab.ready[0], category=NULL)
    lab.step()
    for _ in range(12):
        lab.now += 10
        finish_all(lab)
    assert lab.concluded[1][1].outcome is Outcome.DISCARD
    assert lab.concluded[1][1].why.startswith("false keep")
    assert len(lab.line) == 2
