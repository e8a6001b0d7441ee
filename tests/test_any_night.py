"""The whole policy against a lab in memory: whatever happens in whatever order, the promises hold."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autoresearchd.experiment import LLM, Ending
from tests.support.lab_model import AUDITED, tree_of
from tests.support.measured import CHANGES, SIGMA, measured_lab

FAILURES = (Ending.CRASH, Ending.OUT_OF_MEMORY, Ending.TIMEOUT, Ending.UNSTABLE)


class AnyNight(RuleBasedStateMachine):
    """Runs end well and badly, in any order; the daemon dies; people pause and push; best moves meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = measured_lab(conflicts={3}, program=AUDITED)
        self.lab.effects.update({change: (change % 4 - 1) * 5 * SIGMA for change in CHANGES})

    @rule(change=st.sampled_from(CHANGES), proposer=st.sampled_from(["model", LLM]))
    def a_proposal_arrives(self, change: int, proposer: str) -> None:
        self.lab.propose(change, proposer)
        self.lab.step()

    @precondition(lambda self: self.lab.fixes_asked)
    @rule(data=st.data(), change=st.one_of(st.none(), st.sampled_from(CHANGES)))
    def a_correction_arrives(self, data: st.DataObject, change: int | None) -> None:
        self.lab.answer_fix(data.draw(st.sampled_from(sorted(self.lab.fixes_asked))), change)
        self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(data=st.data(), noise=st.floats(-SIGMA, SIGMA))
    def a_run_finishes(self, data: st.DataObject, noise: float) -> None:
        self.lab.end_run(data.draw(st.sampled_from(sorted(self.lab.live))), Ending.FINISHED, noise)
        self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(rounds=st.integers(1, 6), dies=st.booleans())
    def an_hour_passes_quietly(self, rounds: int, dies: bool) -> None:
        """Every live run finishes, again and again; perhaps the daemon dies between the two moves of a keep."""
        for _ in range(rounds):
            self.lab.now += 10
            for run in sorted(self.lab.live):
                self.lab.end_run(run, Ending.FINISHED, 0.0)
            if dies:
                self.lab.die_after_best_moved()
            self.lab.step()

    @precondition(lambda self: self.lab.live)
    @rule(data=st.data(), ending=st.sampled_from(FAILURES), why=st.sampled_from(["boom", "bang"]))
    def a_run_fails(self, data: st.DataObject, ending: Ending, why: str) -> None:
        self.lab.end_run(data.draw(st.sampled_from(sorted(self.lab.live))), ending, 0.0, why)
        self.lab.step()

    @rule()
    def the_daemon_dies(self) -> None:
        self.lab.crash()
        self.lab.step()

    @rule()
    def somebody_pauses_or_resumes(self) -> None:
        self.lab.paused = not self.lab.paused
        self.lab.step()

    @rule(seconds=st.sampled_from([1.0, 60.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.lab.now += seconds
        self.lab.step()

    @invariant()
    def best_is_backed_by_measurements_of_its_very_tree(self) -> None:
        for commit in self.lab.line[1:]:
            runs = self.lab.runs[tree_of(self.lab.holds[commit])]
            assert any(run.ending is Ending.FINISHED for run in runs)

    @invariant()
    def nothing_is_mended_more_often_than_was_said(self) -> None:
        everything = [*self.lab.opened.values(), *(experiment for experiment, _ in self.lab.concluded.values())]
        assert all(experiment.fix_attempts <= 2 for experiment in everything)

    @invariant()
    def every_number_is_open_or_concluded_and_never_both(self) -> None:
        numbers = sorted([*self.lab.opened, *self.lab.concluded])
        assert numbers == list(range(len(numbers)))

    def teardown(self) -> None:
        """Left alone on a healthy machine, the lab concludes everything that is open."""
        self.lab.paused, self.lab.remaining = False, 0
        self.lab.ready.clear()
        for tick in range(400):
            self.lab.now += 2000.0
            self.lab.step()
            if self.lab.finished:
                break
            for run in sorted(self.lab.live):
                self.lab.end_run(run, Ending.FINISHED, SIGMA * ((tick * 7919) % 5 - 2))
            for commit in self.lab.fixes_asked:
                self.lab.answer_fix(commit, None)
        assert not self.lab.opened, f"forgotten: {self.lab.opened}"
        assert self.lab.finished


TestAnyNight = AnyNight.TestCase
TestAnyNight.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
