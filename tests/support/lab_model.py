"""A lab in memory that carries out a plan's actions and checks, at each of them, what the program promises.

A tree is the set of changes in it, each with a true effect: keeps, conflicts and duplicates come by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoresearchd.actions import (
    Action,
    ApplyFix,
    Ask,
    AskFix,
    ConcludeExperiment,
    Drop,
    Finish,
    LedgerMove,
    OpenBaseline,
    OpenExperiment,
    Prune,
    Replay,
    Settle,
    Start,
    Stop,
)
from autoresearchd.experiment import (
    LLM,
    ON_BEST,
    CommitOid,
    Device,
    Ending,
    Environment,
    Experiment,
    Measurement,
    Outcome,
    Progress,
    RunSpec,
    Verdict,
)
from autoresearchd.judge import Spread, estimate
from autoresearchd.judge.seeds import BLOCK
from autoresearchd.plan import plan
from autoresearchd.program import Program, parse
from autoresearchd.proposal import Proposal
from autoresearchd.world import Ideas, Orders, Past, Screen, World
from tests.support.git_model import ENVIRONMENT, GitModel, tree_of

PROGRAM = parse("""
[program]
name = "model"
editable = ["train.py"]
[train]
command = "true"
[metric]
name = "loss"
evaluate = "true"
[accept]
max_repeats = 4
""")
AUDITED = PROGRAM.model_copy(update={"metric": PROGRAM.metric.model_copy(update={"audit": "audit"})})
SLOWER, FASTER = Environment("slower"), Environment("faster")
ELSEWHERE = {SLOWER: 100.0, FASTER: -100.0}
"""What an environment adds to every number: whoever compares two of them keeps or discards everything."""


@dataclass(kw_only=True)
class LabModel(GitModel):
    """What the machine and the daemon hold besides; `crash` forgets what only the daemon knew."""

    devices: tuple[Device, ...]
    effects: dict[int, float]
    """True gain of each change."""
    program: Program = PROGRAM
    screens: dict[Environment, tuple[Device, ...]] = field(default_factory=dict)
    """Devices of other environments, where every number is quite another."""
    live: dict[str, RunSpec] = field(default_factory=dict)
    ready: list[Proposal] = field(default_factory=list)
    asked: int = 0
    fixes_asked: set[CommitOid] = field(default_factory=set)
    fixes: dict[CommitOid, Proposal | None] = field(default_factory=dict)
    paused: bool = False
    closing: str = ""
    remaining: int | None = None
    finished: bool = False

    def world(self) -> World:
        best = self.line[-1]
        baseline = self.opened.get(0) or (self.concluded[0][0] if 0 in self.concluded else None)
        return World(
            now=self.now,
            program=self.program,
            environment=ENVIRONMENT,
            devices=self.devices,
            screens=tuple(
                Screen(environment=environment, devices=devices, spread=self._spread(environment))
                for environment, devices in self.screens.items()
            ),
            best=best,
            best_tree=tree_of(self.holds[best]),
            baseline_tree=baseline.tree if baseline else None,
            opened=tuple(self._open(self.opened[number]) for number in sorted(self.opened)),
            past=Past(
                known=self._known(),
                keeps=sum(verdict.outcome is Outcome.KEEP for _, verdict in self.concluded.values()),
                largest_gain=max(self._kept_gains(), default=None),
                last_failures=self._last_failures(),
            ),
            runs={tree: tuple(runs) for tree, runs in self.runs.items()},
            spread=self._spread(ENVIRONMENT),
            live=tuple(Progress(spec=spec, started=self.now) for spec in self.live.values()),
            ideas=Ideas(
                ready=tuple(self.ready),
                asked=self.asked,
                fixes_asked=frozenset(self.fixes_asked),
                fixes=dict(self.fixes),
            ),
            orders=Orders(paused=self.paused, closing=self.closing, remaining=self.remaining),
        )

    def _spread(self, environment: Environment) -> Spread:
        pools = ([run for run in runs if run.environment == environment] for runs in self.runs.values())
        return estimate(pools, metric="loss")

    def step(self) -> None:
        """Plan and act until nothing is left to do, as the loop does."""
        for _ in range(200):
            actions = plan(self.world())
            for action in actions:
                self.act(action)
            if not actions or self.finished:
                return
        raise AssertionError(f"the plan does not come to rest: {actions}")

    def act(self, action: Action) -> None:
        match action:
            case Drop(proposal=proposal):
                assert proposal.parent != self.line[-1], "a proposal for the present best was thrown away"
                self.ready.remove(proposal)
            case AskFix(experiment=experiment):
                assert not self.paused, "a correction was asked for while paused"
                assert not self.closing, "a correction was asked for while closing"
                assert experiment.commit not in self.fixes_asked, "asked twice for the same correction"
                self.fixes_asked.add(experiment.commit)
            case Start():
                self._start(action)
            case Prune(run=run, why=why):
                self._end(self.live.pop(run), Ending.PRUNED, None, why)
            case Stop(run=run):
                del self.live[run]
            case Ask(count=count):
                assert count > 0
                self.asked += count
            case Finish():
                assert not self.live, "finished while something trains"
                self.finished = True
            case _:
                self._move(action)

    def _move(self, move: LedgerMove) -> None:
        match move:
            case OpenBaseline():
                assert 0 not in self.opened
                assert 0 not in self.concluded
                self._file(0, self.line[-1], frozenset())
            case OpenExperiment(proposal=proposal):
                self.ready.remove(proposal)
                changes = self.holds[proposal.parent] | {int(proposal.title)}
                number = 1 + max([*self.opened, *self.concluded])
                self._file(number, proposal.parent, changes, proposal.category, proposal.proposer)
                self.remaining = None if self.remaining is None else self.remaining - 1
                assert self.remaining is None or self.remaining >= 0, "more was opened than was asked for"
            case Settle(experiment=experiment):
                assert experiment.number in self.landed
                self._conclude(experiment, Verdict(outcome=Outcome.KEEP))
            case Replay(experiment=experiment, alone=alone):
                self._replay(replace(experiment, alone=alone))
            case ApplyFix(experiment=experiment, correction=correction):
                self._fix(experiment, correction)
            case ConcludeExperiment(experiment=experiment, verdict=verdict):
                if verdict.outcome in ON_BEST:
                    self._move_best(experiment)
                self._conclude(experiment, verdict)

    def end_run(self, run: str, ending: Ending, noise: float, why: str = "", *, audit: float | None = None) -> None:
        """A live run ends; what finishes gives the true value of its tree plus `noise`."""
        spec = self.live.pop(run)
        changes = frozenset() if spec.tree == "imported" else frozenset(int(c) for c in spec.tree.split("+"))
        value = 10.0 - sum(self.effects[change] for change in changes) + noise
        value += ELSEWHERE.get(spec.environment, 0.0)
        self._end(spec, ending, value if ending is Ending.FINISHED else None, why, audit)

    def crash(self) -> None:
        """The daemon dies and starts again: live runs, proposals and questions are gone, git is what it was."""
        self.live.clear()
        self.ready.clear()
        self.fixes_asked.clear()
        self.fixes.clear()
        self.asked = 0
        self.finished = False

    def answer_fix(self, commit: CommitOid, change: int | None) -> None:
        """Who was asked to mend a crash says what has to be changed instead; None is no correction."""
        self.fixes[commit] = None if change is None else self._proposal(change, LLM)

    def propose(self, change: int, proposer: str = "model") -> None:
        """A proposer answers with one change to the present best."""
        self.asked = max(0, self.asked - 1)
        self.ready.append(self._proposal(change, proposer))

    def die_after_best_moved(self) -> bool:
        """Carry out one keep only as far as a crash between the two refs would; False if none is due now."""
        for action in plan(self.world()):
            if isinstance(action, ConcludeExperiment) and action.verdict.outcome in ON_BEST:
                self._move_best(action.experiment)
                self.landed.add(action.experiment.number)
                self.crash()
                return True
        return False

    def _proposal(self, change: int, proposer: str) -> Proposal:
        return Proposal(
            parent=self.line[-1], edits=(), title=str(change), rationale="", category="model", proposer=proposer
        )

    def _start(self, start: Start) -> None:
        tree, seed, device = start.tree, start.seed, start.device
        of_best, decides_nothing = tree == tree_of(self.holds[self.line[-1]]), seed >= 2 * BLOCK
        assert not start.audit or of_best or decides_nothing, "a run that decides was audited"
        assert not self.paused, "started while paused"
        assert not self.closing, "started while closing"
        assert all(spec.device != device for spec in self.live.values()), "one device runs two things"
        others = (environment for environment, devices in self.screens.items() if device in devices)
        environment = next(others, ENVIRONMENT)
        same = [spec for spec in self.live.values() if (spec.tree, spec.seed) == (tree, seed)]
        assert all(spec.environment != environment for spec in same), "the same run twice at once"
        run = f"{tree}-{seed}-{len(self.runs.get(tree, []))}-{device.name}-{self.now}"
        assert run not in self.live
        self.live[run] = RunSpec(
            run=run, tree=tree, seed=seed, device=device, environment=environment, audit=start.audit
        )

    def _end(self, spec: RunSpec, ending: Ending, value: float | None, why: str, audit: float | None = None) -> None:
        metrics = {"loss": value, "audit_loss": audit if spec.audit else None}
        measurement = Measurement(
            run=spec.run,
            tree=spec.tree,
            seed=spec.seed,
            environment=spec.environment,
            device=spec.device.name,
            ending=ending,
            metrics={name: number for name, number in metrics.items() if value is not None and number is not None},
            started=self.now - 1,
            train_seconds=1.0,
            wall_seconds=1.0,
            why=why,
            audited=spec.audit,
        )
        self.runs.setdefault(spec.tree, []).append(measurement)

    def _fix(self, experiment: Experiment, correction: Proposal) -> None:
        ended = [run.ending for run in self.runs[experiment.tree]]
        assert {Ending.CRASH, Ending.OUT_OF_MEMORY} & set(ended), "something was mended that never crashed"
        del self.fixes[experiment.commit]
        self.fixes_asked.remove(experiment.commit)
        changes = self.holds[correction.parent] | {int(correction.title)}
        self._refile(experiment, correction.parent, changes, experiment.fix_attempts + 1)

    def _conclude(self, experiment: Experiment, verdict: Verdict) -> None:
        if verdict.environment and self.screens:
            assert verdict.outcome not in ON_BEST or verdict.environment == ENVIRONMENT, "kept by who only screens"
            usual = 10.0 + ELSEWHERE.get(verdict.environment, 0.0)
            numbers = [number for number in (verdict.metric, verdict.baseline) if number is not None]
            assert all(abs(number - usual) < 50.0 for number in numbers), "compared across environments"
        awaited = experiment.commit in self.fixes_asked and experiment.commit not in self.fixes
        assert not awaited or verdict.outcome is not Outcome.CRASH, "a crash was concluded while it is being mended"
        super()._conclude(experiment, verdict)
