"""Devices of other environments screen: they sort out what is worse, and only where best is led a keep is decided."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autoresearchd.actions import Start
from autoresearchd.experiment import Device, Ending, Environment, Outcome, RunSpec
from autoresearchd.holds import hold
from autoresearchd.judge import Measure
from autoresearchd.judgement import verdict_of
from autoresearchd.plan import plan
from autoresearchd.screening import is_screened, views
from autoresearchd.world import World
from tests.support.lab_model import ENVIRONMENT, FASTER, SLOWER, LabModel, tree_of

SIGMA = 0.01
CHANGES = range(8)
LEAD = tuple(Device(name=f"cuda:{index}", model="new", index=index) for index in range(2))
OLD = tuple(Device(name=f"cuda:{index}", model="old", index=index) for index in range(2, 4))
OLDEST = (Device(name="cuda:4", model="oldest", index=4),)
NOISE = (-SIGMA, 0.0, SIGMA, -SIGMA / 2, SIGMA / 2)


def finish_all(lab: LabModel, *, only: Environment | None = None, noise: float | None = None) -> None:
    lab.now += 10
    for run, spec in sorted(lab.live.items()):
        if only in (None, spec.environment):
            lab.end_run(run, Ending.FINISHED, NOISE[spec.seed % len(NOISE)] if noise is None else noise)
    lab.step()


def measured_lab(lead: int = 1, old: int = 1, **kwargs: object) -> LabModel:
    """A lab whose baseline is measured where best is led and where it is screened."""
    effects = dict.fromkeys(CHANGES, 0.0)
    lab = LabModel(devices=LEAD[:lead], screens={SLOWER: OLD[:old]}, effects=effects, **kwargs)  # type: ignore[arg-type]
    lab.step()
    for _ in range(8):
        finish_all(lab)
    assert 0 in lab.concluded
    assert not lab.live
    return lab


def where(lab: LabModel, change: int) -> list[Environment]:
    """The environments in which the tree of one change trains now."""
    return [spec.environment for spec in lab.live.values() if spec.tree == tree_of(frozenset({change}))]


def in_(lab: LabModel, environment: Environment) -> list[RunSpec]:
    return [spec for spec in lab.live.values() if spec.environment == environment]


def test_best_is_measured_in_each_environment_before_anything_is_screened_there() -> None:
    lab = LabModel(devices=LEAD[:1], screens={SLOWER: OLD}, effects={1: 0.0})
    lab.propose(1)
    lab.step()
    assert [spec.seed for spec in in_(lab, SLOWER)] == [0, 1], "both devices measure best at once"
    assert {spec.tree for spec in lab.live.values()} == {"imported"}


def test_what_is_clearly_worse_ends_where_it_was_screened_and_its_verdict_says_where() -> None:
    lab = measured_lab()
    lab.effects.update({1: 0.0, 2: -1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    assert (where(lab, 1), where(lab, 2)) == ([ENVIRONMENT], [SLOWER])
    finish_all(lab, only=SLOWER)
    _, verdict = lab.concluded[2]
    assert (verdict.outcome, verdict.environment) == (Outcome.DISCARD, SLOWER)
    assert verdict.why.startswith("screened in slower: no better: ")
    assert all(run.environment == SLOWER for run in lab.runs[tree_of(frozenset({2}))])


def test_what_is_promising_goes_on_to_where_best_is_led_and_is_kept_by_runs_of_there_alone() -> None:
    lab = measured_lab()
    lab.effects.update({1: -1.0, 2: 1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    finish_all(lab, only=SLOWER)
    assert 2 in lab.opened, "kept or thrown away by who only screens"
    assert where(lab, 2) == [SLOWER], "while the leading device trains, more seeds are screened"
    finish_all(lab, only=ENVIRONMENT)
    assert where(lab, 2) == [ENVIRONMENT], "the screening goes on although it decides nothing any more"
    for _ in range(12):
        finish_all(lab)
    _, verdict = lab.concluded[2]
    assert (verdict.outcome, verdict.environment) == (Outcome.KEEP, ENVIRONMENT)
    assert lab.holds[lab.line[-1]] == {2}


def test_what_only_looks_better_on_the_other_device_is_not_kept() -> None:
    lab = measured_lab()
    lab.effects.update({1: -1.0, 2: -1.0})
    lab.propose(1)
    lab.propose(2)
    lab.step()
    finish_all(lab, only=SLOWER, noise=-2.0)
    finish_all(lab, only=ENVIRONMENT)
    finish_all(lab)
    assert lab.concluded[2][1].outcome is Outcome.DISCARD
    assert lab.concluded[2][1].environment == ENVIRONMENT


def test_what_one_environment_screens_no_other_begins_with() -> None:
    lab = LabModel(devices=LEAD[:1], screens={SLOWER: OLD, FASTER: OLDEST}, effects={1: 0.0, 2: 1.0})
    lab.step()
    for _ in range(8):
        finish_all(lab)
    lab.propose(1)
    lab.propose(2)
    lab.step()
    (screening,) = where(lab, 2)
    for _ in range(2):
        finish_all(lab, only=screening)
        assert set(where(lab, 2)) <= {screening}, "its first word is there already"


def test_a_failure_on_a_screening_device_may_be_the_devices_and_ends_nothing() -> None:
    lab = measured_lab()
    lab.effects[1] = -1.0
    lab.propose(1)
    lab.propose(2)
    lab.step()
    (run,) = (run for run, spec in lab.live.items() if spec.environment == SLOWER)
    lab.end_run(run, Ending.OUT_OF_MEMORY, 0.0, "CUDA out of memory")
    lab.step()
    assert 2 in lab.opened
    finish_all(lab, only=ENVIRONMENT)
    assert where(lab, 2) == [ENVIRONMENT]


def test_a_screening_device_on_which_best_fails_is_left_alone_and_the_others_go_on() -> None:
    lab = LabModel(devices=LEAD[:1], screens={SLOWER: OLD[:1]}, effects={1: 0.0, 2: 0.0})
    lab.step()
    for _ in range(8):
        fail_screening(lab)
        finish_all(lab, only=ENVIRONMENT)
    assert 0 in lab.concluded
    lab.propose(1)
    fail_screening(lab)
    lab.step()
    assert hold(lab.world()) is None
    assert not in_(lab, SLOWER), "it fails again at once"
    assert where(lab, 1) == [ENVIRONMENT]


def fail_screening(lab: LabModel) -> None:
    for run in [run for run, spec in lab.live.items() if spec.environment == SLOWER]:
        lab.end_run(run, Ending.OUT_OF_MEMORY, 0.0, "CUDA out of memory")


def test_in_a_new_environment_best_and_the_baseline_are_measured_first_and_the_history_is_kept() -> None:
    """A new device, or an upgrade of torch: what was measured before compares with nothing measured after it."""
    lab = measured_lab()
    lab.effects[1] = 1.0
    lab.propose(1)
    for _ in range(12):
        finish_all(lab)
    assert lab.holds[lab.line[-1]] == {1}
    lab.propose(2)
    upgraded = replace(lab.world(), environment=FASTER, screens=(), spread=replace(lab.world().spread, degrees=0))
    runs = [(action.tree, action.seed) for action in plan(replace(upgraded, devices=(*LEAD, *OLD))) if is_start(action)]
    assert runs == [("imported", 0), ("1", 0), ("1", 1), ("1", 2)]
    assert all(run.environment != FASTER for runs in upgraded.runs.values() for run in runs)


def is_start(action: object) -> bool:
    return isinstance(action, Start)


class AnyScreening(RuleBasedStateMachine):
    """Two leading devices, three of two other environments; runs end in any order, well and badly.

    What may never be, a keep by a screening environment or a comparison across environments, the model asserts itself.
    """

    def __init__(self) -> None:
        super().__init__()
        effects = {change: (change % 4 - 1) * 5 * SIGMA for change in CHANGES}
        self.lab = LabModel(devices=LEAD, screens={SLOWER: OLD, FASTER: OLDEST}, effects=effects, conflicts={3})
        self.lab.step()

    @rule(change=st.sampled_from(CHANGES))
    def a_proposal_arrives(self, change: int) -> None:
        self.lab.propose(change)
        self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(data=st.data(), noise=st.floats(-10 * SIGMA, 10 * SIGMA))
    def a_run_finishes(self, data: st.DataObject, noise: float) -> None:
        self.lab.end_run(data.draw(st.sampled_from(sorted(self.lab.live))), Ending.FINISHED, noise)
        self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(data=st.data(), ending=st.sampled_from((Ending.CRASH, Ending.OUT_OF_MEMORY)))
    def a_run_fails(self, data: st.DataObject, ending: Ending) -> None:
        self.lab.end_run(data.draw(st.sampled_from(sorted(self.lab.live))), ending, 0.0, "boom")
        self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(rounds=st.integers(1, 6))
    def an_hour_passes_quietly(self, rounds: int) -> None:
        for _ in range(rounds):
            finish_all(self.lab)

    @rule()
    def the_daemon_dies(self) -> None:
        self.lab.crash()
        self.lab.step()

    @rule(seconds=st.sampled_from([1.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.lab.now += seconds
        self.lab.step()

    @invariant()
    def no_device_is_idle_while_there_is_work_that_it_may_do(self) -> None:
        world = self.lab.world()
        if 0 in self.lab.opened or hold(world) is not None:
            return
        busy = {live.spec.device for live in world.live}
        for view in views(world):
            idle = [device for device in view.devices if device not in busy]
            best_is_measured = any(live.spec.tree == world.best_tree for live in view.live)
            if idle and hold(view) is None and not best_is_measured:
                assert not world.ideas.ready, f"{idle} could begin with {world.ideas.ready}"
                assert not _wanted(world, view), f"{idle} could go on with {_wanted(world, view)}"

    def teardown(self) -> None:
        """Left alone, the lab concludes everything that is open."""
        self.lab.remaining = 0
        self.lab.ready.clear()
        for _ in range(400):
            self.lab.now += 2000.0
            self.lab.step()
            if self.lab.finished:
                break
            finish_all(self.lab)
        assert not self.lab.opened, f"forgotten: {self.lab.opened}"
        assert self.lab.finished


def _wanted(world: World, view: World) -> list[int]:
    """The open experiments that nobody trains, and that an environment has not had its last word on."""
    trained = {live.spec.tree for live in world.live}
    found = []
    for opened in world.opened:
        experiment = opened.experiment
        elsewhere = any(
            other.of(experiment.tree) for other in views(world)[1:] if other.environment != view.environment
        )
        may = view.leads or (is_screened(world, experiment) and not elsewhere)
        if may and experiment.tree not in trained and isinstance(verdict_of(view, experiment), Measure):
            found.append(experiment.number)
    return found


TestAnyScreening = AnyScreening.TestCase
TestAnyScreening.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
