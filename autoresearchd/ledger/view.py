"""What can be read of one experiments.git: experiments, verdicts, measurements, trees, the inbox, and what is wrong.

Decides nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearchd import lock
from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import BASELINE_NUMBER, CommitOid, Concluded, Experiment, Measurement, TreeOid
from autoresearchd.ledger import facts, marks, refs, refused, trees
from autoresearchd.ledger.backing import is_sound
from autoresearchd.ledger.history import History
from autoresearchd.ledger.inbox import Idea, Inbox
from autoresearchd.ledger.index import Entry
from autoresearchd.ledger.invariants import findings, way_back
from autoresearchd.ledger.observed import Facts, Finding
from autoresearchd.ledger.promoted import Promoted
from autoresearchd.ledger.repository import UNREADABLE, git, open_repository, reading
from autoresearchd.ledger.runs import Runs
from autoresearchd.proposal import Change, Edit
from autoresearchd.status import RefusedIdea


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Where `best` is; `number` is None while it is still the imported HEAD."""

    commit: CommitOid
    tree: TreeOid
    number: int | None


class View:
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
        self._start: tuple[CommitOid, Concluded | None] | None = None
        self._backed: CommitOid | None = None
        self._unbacked: tuple[CommitOid | None, str] | None = None
        self.promotion = Promoted(self._repo)
        """The branch `promoted`, and what is known of the kept commits on the rungs above the first."""

    @property
    def pause_switch(self) -> Path:
        """The file whose presence pauses the daemon."""
        return self.path / "autoresearchd" / "pause"

    def holder(self) -> int | None:
        """The pid of the daemon that holds this lab; None where none does."""
        return lock.holder(self.path)

    def refresh(self) -> None:
        """Look at what other processes have written since the last call."""
        self._history.refresh()

    def rest(self) -> None:
        """Let go of what libgit2 holds open of the packs that were read: it grows with all of them, and opens again."""
        self._repo.free()

    def best(self) -> Best:
        """Where `best` is now. Raises: CorruptRecord when the ref is missing."""
        commit = refs.read(self._repo, refs.BEST)
        if commit is None:
            raise CorruptRecord(refs.BEST, "it is missing")
        if self._best is None or self._best.commit != commit or self._best.number is None:
            step = self._history.step_at(commit)
            if step is None:
                self.refresh()  # another process may have kept it since
                step = self._history.step_at(commit)
            number = None if step is None else step.experiment.number
            self._best = Best(commit=commit, tree=self._history.tree_of(commit), number=number)
        return self._best

    def best_record(self) -> Concluded | None:
        """The experiment that `best` is, its branch there or not; None while it is still the imported HEAD."""
        best = self.best()
        return None if best.number is None else self._history.step_at(best.commit)

    def entries(self) -> Sequence[Entry]:
        """Number, tree and outcome of every experiment: cheap at any size."""
        return self._history.entries()

    def opened(self) -> tuple[Experiment, ...]:
        """The experiments without a verdict, by number."""
        return self._history.opened()

    def concluded(self) -> Sequence[Concluded]:
        """The experiments with a verdict, by number; each is read when it is first looked at."""
        return self._history.concluded()

    def imported(self) -> Sequence[Concluded]:
        """Other programs' experiments, by number: never among those that are `concluded` here."""
        return self._history.imported()

    def find(self, number: int) -> Experiment | Concluded | None:
        """The experiment with this number, if there is one."""
        return self._history.find(number)

    def has_branch(self, number: int) -> bool:
        """Whether a branch claims a number, also where nobody can read what it holds."""
        return bool(git(self.path, "for-each-ref", "--format=%(refname)", f"{refs.EXPERIMENTS}{number:04d}-*"))

    @property
    def is_begun(self) -> bool:
        """Whether a number was ever given here, also where its branch is gone."""
        return self._history.next_number > 0

    def line(self) -> Iterator[Concluded]:
        """The steps that lead to best, newest first, the baseline of their line last; best itself holds all of them."""
        commit = self.best().commit
        while (step := self._history.step_at(commit)) is not None:
            yield step
            if step.experiment.is_baseline:
                return  # what lies below is the user's, be it a finding of an older line
            commit = step.experiment.parent

    def baseline(self) -> Experiment | Concluded | None:
        """The experiment that the newest line of best begins with; None before there is any."""
        best = self.best().commit
        if self._start is None or self._start[0] != best:
            first = next((step for step in self.line() if step.experiment.is_baseline), None)
            self._start = best, first
        return self._start[1] or self._history.find(self._history.baseline)

    def baseline_tree(self) -> TreeOid | None:
        """The user's project as best grows on it, without what a rebase carried over."""
        found = self.baseline()
        first = found.experiment if isinstance(found, Concluded) else found
        if first is None or first.rebased is None:
            return first.tree if first else None
        return self._history.tree_of(first.rebased.onto)

    def landed(self, experiment: Experiment) -> CommitOid | None:
        """The concluded commit of an open experiment that `best` holds already, if it does."""
        best = self.best()
        return best.commit if best.number == experiment.number and best.tree == experiment.tree else None

    def unbacked(self) -> str:
        """Why nobody may go on from best, with the way out, as `fsck` says it; empty where a kept line leads to it.

        It is looked at again where it has moved, and as long as it is not as it must be.
        """
        best = refs.read(self._repo, refs.BEST)
        if best is not None and (best == self._backed or self._leads_down(best)):
            self._backed = best if self.baseline() else None  # without one it is asked again once there is one
            self._unbacked = None
            return ""
        if self._unbacked is None or self._unbacked[0] != best:
            self._unbacked = best, way_back(facts.read(self._repo, self.path, fsck=False))
        return self._unbacked[1]

    def _leads_down(self, tip: CommitOid) -> bool:
        """Whether kept steps alone lead down to a baseline, or to the imported HEAD."""
        self.refresh()
        at: CommitOid = tip
        try:
            while at != self._backed:
                with reading(at[:10]):
                    step = self._history.step_at(at)
                if step is None:
                    return self._is_start(at)
                if not self._is_sound(at):
                    return False
                if step.experiment.is_baseline:
                    return True
                at = step.experiment.parent
        except CorruptRecord:
            return False  # said by whoever looks for the way back
        return True

    def _is_sound(self, step: CommitOid) -> bool:
        """Whether what is filed says what a kept step says; where it cannot be read nobody can tell, and it is said."""
        found = facts.commit_at(self._repo, step)
        try:
            runs = {tree: tuple(facts.filed_of("", run) for run in self._runs.results(tree)) for tree in found.trees}
        except CorruptRecord:
            return True
        if any(why.startswith(UNREADABLE) for why in self._runs.damaged.values()):
            return True
        return is_sound(found, Facts(runs=runs, measured=facts.measured_by(self._repo)))

    def _is_start(self, commit: CommitOid) -> bool:
        """Whether the first baseline lies on a commit; without any baseline nobody can tell, and others say so."""
        first = self._history.find(BASELINE_NUMBER)
        if first is None:
            return self.baseline() is None
        return commit == (first.experiment if isinstance(first, Concluded) else first).parent

    def changes(self, experiment: Experiment) -> tuple[Change, ...]:
        """The paths in which the experiment differs from its parent. Raises: CorruptRecord where its tree is gone."""
        with reading(experiment.ref):
            return trees.changes(self._repo, experiment.parent_tree, experiment.tree)

    def diff(self, experiment: Experiment) -> str:
        """The experiment's change as a patch."""
        return trees.diff(self._repo, experiment.parent_tree, experiment.tree)

    def files(self, tree: TreeOid, wanted: Callable[[str], bool]) -> Mapping[str, bytes]:
        """The regular files of a tree whose path is wanted. Raises: CorruptRecord where one of them is gone."""
        return trees.files(self._repo, tree, wanted)

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        """Edits that bring `theirs`' change since `base` onto `ours`; None where they conflict."""
        return trees.merge(self._repo, base, ours, theirs)

    def measurements(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The runs of exactly this tree, oldest first, without those that are `damaged`."""
        return self._runs.of(tree)

    def measurements_of(self, trees: Iterable[TreeOid]) -> Mapping[TreeOid, tuple[Measurement, ...]]:
        """The same of several trees, at one instant."""
        return self._runs.of_each(trees)

    def results(self, tree: TreeOid) -> tuple[Measurement, ...]:
        """The same without logs and with the end of the curves only: cheap to ask for of many trees."""
        return self._runs.results(tree)

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

    def refused(self) -> tuple[RefusedIdea, ...]:
        """What was turned away out of the inbox lately, the newest last."""
        return refused.newest(self._repo)

    def verify(self) -> tuple[Finding, ...]:
        """What is wrong with what this program writes; git's own check is left out."""
        return findings(facts.read(self._repo, self.path, fsck=False))

    def fsck(self) -> tuple[Finding, ...]:
        """Everything that is wrong, git's own check included; also beside a daemon that works."""
        return facts.examine(self._repo, self.path)
