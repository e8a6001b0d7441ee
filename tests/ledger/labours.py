"""What a daemon writes into a lab, kind by kind, each so that who was cut off does what is left to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoresearchd.experiment import IMPORTED, Ending, Environment, Experiment, Lines, Outcome, Verdict
from autoresearchd.ledger import Ledger, refs
from autoresearchd.standing import Standing
from autoresearchd.status import RefusedIdea
from autoresearchd.trailers import Record
from tests.ledger.lab import FILES, METRIC, NOW, git, kept, measurement, opened, proposal, verdict, with_baseline
from tests.ledger.test_rebase import rebased, upstream

LARGE = Environment("gpu/large")
HOLDS = Standing(scale="d12", holds=True, environment=LARGE, evidence="Δ -0.01, n=4")
OUTCOMES = (Outcome.DISCARD, Outcome.KEEP, Outcome.KEEP)


def finish(ledger: Ledger, experiment: Experiment) -> None:
    """From wherever an open experiment is to its verdict."""
    if ledger.landed(experiment) is not None:
        ledger.settle(experiment)
        return
    if experiment.parent != ledger.best().commit:
        replayed = ledger.replay(experiment, now=NOW)
        assert replayed is not None
        experiment = replayed
    ledger.record(measurement(experiment.tree))
    outcome = Outcome.BASELINE if experiment.number == 0 else OUTCOMES[experiment.number % 3]
    ledger.conclude(experiment, verdict(outcome), metric=METRIC, now=NOW)


def recover(ledger: Ledger) -> None:
    """What the next daemon does: it settles what has landed, and goes on with what is open."""
    for experiment in sorted(ledger.opened(), key=lambda each: ledger.landed(each) is None):
        finish(ledger, experiment)


def begins(ledger: Ledger) -> None:
    if not ledger.measured_by():
        ledger.note_measured_by({"train.seconds": 5.0})
    if not ledger.is_begun:
        ledger.open_baseline(now=NOW)
    recover(ledger)


def keeps_two(ledger: Ledger) -> None:
    """Made from the same best: the second is replayed on the first."""
    for number in range(len(ledger.entries()), 3):
        opened(ledger, f"RATE = {number}\n", path=f"file{number}.py", title=f"Try {number}")
    recover(ledger)


def discards(ledger: Ledger) -> None:
    """Every third, as `finish` has it."""
    if len(ledger.entries()) == 3:
        opened(ledger, "RATE = 3\n")
    recover(ledger)


def mends_a_crash(ledger: Ledger) -> None:
    if len(ledger.entries()) == 1:
        opened(ledger, "RATE = two\n")
    for experiment in ledger.opened():
        if experiment.fix_attempts == 0:
            ledger.record(measurement(experiment.tree, ending=Ending.CRASH))
            ledger.fix(experiment, proposal(ledger, "RATE = 2\n"), now=NOW)
    recover(ledger)


def promotes(ledger: Ledger) -> None:
    second, first, baseline = (step.experiment for step in ledger.line())
    if ledger.promotion.place().tip is None:
        ledger.promotion.look(first.commit, baseline=baseline.commit)
    if ledger.promotion.place().tip != second.commit:
        ledger.promotion.look(second.commit, baseline=baseline.commit)
    for experiment in (first, second):
        if experiment.commit not in ledger.promotion.standings():
            ledger.promotion.note({experiment.commit: HOLDS}, now=NOW)
    if ledger.promotion.line(baseline.commit) == ():
        tree = ledger.promotion.stack(baseline.tree, (first.commit,))
        assert tree is not None
        ledger.record(measurement(tree, run="large", environment=LARGE))
        evidence = {first.commit: {"Scale-d12": "val_bpb=0.97"}}
        ledger.promotion.promote((first.commit,), evidence, onto=baseline.commit, now=NOW)


def promotes_anew(ledger: Ledger) -> None:
    """After a rebase: the line of before is set aside."""
    begun = ledger.best().commit
    if ledger.promotion.place().tip != begun:
        ledger.promotion.look(begun, baseline=begun)


def imports(ledger: Ledger) -> None:
    adoption, told = ledger.adoption(), Verdict(outcome=Outcome.DISCARD, trust=IMPORTED, why="as the night says")
    for line in range(1 + len(ledger.imported()), 3):
        record = Record(
            number=0,
            title=f"Try {line}",
            rationale="",
            proposer=IMPORTED,
            category=IMPORTED,
            lines=Lines(added=0, removed=0),
            imported=f"night:{line}",
            verdict=told,
            metric=METRIC,
        )
        adoption.add(record, tree=None, on=ledger.best().commit, opened=NOW, now=NOW)


def turns_away(ledger: Ledger) -> None:
    """What changes nothing: why is on record before the branch goes."""
    for idea in ledger.ideas():
        if idea.ref not in {refused.ref for refused in ledger.refused()}:
            ledger.file_refused(RefusedIdea(ref=idea.ref, title="Nothing", why=idea.why, at=NOW), "")
        ledger.drop_idea(idea)


def begun(ledger: Ledger) -> None:
    with_baseline(ledger)


def two_kept(ledger: Ledger) -> None:
    begun(ledger)
    kept(ledger, FILES["train.py"].replace("RATE = 0.1", "RATE = 0.2"))
    kept(ledger, "DATA = 2\n", path="more.py", title="Add data")


def rebased_once(ledger: Ledger) -> None:
    two_kept(ledger)
    promotes(ledger)
    upstream(ledger, "data.py", "DATA = 3\n")
    rebased(ledger)


def two_ideas(ledger: Ledger) -> None:
    begun(ledger)
    for name in ("first", "second"):
        git(ledger.path, "update-ref", f"{refs.IDEAS}{name}", "best")


def older(ledger: Ledger) -> None:
    """From before labs said their format."""
    git(ledger.path, "update-ref", "-d", refs.FORMAT)


@dataclass(frozen=True)
class Labour:
    """Work in a lab that is prepared for it, and how often it writes a ref."""

    prepare: Callable[[Ledger], None]
    do: Callable[[Ledger], None]
    writes: int


LABOURS = {
    "begins": Labour(older, begins, 7),
    "keeps two": Labour(begun, keeps_two, 11),
    "discards": Labour(two_kept, discards, 4),
    "mends a crash": Labour(begun, mends_a_crash, 7),
    "promotes": Labour(two_kept, promotes, 7),
    "promotes anew": Labour(rebased_once, promotes_anew, 3),
    "imports": Labour(begun, imports, 4),
    "turns away": Labour(two_ideas, turns_away, 4),
}
