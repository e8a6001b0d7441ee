"""The ledger of one lab: experiments, verdicts and measurements, read from and written to experiments.git.

Decides nothing. `best` moves here and only here: by compare-and-swap, fast-forward, onto a tree with a finished run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoresearchd import controls, lock
from autoresearchd.errors import CorruptRecord, StaleRef, UserError
from autoresearchd.experiment import (
    BASELINE_NUMBER,
    ON_BEST,
    Change,
    CommitOid,
    Concluded,
    Edit,
    Experiment,
    Lines,
    Measurement,
    Proposal,
    RefName,
    TreeOid,
    Verdict,
)
from autoresearchd.ledger import facts, marks, project, records, refs, trees
from autoresearchd.ledger.history import Entry, History
from autoresearchd.ledger.housekeeping import pack
from autoresearchd.ledger.inbox import Idea, Inbox, new_idea
from autoresearchd.ledger.invariants import Finding, findings
from autoresearchd.ledger.repository import open_repository, reading, signature, writing, written
from autoresearchd.ledger.runs import Runs
from autoresearchd.trailers import Record, render, slug, title


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Where `best` is; `number` is None while it is still the imported HEAD."""

    commit: CommitOid
    tree: TreeOid
    number: int | None


class Ledger:
    """One experiments.git, as one process sees it. Not thread-safe: one handle a thread."""

    def __init__(self, path: Path | str) -> None:
        """Open a lab. Raises: UserError when there is none, or a newer program wrote it."""
        self.path = path = Path(path)
        self._repo = open_repository(path)
        marks.check(self._repo)
        self._history = History(self._repo, path)
        self._runs = Runs(self._repo)
        self._inbox = Inbox(self._repo, path)
        self._best: Best | None = None

    @classmethod
    def init(cls, path: Path, *, project_path: Path) -> Ledger:
        """Make a lab from what is committed in a project. Raises: UserError when that cannot be."""
        project.found(path, project_path)
        return cls(path)

    @property
    def pause_switch(self) -> Path:
        """The file whose presence pauses the daemon."""
        return self.path / "autoresearchd" / "pause"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only daemon of this lab; clear what a killed one left in the way, and what a clone of a lab lacks.

        Raises: AlreadyRunning.
        """
        with lock.held(self.path):
            refs.clear_stale_locks(self.path)
            with writing():
                project.configure(self.path)
                marks.stamp(self._repo)
            self.refresh()
            yield

    def holder(self) -> int | None:
        """The pid of the daemon that holds this lab; None where none does."""
        return lock.holder(self.path)

    def refresh(self) -> None:
        """Look at what other processes have written since the last call."""
        self._history.refresh()

    def best(self) -> Best:
        """Where `best` is now. Raises: CorruptRecord when the ref is missing."""
        commit = refs.read(self._repo, refs.BEST)
        if commit is None:
            raise CorruptRecord(refs.BEST, "it is missing")
        if self._best is None or self._best.commit != commit or self._best.number is None:
            number = self._history.number_at(commit)
            if number is None:
                self.refresh()  # another process may have kept it since
                number = self._history.number_at(commit)
            self._best = Best(commit=commit, tree=self._history.tree_of(commit), number=number)
        return self._best

    def best_record(self) -> Concluded | None:
        """The experiment that `best` is; None while it is still the imported HEAD."""
        number = self.best().number
        found = None if number is None else self.find(number)
        return found if isinstance(found, Concluded) else None

    def entries(self) -> Sequence[Entry]:
        """Number, tree and outcome of every experiment: cheap at any size."""
        return self._history.entries()

    def opened(self) -> tuple[Experiment, ...]:
        """The experiments without a verdict, by number."""
        return self._history.opened()

    def concluded(self) -> Sequence[Concluded]:
        """The experiments with a verdict, by number; each is read when it is first looked at."""
        return self._history.concluded()

    def find(self, number: int) -> Experiment | Concluded | None:
        """The experiment with this number, if there is one."""
        return self._history.find(number)

    def landed(self, experiment: Experiment) -> CommitOid | None:
        """The concluded commit of an open experiment that `best` holds already, if it does."""
        best = self.best()
        return best.commit if best.number == experiment.number and best.tree == experiment.tree else None

    @written
    def open_baseline(self, *, now: float) -> Experiment:
        """Make experiment 0000: an empty commit on the imported HEAD."""
        best = self.best()
        record = Record(
            number=BASELINE_NUMBER,
            title="Measure the baseline",
            rationale="The imported project as it is: what every experiment has to beat.",
            proposer="autoresearchd",
            category="baseline",
            lines=Lines(added=0, removed=0),
        )
        return self._open(record, best.tree, best.commit, now)

    @written
    def open_experiment(self, proposal: Proposal, *, now: float) -> Experiment:
        """Give a proposal the next number and its branch: one commit on top of the best it was made from.

        Raises: UnfilablePath when git cannot hold what it wants.
        """
        parent_tree = self._history.tree_of(proposal.parent)
        tree = trees.file_edits(self._repo, parent_tree, proposal.edits)
        record = Record(
            number=self._history.next_number,
            title=title(proposal.title),
            rationale=proposal.rationale,
            proposer=proposal.proposer,
            category=proposal.category,
            lines=trees.lines(self._repo, parent_tree, tree),
            reason=proposal.reason,
            cost_usd=proposal.cost_usd,
        )
        return self._open(record, tree, proposal.parent, now)

    @written
    def conclude(self, experiment: Experiment, verdict: Verdict, *, metric: str, now: float) -> Concluded:
        """Write the verdict into the experiment's commit; KEEP and BASELINE move `best`. `metric` names the number.

        Crash-safe order: the commit object, then `best`, then the experiment's own branch. Death before `best` moved
        leaves an open experiment; after it, one that has `landed` and only waits for `settle`.

        Raises: StaleRef when `best` is not the experiment's parent any more, or the branch was moved by others;
        ValueError when `best` would move without a finished run of this very tree.
        """
        message = render(records.of(experiment, verdict=verdict, metric=metric))
        commit = self._commit(message, experiment.tree, experiment.parent, experiment.opened, now)
        why = f"{verdict.outcome.value} {experiment.number:04d}"
        if verdict.outcome in ON_BEST:
            if not self._runs.has_finished(experiment.tree):
                raise ValueError(f"experiment {experiment.number:04d} has no finished run: best stays where it is")
            # The commit's only parent is what best must hold: every move is a fast-forward by one.
            refs.move(self._repo, refs.BEST, commit, expected=experiment.parent, why=why)
        refs.move(self._repo, experiment.ref, commit, expected=experiment.commit, why=why)
        return self._noted(experiment, commit)

    @written
    def settle(self, experiment: Experiment) -> Concluded:
        """Finish a conclusion that `best` holds already. Raises: StaleRef when it does not."""
        commit = self.landed(experiment)
        if commit is None:
            raise StaleRef(refs.BEST, experiment.ref, self.best().commit)
        refs.move(self._repo, experiment.ref, commit, expected=experiment.commit, why="settle after a crash")
        return self._noted(experiment, commit)

    @written
    def replay(self, experiment: Experiment, *, now: float) -> Experiment | None:
        """Move an open experiment onto the present best by three-way merge; None, and nothing done, on a conflict.

        What it gained `alone` is written into the commit.
        """
        best = self.best()
        tree = trees.merged_tree(self._repo, experiment.parent_tree, best.tree, experiment.tree)
        if tree is None:
            return None
        lines = trees.lines(self._repo, best.tree, tree)
        message = render(records.of(experiment, lines=lines))
        commit = self._commit(message, tree, best.commit, experiment.opened, now)
        refs.move(self._repo, experiment.ref, commit, expected=experiment.commit, why="replay on the new best")
        return self._noted_open(experiment.number, experiment.ref, commit)

    @written
    def fix(self, experiment: Experiment, correction: Proposal, *, now: float) -> Experiment:
        """Give an open experiment the correction's code instead of its own; number, title and hypothesis stay.

        The branch still holds one commit, on the best that the correction was made from. What was measured before
        stays filed under the tree that failed.

        Raises: UnfilablePath when git cannot hold what it wants.
        """
        parent_tree = self._history.tree_of(correction.parent)
        tree = trees.file_edits(self._repo, parent_tree, correction.edits)
        record = records.corrected(experiment, correction, trees.lines(self._repo, parent_tree, tree))
        commit = self._commit(render(record), tree, correction.parent, experiment.opened, now)
        refs.move(self._repo, experiment.ref, commit, expected=experiment.commit, why="fix a crash")
        return self._noted_open(experiment.number, experiment.ref, commit)

    def changes(self, experiment: Experiment) -> tuple[Change, ...]:
        """The paths in which the experiment differs from its parent. Raises: CorruptRecord where its tree is gone."""
        with reading(experiment.ref):
            return trees.changes(self._repo, experiment.parent_tree, experiment.tree)

    def diff(self, experiment: Experiment) -> str:
        """The experiment's change as a patch."""
        return trees.diff(self._repo, experiment.parent_tree, experiment.tree)

    def files(self, tree: TreeOid, wanted: Callable[[str], bool]) -> Mapping[str, bytes]:
        """The regular files of a tree whose path is wanted."""
        return trees.files(self._repo, tree, wanted)

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        """Edits that bring `theirs`' change since `base` onto `ours`; None where they conflict."""
        return trees.merge(self._repo, base, ours, theirs)

    @written
    def checkout(self, tree: TreeOid, folder: Path) -> None:
        """Write the files of a tree into an empty folder."""
        trees.checkout(self._repo, tree, folder)

    @written
    def record(self, measurement: Measurement) -> None:
        """File a run under its tree; to file it again changes nothing."""
        self._runs.record(measurement)

    def measurements(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The runs of exactly this tree, oldest first, without those that are `damaged`."""
        return self._runs.of(tree)

    @property
    def damaged(self) -> Mapping[str, str]:
        """The measurements that were met and cannot be read, by place, with why: left there, counted nowhere."""
        return self._runs.damaged

    def repeated(self) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        """The runs of every tree that was trained more than once."""
        return self._runs.repeated()

    def ideas(self) -> tuple[Idea, ...]:
        """What people have put into the inbox."""
        return self._inbox.ideas(self.best().commit)

    @written
    def drop_idea(self, idea: Idea) -> None:
        """Delete an idea's branch: it was opened, or cannot be."""
        self._inbox.drop(idea)

    def submit_patch(self, patch: bytes, *, title: str) -> RefName:
        """Queue a patch against best. Raises: UserError when it does not apply."""
        return self._inbox.submit_patch(patch, title=title, now=time.time())

    def submit_branch(self, project_path: Path, branch: str) -> RefName:
        """Queue a branch of the project. Raises: UserError when there is no such branch."""
        ref = new_idea(branch)
        project.fetch_branch(self.path, project_path, branch, ref)
        return ref

    @written
    def pack(self) -> None:
        """Pack refs and loose objects, and wait for it; `Housekeeping` does it beside a daemon."""
        pack(self.path)

    def verify(self) -> tuple[Finding, ...]:
        """What is wrong with what this program writes; git's own check is left out."""
        return findings(facts.read(self._repo, self.path, fsck=False))

    def fsck(self) -> tuple[Finding, ...]:
        """Everything that is wrong, git's own check included; also beside a daemon that works."""
        return facts.examine(self._repo, self.path)

    def skip(self, number: int) -> None:
        """Ask the daemon to end an open experiment. Raises: UserError when that cannot be."""
        if number == BASELINE_NUMBER or number not in {experiment.number for experiment in self.opened()}:
            raise UserError(f"experiment {number:04d} cannot be skipped: it is no open one; `status` lists those")
        controls.skip(self.path, number)

    def _open(self, record: Record, tree: TreeOid, parent: CommitOid, now: float) -> Experiment:
        commit = self._commit(render(record), tree, parent, now, now)
        ref = refs.experiment_ref(record.number, slug(record.title))
        refs.create(self._repo, ref, commit, why="open")
        noted = self._noted_open(record.number, ref, commit)
        marks.note_newest(self._repo, commit)
        return noted

    def _commit(self, message: str, tree: TreeOid, parent: CommitOid, opened: float, now: float) -> CommitOid:
        made = self._repo.create_commit(None, signature(opened), signature(now), message, tree, [parent])
        return CommitOid(str(made))

    def _noted_open(self, number: int, ref: RefName, commit: CommitOid) -> Experiment:
        noted = self._history.note(number, ref, commit)
        assert isinstance(noted, Experiment)
        return noted

    def _noted(self, experiment: Experiment, commit: CommitOid) -> Concluded:
        noted = self._history.note(experiment.number, experiment.ref, commit)
        assert isinstance(noted, Concluded)
        return noted
