"""The ledger of one lab: experiments, verdicts and measurements, read from and written to experiments.git.

Decides nothing. `best` moves here and only here: by compare-and-swap, onto a tree with a finished run, and forward but
for a rebase, which leaves the line before on a branch of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoresearchd import controls, lock
from autoresearchd.errors import CorruptRecord, StaleRef, UserError
from autoresearchd.experiment import (
    BASELINE_NUMBER,
    ON_BEST,
    CommitOid,
    Concluded,
    Experiment,
    Measurement,
    RefName,
    TreeOid,
    Verdict,
)
from autoresearchd.ledger import marks, project, rebase, records, refs, refused, trees
from autoresearchd.ledger.adoption import Adoption
from autoresearchd.ledger.backing import branch_back
from autoresearchd.ledger.housekeeping import pack
from autoresearchd.ledger.inbox import Idea
from autoresearchd.ledger.repository import new_commit, signature, writing, written
from autoresearchd.ledger.view import View
from autoresearchd.proposal import Proposal
from autoresearchd.status import RefusedIdea
from autoresearchd.trailers import Record, line, render, slug


class Ledger(View):
    """The same, and what writes there. Not thread-safe: one handle a thread."""

    @classmethod
    def init(cls, path: Path, *, project_path: Path) -> Ledger:
        """Make a lab from what is committed in a project. Raises: UserError when that cannot be."""
        project.found(path, project_path)
        return cls(path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only daemon of this lab; clear what a killed one left in the way, and mend what a clone lacks.

        Raises: AlreadyRunning.
        """
        with lock.held(self.path):
            refs.clear_stale_locks(self.path)
            with writing():
                project.configure(self.path)
                marks.stamp(self._repo)
                marks.mend_newest(self._repo, [entry.commit for entry in self.entries()[-1:]])
            self.refresh()
            yield

    def refuse_unbacked(self) -> None:
        """Raises: UserError where nobody may go on from best, with what is wrong and the way back."""
        if why := self.unbacked():
            raise UserError(why)

    def way_back_to(self, number: int) -> str:
        """How a branch that somebody deleted comes back; empty where the number was never given."""
        return branch_back(number) if number < self._history.next_number else ""

    def adoption(self) -> Adoption:
        """Who writes down other programs' experiments; the caller holds the lab."""
        return Adoption(self._repo, self._history)

    def measured_by(self) -> Mapping[str, Any]:
        """The settings of program.toml that its numbers were measured by, by key; empty where nobody noted them.

        Raises: UserError where nobody can know.
        """
        try:
            return marks.measured(self._repo)
        except CorruptRecord as error:
            way = f"`git update-ref -d {refs.MEASURED}` in it if program.toml is still as it was"
            raise UserError(f"{self.path} does not say what it was measured by ({error}): {way}") from error

    @written
    def note_measured_by(self, settings: Mapping[str, Any]) -> None:
        """Have every later start know what the numbers were measured by."""
        marks.note_measured(self._repo, settings)

    @written
    def open_baseline(self, *, now: float) -> Experiment:
        """Make experiment 0000: an empty commit on the imported HEAD. Raises: UserError where a number was given."""
        if self.is_begun:
            raise UserError(f"{self.path} has given numbers already: its baseline is not begun again")
        best = self.best()
        return self._open(records.FIRST_BASELINE, best.tree, best.commit, now)

    @written
    def course(self, onto: CommitOid, *, refuse: rebase.Refuse, now: float) -> rebase.Course:
        """What is kept on best, replayed on a commit that `fetch_commit` brought; no ref knows of it.

        Raises: UserError where best is no line of kept steps.
        """
        self.refuse_unbacked()
        return rebase.replay(self._repo, self.best().commit, onto, refuse=refuse, now=now)

    @written
    def open_rebase(self, course: rebase.Course, *, why: str, now: float) -> Experiment:
        """Make the baseline of a new line: an empty commit on what was replayed."""
        return self._open(rebase.record(course, self._history.next_number, why), course.tree, course.tip, now)

    @written
    def open_experiment(self, proposal: Proposal, *, now: float) -> Experiment:
        """Give a proposal the next number and its branch: one commit on top of the best it was made from.

        Raises: UnfilablePath when git cannot hold what it wants.
        """
        parent_tree, tree = self._trees_of(proposal)
        size = trees.lines(self._repo, parent_tree, tree)
        record = records.proposed(proposal, self._history.next_number, size)
        return self._open(record, tree, proposal.parent, now)

    @written
    def being_tried(self, proposal: Proposal) -> Experiment | None:
        """The open experiment that was made of this very proposal, if there is one; not another's of the same change.

        Raises: UnfilablePath when git cannot hold what it wants.
        """
        made = proposal.parent, self._trees_of(proposal)[1], line(proposal.reason)
        return next((own for own in self.opened() if (own.parent, own.tree, own.reason) == made), None)

    @written
    def conclude(self, experiment: Experiment, verdict: Verdict, *, metric: str, now: float) -> Concluded:
        """Write the verdict into the experiment's commit; KEEP and BASELINE move `best`. `metric` names the number.

        Crash-safe order: the commit object, then `best`, then the experiment's own branch. Death before `best` moved
        leaves an open experiment; after it, one that has `landed` and only waits for `settle`. A rebase gives the line
        before its branch ahead of `best`, and queues what is to be tried again behind it.

        Raises: StaleRef when `best` is not the experiment's parent any more, or the branch was moved by others;
        ValueError when `best` would move without a finished run of this very tree.
        """
        message = render(records.of(experiment, verdict=verdict, metric=metric))
        commit = self._commit(message, experiment.tree, experiment.parent, experiment.opened, now)
        why = f"{verdict.outcome.value} {experiment.number:04d}"
        if verdict.outcome in ON_BEST:
            if not self._runs.has_finished(experiment.tree):
                raise ValueError(f"experiment {experiment.number:04d} has no finished run: best stays where it is")
            self._move_best(experiment, commit, why)
        refs.move(self._repo, experiment.ref, commit, expected=experiment.commit, why=why)
        return self._noted(experiment, commit)

    def _move_best(self, experiment: Experiment, commit: CommitOid, why: str) -> None:
        """A fast-forward by one, to a child of what best holds; a rebase leaves the line before on its own branch."""
        if experiment.rebased is None:
            refs.move(self._repo, refs.BEST, commit, expected=experiment.parent, why=why)
            return
        rebase.keep_line(self._repo, experiment.rebased.old)
        refs.move(self._repo, refs.BEST, commit, expected=experiment.rebased.old, why=why)
        rebase.queue_again(self._repo, experiment, commit)

    @written
    def settle(self, experiment: Experiment) -> Concluded:
        """Finish a conclusion that `best` holds already. Raises: StaleRef when it does not."""
        commit = self.landed(experiment)
        if commit is None:
            raise StaleRef(refs.BEST, experiment.ref, self.best().commit)
        if experiment.rebased is not None:
            rebase.queue_again(self._repo, experiment, commit)
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

    @written
    def checkout(self, tree: TreeOid, folder: Path) -> None:
        """Write the files of a tree into an empty folder."""
        trees.checkout(self._repo, tree, folder)

    @written
    def record(self, measurement: Measurement) -> None:
        """File a run under its tree; to file it again changes nothing."""
        self._runs.record(measurement)

    @written
    def drop_idea(self, idea: Idea) -> None:
        """Delete an idea's branch: it was opened, or cannot be."""
        self._inbox.drop(idea)

    @written
    def file_refused(self, idea: RefusedIdea, words: str) -> bool:
        """Write down why an idea is not tried, and all that it said; ahead of its branch, which then goes.

        False where the daemon that died between the two wrote the same.
        """
        return refused.file(self._repo, idea, words)

    @written
    def submit_patch(self, patch: bytes, *, title: str, refuse: rebase.Refuse = lambda _: "") -> RefName:
        """Queue a patch against best. Raises: UserError when it does not apply, or for what `refuse` says of it."""
        return self._inbox.submit_patch(patch, title=title, best=self.best().commit, refuse=refuse, now=time.time())

    @written
    def submit_wish(self, words: str) -> RefName:
        """Queue a wish in words. Raises: UserError when there are none, or too many."""
        return self._inbox.submit_wish(words, best=self.best().commit, now=time.time())

    @written
    def submit_branch(self, project_path: Path, branch: str, *, refuse: rebase.Refuse = lambda _: "") -> RefName:
        """Queue a branch of the project. Raises: UserError when there is none, or for what `refuse` says of it."""
        commit = project.fetch_branch(self.path, project_path, branch)
        return self._inbox.submit(commit, name=branch, best=self.best().commit, refuse=refuse, why="branch")

    @written
    def pack(self) -> None:
        """Pack refs and loose objects, and wait for it; `Housekeeping` does it beside a daemon."""
        pack(self.path)

    def skip(self, number: int) -> None:
        """Ask the daemon to end an open experiment. Raises: UserError when that cannot be."""
        if number == BASELINE_NUMBER or number not in {experiment.number for experiment in self.opened()}:
            raise UserError(f"experiment {number:04d} cannot be skipped: it is no open one; `status` lists those")
        controls.skip(self.path, number)

    def _trees_of(self, proposal: Proposal) -> tuple[TreeOid, TreeOid]:
        """Of what it changes, and of what it makes of that."""
        parent_tree = self._history.tree_of(proposal.parent)
        return parent_tree, trees.file_edits(self._repo, parent_tree, proposal.edits)

    def _open(self, record: Record, tree: TreeOid, parent: CommitOid, now: float) -> Experiment:
        commit = self._commit(render(record), tree, parent, now, now)
        ref = refs.experiment_ref(record.number, slug(record.title))
        refs.create(self._repo, ref, commit, why="open")
        noted = self._noted_open(record.number, ref, commit)
        marks.note_newest(self._repo, commit)
        return noted

    def _commit(self, message: str, tree: TreeOid, parent: CommitOid, opened: float, now: float) -> CommitOid:
        return new_commit(self._repo, message, tree, [parent], author=signature(opened), committer=signature(now))

    def _noted_open(self, number: int, ref: RefName, commit: CommitOid) -> Experiment:
        noted = self._history.note(number, ref, commit)
        assert isinstance(noted, Experiment)
        return noted

    def _noted(self, experiment: Experiment, commit: CommitOid) -> Concluded:
        noted = self._history.note(experiment.number, experiment.ref, commit)
        assert isinstance(noted, Concluded)
        return noted
