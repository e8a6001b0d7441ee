"""The audit: best's number on data that decides nothing, and that can break nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.program import Program
from tests.run.room import Room, finish, program, spec, until

METRIC = """
evaluate = 'python evaluate.py'
data = 'data/val'
audit = 'data/audit'
"""
BY_FOLDER = "say(loss=2 if os.environ['AUTORESEARCH_DATA'].endswith('val') else 3, secret=7)"
FAILING_AUDIT = "if os.environ['AUTORESEARCH_DATA'].endswith('audit'):\n    {}\nsay(loss=2)"


def run(
    room: Room, evaluate: str, *, train: str = "", audit: bool = True, wanted: Program | None = None
) -> Measurement:
    with room.executor(wanted or program(metric=METRIC)) as executor:
        executor.start(replace(spec(room.tree(train, evaluate=evaluate)), audit=audit))
        return finish(executor)


def test_an_audited_run_has_both_numbers_and_nothing_else_of_the_audit(room: Room) -> None:
    done = run(room, BY_FOLDER)
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0, "secret": 7.0, "audit_loss": 3.0})
    assert done.audited
    assert done.why == ""


def test_a_run_that_is_not_to_be_audited_never_sees_the_audit_data(room: Room) -> None:
    done = run(room, BY_FOLDER, audit=False)
    assert (done.metrics, done.audited) == ({"loss": 2.0, "secret": 7.0}, False)
    assert len(room.checkouts) == 2


def test_without_audit_data_there_is_no_audit(room: Room) -> None:
    done = run(room, BY_FOLDER, wanted=program(metric="evaluate = 'python evaluate.py'\ndata = 'data/val'"))
    assert (done.metrics["loss"], done.audited) == (2.0, False)


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        ("raise ValueError('shape')", "audit: ValueError: shape"),
        ("raise SystemExit(0)", "audit: no result.json was written"),
        ("raise SystemExit(4)", "audit: exit code 4"),
        ("say(loss=float('nan')); raise SystemExit(0)", "audit: it reported no finite number loss"),
        ("import shutil; shutil.rmtree(OUT.parent); raise SystemExit(0)", "audit: "),
    ],
)
def test_a_failed_audit_leaves_the_run_as_good_as_it_was(room: Room, fails: str, why: str) -> None:
    done = run(room, FAILING_AUDIT.format(fails))
    assert (done.ending, done.metrics, done.audited) == (Ending.FINISHED, {"loss": 2.0}, True)
    assert done.why.startswith(why)


def test_an_audit_that_hangs_is_ended_and_the_number_stands(room: Room) -> None:
    hangs = FAILING_AUDIT.format("import time; (OUT / 'hangs').touch(); time.sleep(600)")
    with room.executor(program(metric=METRIC + "evaluate_seconds = 100.0")) as executor:
        executor.start(replace(spec(room.tree("", evaluate=hangs)), audit=True))
        until(executor, lambda: list(room.work.rglob("hangs")))
        done = finish(executor, now=time.time() + 101)
    assert (done.ending, done.metrics, done.why) == (Ending.FINISHED, {"loss": 2.0}, "audit: still running after 100 s")


def test_the_training_cannot_say_the_audits_number(room: Room) -> None:
    liar = "say(**{'audit_loss': 1.0, 'audit-loss': 1.0})"
    assert run(room, "say(loss=2, audit_loss=1)", train=liar, audit=False).metrics == {"loss": 2.0}
    assert run(room, BY_FOLDER, train=liar).metrics["audit_loss"] == 3.0


def test_the_time_of_the_audit_is_not_the_runs(room: Room) -> None:
    done = run(room, "import time; say(loss=time.time()); time.sleep(0.5)")
    assert done.started + done.wall_seconds < done.metrics["audit_loss"] + 0.1


def test_a_run_that_leaves_out_a_number_that_is_weighed_is_no_result(room: Room) -> None:
    wanted = program(metric="[[metric.also]]\nname = 'speed'\ndirection = 'higher'")
    assert room.measure("say(loss=2, speed=5)", wanted).ending is Ending.FINISHED
    silent = room.measure("say(loss=2)", wanted)
    assert (silent.ending, silent.why) == (Ending.CRASH, "it ended well, but reported no number speed")
