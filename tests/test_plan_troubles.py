"""The whole policy when machines fail, the daemon dies and best does not train, against a lab in memory."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.actions import ConcludeExperiment, Settle, Start
from autoresearchd.experiment import CommitOid, Ending, Outcome, Rebased
from autoresearchd.holds import hold
from autoresearchd.plan import plan
from tests.support.lab_model import tree_of
from tests.support.measured import SIGMA, finish_all, measured_lab


def test_one_crash_is_the_codes_own_but_the_third_alike_is_believed_only_if_best_still_trains() -> None:
    lab = measured_lab()
    for change in (1, 2):
        lab.propose(change)
        lab.step()
        lab.now += 10
        lab.end_run(next(iter(lab.live)), Ending.CRASH, 0.0, "no space left")
        lab.step()
        assert lab.concluded[change][1].outcome is Outcome.CRASH
    lab.propose(4)
    lab.step()
    lab.now += 10
    lab.end_run(next(iter(lab.live)), Ending.CRASH, 0.0, "no space left")
    lab.step()
    assert 3 in lab.opened, "the third equal crash was believed at once"
    assert [spec.tree for spec in lab.live.values()] == ["imported"], "best was not asked whether the machine is well"
    finish_all(lab)
    assert lab.concluded[3][1].outcome is Outcome.CRASH


def test_a_machine_on_which_best_itself_fails_burns_no_budget_and_recovers_by_itself() -> None:
    lab = measured_lab()
    for change in (1, 2, 4):
        lab.propose(change)
        lab.step()
        lab.now += 10
        lab.end_run(next(iter(lab.live)), Ending.CRASH, 0.0, "CUDA error: device lost")
        lab.step()
    lab.now += 10
    lab.end_run(next(iter(lab.live)), Ending.CRASH, 0.0, "CUDA error: device lost")
    lab.step()
    held = hold(lab.world())
    assert held is not None
    assert "device lost" in held[0]
    assert not lab.live, "went on burning experiments on a broken machine"
    assert 3 in lab.opened, "a broken machine was blamed on the code"
    lab.now = held[1] + 1
    lab.step()
    assert [spec.tree for spec in lab.live.values()] == ["imported"]
    finish_all(lab)
    assert hold(lab.world()) is None
    assert [spec.tree for spec in lab.live.values()] == [tree_of(frozenset({4}))], "the experiment was not tried again"


def test_a_daemon_that_dies_right_after_best_moved_finishes_the_keep_at_the_next_start() -> None:
    lab = measured_lab()
    lab.effects[1] = 1.0
    lab.propose(1)
    lab.step()
    while not lab.landed:
        lab.now += 10
        for run in sorted(lab.live):
            lab.end_run(run, Ending.FINISHED, 0.0)
        if not lab.die_after_best_moved():
            lab.step()
    lab.step()
    assert lab.concluded[1][1].outcome is Outcome.KEEP
    assert len(lab.line) == 3, "head, baseline, and the keep once"


def test_a_best_that_diverges_is_tried_with_a_seed_that_it_has_not_had() -> None:
    lab = measured_lab()
    world = lab.world()
    runs = list(world.of(world.best_tree))
    for seed in (3, 4):
        runs.append(replace(runs[-1], run=f"diverged-{seed}", seed=seed, ending=Ending.UNSTABLE, started=world.now))
    later = world.now + 100_000.0
    (start,) = [
        action
        for action in plan(replace(world, runs={**world.runs, world.best_tree: runs}, now=later))
        if isinstance(action, Start)
    ]
    assert start.tree == world.best_tree
    assert start.seed not in {run.seed for run in runs}


def test_what_landed_before_a_crash_is_settled_before_anything_else_is_kept() -> None:
    lab = measured_lab()
    lab.effects.update({1: 0.0, 2: 1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    while not lab.landed:
        lab.now += 10
        for run in [run for run, spec in lab.live.items() if spec.tree != tree_of(frozenset({1}))]:
            lab.end_run(run, Ending.FINISHED, 0.0)
        if not lab.die_after_best_moved():
            lab.step()
    assert lab.landed == {2}
    assert 1 in lab.opened, "the older experiment is still open"
    assert isinstance(plan(lab.world())[0], Settle)


def test_the_baseline_of_a_rebase_that_was_killed_is_given_up_and_never_trained() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.step()
    began = replace(lab.opened[1], rebased=Rebased(old=lab.line[-1], onto=CommitOid("theirs")))
    world = lab.world()
    cut_off = replace(world, live=(), opened=(replace(world.opened[0], experiment=began),))
    (move,) = plan(cut_off)
    assert isinstance(move, ConcludeExperiment)
    assert move.verdict.outcome is Outcome.SKIPPED


def test_a_seed_with_which_best_fails_is_not_asked_for_for_ever() -> None:
    lab = measured_lab()
    lab.effects[1] = 4 * SIGMA
    lab.propose(1)
    unlucky: set[int] = set()
    for _ in range(60):
        lab.now += 4000
        lab.step()
        if 1 in lab.concluded:
            break
        for run, spec in sorted(lab.live.items()):
            if spec.tree == "imported" and (not unlucky or spec.seed in unlucky):
                unlucky.add(spec.seed)
                lab.end_run(run, Ending.UNSTABLE, 0.0, "loss is nan")
            else:
                lab.end_run(run, Ending.FINISHED, 0.0)
    assert unlucky, "best was never measured again"
    assert lab.concluded[1][1].outcome is Outcome.KEEP
