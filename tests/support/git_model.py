"""What git holds of a lab in memory, as plain values; each move checks what the program promises of it.

A tree is the set of changes in it: keeps, conflicts and duplicates come by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoresearchd.experiment import (
    CommitOid,
    Ending,
    Environment,
    Experiment,
    Lines,
    Measurement,
    Outcome,
    RefName,
    TreeOid,
    Verdict,
)
from autoresearchd.proposal import Change, FileMode
from autoresearchd.world import Open

ENVIRONMENT = Environment("here")
Changes = frozenset[int]


def tree_of(changes: Changes) -> TreeOid:
    return TreeOid("+".join(str(change) for change in sorted(changes)) or "imported")


@dataclass(kw_only=True)
class GitModel:
    """Experiments, verdicts, measurements and best."""

    now: float = 1000.0
    line: list[CommitOid] = field(default_factory=lambda: [CommitOid("head")])
    """Commits that best has held."""
    holds: dict[CommitOid, Changes] = field(default_factory=lambda: {CommitOid("head"): frozenset()})
    opened: dict[int, Experiment] = field(default_factory=dict)
    contents: dict[int, Changes] = field(default_factory=dict)
    landed: set[int] = field(default_factory=set)
    concluded: dict[int, tuple[Experiment, Verdict]] = field(default_factory=dict)
    runs: dict[TreeOid, list[Measurement]] = field(default_factory=dict)
    conflicts: set[int] = field(default_factory=set)
    """Changes that cannot be replayed."""

    def _known(self) -> dict[TreeOid, int]:
        known: dict[TreeOid, int] = {}
        for number, (experiment, verdict) in sorted(self.concluded.items()):
            if verdict.outcome not in (Outcome.STALE, Outcome.SKIPPED):
                known.setdefault(experiment.tree, number)
        return known

    def _kept_gains(self) -> list[float]:
        kept = [verdict for _, verdict in self.concluded.values() if verdict.outcome is Outcome.KEEP]
        return [v.baseline - v.metric for v in kept if v.metric is not None and v.baseline is not None]

    def _last_failures(self) -> tuple[tuple[Outcome, str], ...]:
        failures = []
        for number in sorted(self.concluded, reverse=True):
            verdict = self.concluded[number][1]
            if verdict.outcome not in (Outcome.CRASH, Outcome.OUT_OF_MEMORY, Outcome.TIMEOUT, Outcome.UNSTABLE):
                break
            failures.append((verdict.outcome, verdict.why))
        return tuple(failures)

    def _file(
        self,
        number: int,
        parent: CommitOid,
        changes: Changes,
        category: str = "model",
        proposer: str = "model",
        attempts: int = 0,
    ) -> None:
        self.contents[number] = changes
        self.opened[number] = Experiment(
            number=number,
            slug="x",
            ref=RefName(f"refs/heads/exp/{number:04d}-x"),
            commit=CommitOid(f"open-{number}-{attempts}-on-{parent}"),
            tree=tree_of(changes),
            parent=parent,
            parent_tree=tree_of(self.holds[parent]),
            title=str(number),
            rationale="",
            category=category,
            proposer=proposer,
            lines=Lines(added=1, removed=1),
            opened=self.now,
            fix_attempts=attempts,
        )

    def _open(self, experiment: Experiment) -> Open:
        edited = Change(path="train.py", before=FileMode.REGULAR, after=FileMode.REGULAR)
        changes = () if experiment.tree == experiment.parent_tree else (edited,)
        return Open(experiment=experiment, changes=changes, landed=experiment.number in self.landed)

    def _move_best(self, experiment: Experiment) -> None:
        assert experiment.parent == self.line[-1], "best would not be linear"
        assert self._measured(experiment.tree), "best moved without a finished run of this very tree where it is led"
        if not experiment.is_baseline:
            assert len(self._measured(experiment.tree)) > 1, "one lucky run moved best"
            assert self._measured(experiment.parent_tree), "best moved without a run of what it was compared with"
        commit = CommitOid(f"{experiment.commit}-done")
        self.holds[commit] = self.contents[experiment.number]
        self.line.append(commit)

    def _measured(self, tree: TreeOid) -> set[int]:
        """The seeds that a tree was measured with where best is led."""
        runs = [run for run in self.runs.get(tree, []) if run.environment == ENVIRONMENT]
        return {run.seed for run in runs if run.ending is Ending.FINISHED}

    def _replay(self, experiment: Experiment) -> None:
        assert experiment.parent != self.line[-1], "nothing to replay on"
        own = self.contents[experiment.number] - self.holds[experiment.parent]
        if own & self.conflicts:
            self._conclude(experiment, Verdict(outcome=Outcome.STALE))
            return
        self._refile(experiment, self.line[-1], self.holds[self.line[-1]] | own, experiment.fix_attempts)

    def _refile(self, experiment: Experiment, parent: CommitOid, changes: Changes, attempts: int) -> None:
        del self.opened[experiment.number]
        self._file(experiment.number, parent, changes, experiment.category, experiment.proposer, attempts)
        self.opened[experiment.number] = replace(self.opened[experiment.number], alone=experiment.alone)

    def _conclude(self, experiment: Experiment, verdict: Verdict) -> None:
        assert experiment.number in self.opened, "concluded twice"
        del self.opened[experiment.number]
        self.landed.discard(experiment.number)
        self.concluded[experiment.number] = (replace(experiment), verdict)
