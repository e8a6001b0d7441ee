"""Whatever is done in whatever order, through whichever handle: the ledger says what a plain dictionary says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autoresearchd.errors import StaleRef
from autoresearchd.experiment import ON_BEST, Concluded, Experiment, Measurement, Outcome, TreeOid
from autoresearchd.ledger import Ledger, history
from tests.ledger.conftest import MEMORY
from tests.ledger.lab import METRIC, NOW, fsck, git, measurement, new_ledger, opened, verdict, with_baseline


class Lab(RuleBasedStateMachine):
    """One daemon's handle that writes, one reader that looks now and then, and the model of both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.writer = new_ledger(self.folder)
        baseline = with_baseline(self.writer)
        self.reader = Ledger(self.writer.path)
        self.known: dict[int, Experiment | Concluded] = {0: baseline}
        self.runs: dict[TreeOid, list[Measurement]] = {
            baseline.experiment.tree: [measurement(baseline.experiment.tree)]
        }
        self.line = [baseline.experiment.commit]
        self.clock = NOW

    def teardown(self) -> None:
        assert fsck(self.writer.path) == ""
        shutil.rmtree(self.folder)

    def _waiting(self) -> list[Experiment]:
        return [found for found in self.known.values() if isinstance(found, Experiment)]

    @rule(file=st.integers(0, 3), rate=st.integers(0, 5))
    def open(self, file: int, rate: int) -> None:
        made = opened(self.writer, f"RATE = {rate}\n", path=f"f{file}.py", title=f"Set {rate}")
        assert made.number == len(self.known)
        self.known[made.number] = made

    @precondition(lambda self: self._waiting())
    @rule(pick=st.randoms(use_true_random=False), seed=st.integers(0, 3))
    def record(self, pick: st.DataObject, seed: int) -> None:
        made = measurement(pick.choice(self._waiting()).tree, seed)  # type: ignore[attr-defined]
        self.writer.record(made)
        if made not in self.runs.setdefault(made.tree, []):
            self.runs[made.tree].append(made)

    @precondition(lambda self: self._waiting())
    @rule(pick=st.randoms(use_true_random=False), outcome=st.sampled_from(sorted(set(Outcome) - {Outcome.BASELINE})))
    def conclude(self, pick: st.DataObject, outcome: Outcome) -> None:
        experiment = pick.choice(self._waiting())  # type: ignore[attr-defined]
        allowed = experiment.parent == self.line[-1]
        runs = self.runs.get(experiment.tree, [])
        said = {"runs": len(runs), "seeds": tuple(run.seed for run in runs), "metric": 0.98 if runs else None}
        try:
            made = self.writer.conclude(experiment, verdict(outcome, **said), metric=METRIC, now=self.clock)
        except ValueError:
            assert outcome in ON_BEST
            assert not self.runs.get(experiment.tree)
        except StaleRef:
            assert outcome in ON_BEST
            assert not allowed
        else:
            assert outcome not in ON_BEST or (allowed and self.runs[experiment.tree])
            self.known[experiment.number] = made
            self.line += [made.experiment.commit] if outcome in ON_BEST else []

    @precondition(lambda self: self._waiting())
    @rule(pick=st.randoms(use_true_random=False))
    def replay(self, pick: st.DataObject) -> None:
        experiment = pick.choice(self._waiting())  # type: ignore[attr-defined]
        made = self.writer.replay(experiment, now=self.clock)
        if made is not None:
            assert made.parent == self.line[-1]
            self.known[experiment.number] = made

    @rule()
    def pack(self) -> None:
        self.writer.pack()

    @rule()
    def reopen(self) -> None:
        self.writer = Ledger(self.writer.path)

    @rule()
    def look(self) -> None:
        self.reader.refresh()
        self._agrees(self.reader)

    @rule()
    def look_all_at_once(self) -> None:
        bulk, history.BULK = history.BULK, 1
        try:
            self._agrees(Ledger(self.writer.path))
        finally:
            history.BULK = bulk

    @invariant()
    def the_writer_agrees(self) -> None:
        self._agrees(self.writer)

    def _agrees(self, ledger: Ledger) -> None:
        in_order = [self.known[number] for number in sorted(self.known)]
        assert [ledger.find(number) for number in sorted(self.known)] == in_order
        assert list(ledger.concluded()) == [found for found in in_order if isinstance(found, Concluded)]
        assert list(ledger.opened()) == [found for found in in_order if isinstance(found, Experiment)]
        assert ledger.best().commit == self.line[-1]
        best = ledger.best_record()
        assert best is not None
        assert best.experiment.commit == self.line[-1]
        assert ledger.verify() == ()
        for tree, runs in self.runs.items():
            assert list(ledger.measurements(tree)) == sorted(runs, key=lambda run: run.started)
        assert set(ledger.repeated()) == {tree for tree, runs in self.runs.items() if len(runs) > 1}

    @invariant()
    def best_is_linear(self) -> None:
        said = git(self.writer.path, "rev-list", "--first-parent", "--reverse", "best").split()
        assert said[1:] == self.line


TestLab = Lab.TestCase
TestLab.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
