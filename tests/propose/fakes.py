"""A lab in memory: `FakeHistory` satisfies `propose._protocol.History` from plain values, `FakeLab` tells its story.

A lab starts with a measured baseline; `try_files` and `try_proposal` are one experiment each, concluded at once.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from autoresearchd.experiment import (
    FAILED,
    ON_BEST,
    CommitOid,
    Concluded,
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
from autoresearchd.judge import improper
from autoresearchd.program import Program, parse
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Context
from autoresearchd.standing import Standing

ENVIRONMENT = Environment("test-0000")
PROGRAM = """
[program]
name = "fake"
editable = ["**"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
"""


def program(extra: str = "") -> Program:
    """The smallest program that edits everything and lowers `val_bpb`; `extra` is more TOML."""
    return parse(PROGRAM + extra)


def tree_of(files: Mapping[str, bytes]) -> TreeOid:
    """The same files always have the same oid."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return TreeOid(digest.hexdigest())


def commit_of(number: int) -> CommitOid:
    return CommitOid(f"{number:040x}")


def apply(files: Mapping[str, bytes], edits: Sequence[Edit]) -> dict[str, bytes]:
    """The files after the edits."""
    after = dict(files)
    for edit in edits:
        if edit.content is None:
            after.pop(edit.path, None)
        else:
            after[edit.path] = edit.content
    return after


def measurement(
    tree: TreeOid,
    value: float | None,
    *,
    seed: int = 0,
    ending: Ending = Ending.FINISHED,
    peak_memory_mib: float | None = None,
    train_seconds: float = 10.0,
    environment: Environment = ENVIRONMENT,
) -> Measurement:
    """One run; `value` is its val_bpb."""
    metrics = {} if value is None else {"val_bpb": value}
    if peak_memory_mib is not None:
        metrics["peak_memory_mib"] = peak_memory_mib
    return Measurement(
        run=f"{tree}-{seed}-{len(metrics)}",
        tree=tree,
        seed=seed,
        environment=environment,
        device="cpu:0",
        ending=ending,
        metrics=metrics,
        started=float(seed),
        train_seconds=train_seconds,
        wall_seconds=train_seconds,
    )


@dataclass
class FakeHistory:
    """The lab's memory from plain values; add to them freely between two calls of a proposer."""

    lines: list[Concluded] = field(default_factory=list)
    trees: dict[TreeOid, Mapping[str, bytes]] = field(default_factory=dict)
    runs: dict[TreeOid, list[Measurement]] = field(default_factory=dict)
    elsewhere: list[Concluded] = field(default_factory=list)
    known: dict[CommitOid, list[Standing]] = field(default_factory=dict)

    def concluded(self) -> Sequence[Concluded]:
        return tuple(self.lines)

    def at_hand(self) -> AbstractContextManager[None]:
        return nullcontext()

    def imported(self) -> Sequence[Concluded]:
        return tuple(self.elsewhere)

    def standings(self) -> Mapping[CommitOid, Sequence[Standing]]:
        return self.known

    def files(self, tree: TreeOid) -> Mapping[str, bytes]:
        return self.trees[tree]

    def measurements(self, tree: TreeOid) -> Sequence[Measurement]:
        return tuple(self.runs.get(tree, ()))

    def results(self, tree: TreeOid) -> Sequence[Measurement]:
        return self.measurements(tree)

    def merge(self, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
        old, mine, other = self.trees[base], self.trees[ours], self.trees[theirs]
        edits = []
        for path in sorted(old.keys() | other.keys()):
            if other.get(path) == old.get(path) or other.get(path) == mine.get(path):
                continue
            merged = other.get(path)
            if mine.get(path) != old.get(path):
                merged = merge_file(old.get(path), mine.get(path), other.get(path))
                if merged is None:
                    return None
            edits.append(Edit(path=path, content=merged))
        return tuple(edits)


def merge_file(base: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    """Three-way merge of one file by git; None where it conflicts."""
    if base is None or ours is None or theirs is None:
        return None
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for path, content in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(content)
        done = subprocess.run(["git", "merge-file", "-p", *map(str, paths)], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


class FakeLab:
    """A lab whose best moves as outcomes say; `history` is what a proposer sees."""

    def __init__(self, files: Mapping[str, bytes | str], *, value: float = 1.0, toml: str = "", seed: int = 0) -> None:
        self.program = program(toml)
        self.history = FakeHistory()
        self.seed = seed
        self.files = {path: _bytes(content) for path, content in files.items()}
        self.best, self.best_tree = commit_of(0), tree_of(self.files)
        self.try_files(self.files, Outcome.BASELINE, value)

    @property
    def count(self) -> int:
        return len(self.history.lines)

    def context(self, *, pending: Sequence[Proposal | Experiment] = (), seed: int | None = None) -> Context:
        """What the next proposal is made from; the same lab gives the same randomness."""
        return Context(
            program=self.program,
            best=self.best,
            best_tree=self.best_tree,
            files=self.files,
            history=self.history,
            pending=tuple(pending),
            refuse=lambda changes: improper(changes, self.program),
            rng=random.Random(f"{self.seed if seed is None else seed}/{self.count}/{len(pending)}"),
        )

    def try_proposal(self, proposal: Proposal, outcome: Outcome, value: float | None, **more: float) -> Concluded:
        """Conclude a proposal made on the current best."""
        files = apply(self.files, proposal.edits)
        return self.try_files(
            files, outcome, value, title=proposal.title, proposer=proposal.proposer, category=proposal.category, **more
        )

    def try_files(
        self,
        files: Mapping[str, bytes | str],
        outcome: Outcome,
        value: float | None,
        *,
        title: str = "Try something",
        proposer: str = "space",
        category: str = "hyperparameter",
        peak_memory_mib: float | None = None,
        confidence: float | None = None,
        std_error: float | None = None,
        train_seconds: float = 10.0,
    ) -> Concluded:
        """Conclude an experiment on the current best with these files; a keep moves best to it."""
        after = {path: _bytes(content) for path, content in files.items()}
        experiment = self.experiment(after, title=title, proposer=proposer, category=category)
        tree = experiment.tree
        self.history.trees[tree] = after
        ending = Ending(outcome.value) if outcome in FAILED else Ending.FINISHED
        run = measurement(
            tree, value, seed=self.count, ending=ending, peak_memory_mib=peak_memory_mib, train_seconds=train_seconds
        )
        self.history.runs.setdefault(tree, []).append(run)
        verdict = Verdict(
            outcome=outcome,
            metric=value,
            baseline=self.value_of_best(),
            std_error=std_error,
            confidence=confidence,
            runs=1,
            train_seconds=train_seconds,
            peak_memory_mib=peak_memory_mib,
            environment=ENVIRONMENT,
            metrics=run.metrics,
        )
        concluded = Concluded(experiment=experiment, verdict=verdict)
        self.history.lines.append(concluded)
        if outcome in ON_BEST:
            self.best, self.best_tree, self.files = experiment.commit, tree, after
        return concluded

    def experiment(
        self, files: Mapping[str, bytes], *, title: str = "Try something", proposer: str = "space", category: str = "x"
    ) -> Experiment:
        """An open experiment on the current best, not yet in the history."""
        number = self.count
        return Experiment(
            number=number,
            slug="try",
            ref=RefName(f"refs/heads/exp/{number:04d}-try"),
            commit=commit_of(number),
            tree=tree_of(files),
            parent=self.best,
            parent_tree=self.best_tree,
            title=title,
            rationale="",
            category=category,
            proposer=proposer,
            lines=Lines(added=1, removed=1),
            opened=float(number),
        )

    def value_of_best(self) -> float | None:
        """Mean val_bpb of what best measured."""
        values = [run.metrics["val_bpb"] for run in self.history.measurements(self.best_tree) if run.metrics]
        return sum(values) / len(values) if values else None


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
