"""From refs and filed runs to the ladder and back: the clerk writes what the next look reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autoresearchd.archive import Archive
from autoresearchd.clerk import Clerk
from autoresearchd.climbing import Climbing
from autoresearchd.experiment import (
    Concluded,
    CurvePoint,
    Ending,
    Environment,
    Measurement,
    Outcome,
    RunSpec,
)
from autoresearchd.incident import Disturbance, Incident
from autoresearchd.judge.spread import UNKNOWN
from autoresearchd.ladder import next_move
from autoresearchd.ledger import Ledger, refs
from autoresearchd.memory import Memory
from autoresearchd.program import parse
from autoresearchd.promotion import Climb, Ladder, Note, Promotion, Runs
from autoresearchd.standing import Standing
from autoresearchd.world import Session
from tests.ledger.lab import FILES, METRIC, NOW, git, kept, measurement, new_ledger, opened, verdict, with_baseline
from tests.support.night import Night
from tests.support.projects import PROGRAM
from tests.support.projects import lab as projects_lab

D12, ELSEWHERE = Environment("gpu/d12"), Environment("gpu/elsewhere")
LADDER = parse(
    f'[program]\nname = "x"\neditable = ["train.py"]\n[train]\ncommand = "true"\n[metric]\nname = "{METRIC}"\n'
    '[[scale]]\nname = "d12"\nargs = "--depth 12"'
)
BASE = FILES["train.py"]


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Ledger, Concluded]:
    """A lab that has kept one change, audited on the first rung."""
    ledger = new_ledger(tmp_path)
    with_baseline(ledger)
    only = kept(ledger, BASE.replace("RATE = 0.1", "RATE = 0.2"))
    audited = {METRIC: 0.98, f"audit_{METRIC}": 0.991}
    ledger.record(measurement(only.experiment.tree, seed=7, metrics=audited, audited=True))
    pretended = {"audit_a": 0.1, f"audit_{METRIC}": 0.2}
    ledger.record(measurement(only.experiment.tree, seed=8, metrics=pretended))
    ledger.record(measurement(only.experiment.tree, seed=9, metrics=pretended, audited=True, environment=ELSEWHERE))
    return ledger, only


def known(ledger: Ledger, *, program: Any = LADDER, live: tuple[Any, ...] = ()) -> Ladder | None:
    memory = Memory(ledger)
    memory.figures.busy_seconds, memory.figures.scale_seconds = 80.0, 5.0
    return Climbing(ledger=ledger, memory=memory, scales={"d12": D12}).ladder(
        now=NOW,
        program=program,
        devices=(),
        live=live,
        runs_of=ledger.measurements,
        spread_in=lambda _: UNKNOWN,
    )


def write(ledger: Ledger, move: Climb | Note | Promotion) -> None:
    nobody = cast("Any", None)
    Clerk(
        ledger=ledger,
        pipeline=nobody,
        memory=Memory(ledger),
        reception=nobody,
        session=Session(started=NOW),
        metric=LADDER.metric,
        environment=Environment("cpu"),
    ).move(move, NOW)


def test_what_is_promoted_carries_its_evidence_and_its_audit_and_waits_no_more(lab: tuple[Ledger, Concluded]) -> None:
    ledger, only = lab
    commit = only.experiment.commit
    ladder = known(ledger)
    assert ladder is not None
    assert ladder.line == (commit,)
    climb = next_move(ladder)
    assert climb == Climb(tip=commit)
    write(ledger, Climb(tip=commit))
    standing = Standing(scale="d12", holds=True, environment=D12, evidence="Δ -0.01, n=4")
    write(ledger, Note(standings={commit: standing}))
    assert isinstance(next_move(known(ledger) or ladder), Runs)
    onto = ladder.tip
    assert onto is None, "there is no `promoted` before the first look"
    onto = (known(ledger) or ladder).tip
    assert onto is not None
    write(ledger, Promotion(commits=(commit,), onto=onto, evidence={commit: {"d12": f"{METRIC}=0.97 (Δ -0.01, n=4)"}}))
    said = git(ledger.path, "log", "-1", "--format=%(trailers:key=Scale-d12)%(trailers:key=Audit)", "promoted").split(
        "\n"
    )
    assert said[:2] == [f"Scale-d12: {METRIC}=0.97 (Δ -0.01, n=4)", f"Audit: {METRIC}=0.991000"]
    after = known(ledger)
    assert after is not None
    assert (after.line, after.promoted, after.base) == ((), (1,), only.experiment.tree)
    assert next_move(after) is None


def test_the_share_counts_what_goes_on_as_well(lab: tuple[Ledger, Concluded]) -> None:
    ledger, _ = lab
    live = tuple(
        cast("Any", SimpleNamespace(started=NOW - seconds, spec=SimpleNamespace(scale=scale)))
        for seconds, scale in ((10.0, "d12"), (10.0, ""))
    )
    ladder = known(ledger, live=live)
    assert ladder is not None
    assert ladder.share == pytest.approx((5.0 + 10.0) / (80.0 + 20.0))


def test_without_a_share_nothing_is_known_and_nothing_climbs(lab: tuple[Ledger, Concluded]) -> None:
    ledger, _ = lab
    off = LADDER.model_copy(update={"promote": LADDER.promote.model_copy(update={"share": 0.0})})
    assert known(ledger, program=off) is None


@pytest.mark.parametrize("moved", ["", "Not ours"])
def test_a_promoted_that_is_gone_or_not_ours_is_begun_again(lab: tuple[Ledger, Concluded], moved: str) -> None:
    ledger, only = lab
    write(ledger, Climb(tip=only.experiment.commit))
    begun = git(ledger.path, "rev-parse", "promoted").strip()
    if moved:
        foreign = git(ledger.path, "commit-tree", only.experiment.tree, "-p", begun, "-m", moved).strip()
        git(ledger.path, "update-ref", refs.PROMOTED, foreign)
    else:
        git(ledger.path, "update-ref", "-d", refs.PROMOTED)
    ladder = known(ledger)
    assert ladder is not None
    assert next_move(ladder) == Climb(tip=only.experiment.commit)
    write(ledger, Climb(tip=only.experiment.commit))
    assert git(ledger.path, "rev-parse", "promoted").strip() == begun
    assert isinstance(next_move(known(ledger) or ladder), Runs)


def test_a_promotion_that_cannot_be_written_rests_and_the_lab_researches_on(tmp_path: Path) -> None:
    program = PROGRAM + '\n[[scale]]\nname = "d12"\n'
    night = Night(projects_lab(tmp_path), program=program, scales={"d12": D12})
    lock = night.ledger.path / f"{refs.CLIMBING}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    night.propose(0.05)
    night.steps(20)
    night.propose(2.0)
    night.steps(5)
    assert [night.outcome(number) for number in (1, 2)] == [Outcome.KEEP, Outcome.DISCARD]
    assert night.loop.status.state != "held"
    assert "promotion rests" in night.loop.status.rung_why


class Spiking(Night):
    """On the rung the loss of what is better than the baseline's 1.0 rises by 5 on its way."""

    def result(self, spec: RunSpec, now: float) -> Measurement | None:
        done = super().result(spec, now)
        assert done is not None
        spike = 5.0 if spec.scale and done.metrics["loss"] < 0.5 else 0.0
        losses = [3.0 - step / 100 + (spike if 40 <= step < 60 else 0.0) for step in range(100)]
        curve = (CurvePoint(step=step, seconds=float(step), train_loss=loss) for step, loss in enumerate(losses))
        return replace(done, curve=tuple(curve))


def test_what_spikes_on_a_larger_scale_alone_does_not_hold_where_spikes_are_bounded(tmp_path: Path) -> None:
    bounded = '\n[promote]\nshare = 1.0\n[[scale]]\nname = "d12"\n[[constraint]]\nmetric = "loss_spike"\nmax = 1.0\n'
    night = Spiking(projects_lab(tmp_path), program=PROGRAM + bounded, scales={"d12": D12})
    night.steps(6)
    night.propose(0.05)
    night.steps(40)
    assert night.outcome(1) is Outcome.KEEP
    kept = night.ledger.best().commit
    (standing,) = night.ledger.promotion.standings()[kept]
    assert not standing.holds
    assert standing.evidence.startswith("rejected: loss_spike is 4.9")
    assert git(night.ledger.path, "log", "--format=%s", "promoted").count("RATE") == 0


def test_a_run_whose_device_was_lost_says_nothing_on_a_rung(lab: tuple[Ledger, Concluded]) -> None:
    ledger, only = lab
    lost = Incident(kind=Disturbance.LOST, what="the device is gone")
    ledger.record(measurement(only.experiment.tree, seed=1, environment=D12, ending=Ending.CRASH, incidents=(lost,)))
    ladder = known(ledger)
    assert ladder is not None
    assert not ladder.runs(only.experiment.tree, D12)
    ledger.record(measurement(only.experiment.tree, seed=2, environment=D12, ending=Ending.CRASH))
    assert [run.seed for run in ladder.runs(only.experiment.tree, D12)] == [2]


def test_promotion_goes_on_after_a_death_between_best_and_the_verdict(lab: tuple[Ledger, Concluded]) -> None:
    ledger, only = lab
    experiment = opened(ledger, BASE.replace("RATE = 0.1", "RATE = 0.3"))
    ledger.record(measurement(experiment.tree))
    landed = ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW)
    git(ledger.path, "update-ref", experiment.ref, experiment.commit)  # as if killed between the two
    again = Ledger(ledger.path)
    archive = Archive(again)
    archive.line()
    archive.concluded(again.settle(experiment))
    assert [step.commit for step in archive.line()][:2] == [landed.experiment.commit, only.experiment.commit]


def test_notes_that_cannot_be_read_hold_promotion_and_not_the_lab(lab: tuple[Ledger, Concluded]) -> None:
    ledger, _ = lab
    blob = git(ledger.path, "rev-parse", "best:train.py").strip()
    git(ledger.path, "update-ref", refs.NOTES, blob)
    climbing = Climbing(ledger=ledger, memory=Memory(ledger), scales={"d12": D12})
    assert look(climbing) is None
    assert refs.NOTES in climbing.damage
    git(ledger.path, "update-ref", "-d", refs.NOTES)
    assert look(climbing) is not None
    assert not climbing.damage


def look(climbing: Climbing) -> Ladder | None:
    ledger = climbing.ledger
    return climbing.ladder(
        now=NOW, program=LADDER, devices=(), live=(), runs_of=ledger.measurements, spread_in=lambda _: UNKNOWN
    )
