"""Pruning, replayed over recorded trainings of nanogpt: what would have been stopped, and what must not be."""

from __future__ import annotations

from bench.prune import RECORDED, divided, load, replayed, saved, stop

BEST, OTHERS = divided(load(RECORDED))
REPLAYS = replayed(BEST, OTHERS)


def test_no_recorded_training_that_ended_as_well_as_best_would_have_been_stopped() -> None:
    well = [replay for replay in REPLAYS if replay.gain > -2.0]
    assert len(well) >= 15
    assert [(replay.run.change, replay.at) for replay in well if replay.at is not None] == []


def test_best_would_never_have_been_stopped_for_a_change_of_its_seed() -> None:
    assert [stop(run, [other for other in BEST if other is not run]) for run in BEST] == [None] * len(BEST)


def test_what_is_hopeless_is_stopped_and_saves_training() -> None:
    assert any(replay.at is not None for replay in REPLAYS)
    assert 0.0 < saved(REPLAYS) < 1.0


def test_every_recorded_training_has_the_curve_that_a_run_of_so_many_steps_writes() -> None:
    assert all(len(run.curve) >= 30 and run.curve[-1].step <= run.steps for run in (*BEST, *OTHERS))
