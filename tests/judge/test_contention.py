"""A run that something else slowed down is repeated, not judged; slow code is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import CurvePoint, Ending, Measurement
from autoresearchd.incident import Disturbance, Incident
from autoresearchd.judge.contention import MOST_REPEATS, contended
from tests.judge.lab import run

BEST = [run("best", seed, 1.0, others={"tokens_per_second": 100.0}) for seed in range(3)]


def runs(*speeds: float, seeds: Sequence[int] | None = None, tree: str = "new") -> list[Measurement]:
    return [
        run(tree, (seeds or range(len(speeds)))[index], 1.0, others={"tokens_per_second": speed}, name=f"{tree}{index}")
        for index, speed in enumerate(speeds)
    ]


def names(found: Sequence[Measurement]) -> list[str]:
    return sorted(each.run for each in found)


def test_a_run_far_slower_than_the_same_trees_others_is_set_aside() -> None:
    assert names(contended(runs(100, 99, 50, 101))) == ["new2"]
    assert contended(runs(100, 99, 81, 101)) == ()


def test_a_first_run_far_slower_than_best_waits_for_a_second() -> None:
    assert names(contended(runs(50), best_runs=BEST)) == ["new0"]
    assert contended(runs(90), best_runs=BEST) == ()
    assert contended(runs(50), best_runs=BEST[:1]) == (), "one run of best says nothing about the usual speed"


def test_the_second_run_counts_alone_if_it_is_not_slow() -> None:
    assert names(contended(runs(50, 100, seeds=(0, 0)), best_runs=BEST)) == ["new0"]


def test_code_that_is_slow_twice_is_slow_code_and_judged() -> None:
    assert contended(runs(50, 51, seeds=(0, 0)), best_runs=BEST) == ()


def test_a_seed_is_repeated_twice_at_the_most() -> None:
    found = contended(runs(100, 100, 100, 100, 100, 10, 11, 12, 13, seeds=(0, 1, 2, 3, 4, 5, 5, 5, 5)))
    assert names(found) == ["new5", "new6"]
    assert len(found) == MOST_REPEATS


def test_without_a_reported_speed_the_steps_of_the_curve_tell_it() -> None:
    def trained(name: str, steps: int, seed: int) -> Measurement:
        return run("new", seed, 1.0, curve=[CurvePoint(step=steps, seconds=60.0, train_loss=1.0)], name=name)

    assert names(contended([trained("a", 1000, 0), trained("b", 400, 1), trained("c", 990, 2)])) == ["b"]
    assert contended([run("new", seed, 1.0) for seed in range(3)]) == (), "what says no speed is not suspected"


def test_a_run_that_failed_is_not_called_slow() -> None:
    failed = run("new", 0, None, ending=Ending.CRASH, others={"tokens_per_second": 1.0})
    assert contended([failed, *runs(100, 100, tree="x")]) == ()


@given(st.permutations(runs(100, 60, 99, 20, 21, 22, 101, 98, 97, seeds=(0, 1, 2, 3, 3, 3, 4, 5, 6))))
def test_the_order_in_which_runs_arrived_does_not_matter(shuffled: list[Measurement]) -> None:
    assert names(contended(shuffled)) == ["new1", "new3", "new4"]


def seen(run: Measurement, kind: Disturbance, ending: Ending = Ending.FINISHED) -> Measurement:
    return replace(run, incidents=(Incident(kind=kind, what="something"),), ending=ending)


def test_a_run_beside_a_stranger_or_in_heat_is_set_aside_however_fast_it_was() -> None:
    calm = runs(100, 99, 101)
    for kind in (Disturbance.FOREIGN, Disturbance.THROTTLED):
        assert names(contended([calm[0], seen(calm[1], kind), calm[2]])) == ["new1"]
        assert names(contended([seen(calm[1], kind, Ending.TIMEOUT)])) == ["new1"], "it may have had the time alone"


def test_what_a_stranger_cannot_have_done_to_a_run_is_judged() -> None:
    calm = runs(100, 99, 101)
    assert contended([calm[0], seen(calm[1], Disturbance.FOREIGN, Ending.CRASH), calm[2]]) == ()
    assert contended([calm[0], seen(calm[1], Disturbance.HELD), calm[2]]) == ()


def test_a_stranger_who_stays_has_a_seed_repeated_twice_at_the_most() -> None:
    found = contended([seen(run, Disturbance.FOREIGN) for run in runs(100, 99, 101, 98, seeds=(0, 0, 0, 0))])
    assert len(found) == MOST_REPEATS


def test_a_best_that_was_disturbed_says_nothing_about_the_usual_speed() -> None:
    slow = [seen(run, Disturbance.FOREIGN) for run in BEST]
    assert contended(runs(50), best_runs=slow) == ()
