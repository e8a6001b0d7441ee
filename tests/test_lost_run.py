"""A training whose evaluation this machine cannot do is not begun again at once: devices rest, `status` says why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from autoresearchd.experiment import Concluded, Device, Environment, TreeOid
from autoresearchd.lab import Lab
from autoresearchd.ledger import Ledger
from autoresearchd.loop import Loop
from autoresearchd.program import parse
from autoresearchd.run import Bench, LocalExecutor
from autoresearchd.run.fleet import Fleet
from autoresearchd.world import Session
from tests.run.room import RESULT
from tests.support.fakes import FakePipeline
from tests.support.patience import until
from tests.support.projects import lab

PROGRAM = """
[program]
name = "toy"
editable = ["train.py"]
protected = ["evaluate.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
evaluate = "python evaluate.py"
[sandbox]
mode = "none"
"""


class Night:
    """A real lab and real runs on a disk that is full for evaluations; its clock is ahead by what the test skips."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.ahead, self.trained, self.is_full = ledger, 0.0, 0, True
        folder, program = ledger.path.parent, parse(PROGRAM)
        work = ledger.path / "autoresearchd" / "runs"
        bench = Bench(program=program, folder=folder, work=work, checkout=self.checkout)
        self.executor = LocalExecutor(bench)
        lab = Lab(
            ledger=ledger,
            executor=self.executor,
            pipeline=FakePipeline(),  # type: ignore[arg-type]
            fleet=Fleet(environment=Environment("test"), devices=(Device(name="cpu:0"),)),
            session=Session(started=time.time()),
        )
        self.loop = Loop(lab, program)

    def checkout(self, tree: TreeOid, folder: Path) -> None:
        if folder.parent.name.startswith("evaluate"):
            if self.is_full:
                raise OSError(28, os.strerror(28))
        else:
            self.trained += 1
        self.ledger.checkout(tree, folder)

    def step(self) -> None:
        self.loop.step(time.time() + self.ahead)

    def until(self, done: Callable[[], bool]) -> None:
        def is_done() -> bool:
            self.step()
            return done()

        until(is_done, said=lambda: self.loop.status)

    def until_held(self) -> None:
        self.until(lambda: self.loop.status.state == "held")


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    code = {"train.py": RESULT + "RATE = 1\n", "evaluate.py": RESULT + "say(loss=1.0)\n"}
    night = Night(lab(tmp_path / "project", code))
    with closing(night.executor):
        yield night


def test_after_a_lost_run_the_device_rests_and_the_status_says_why(night: Night) -> None:
    night.until_held()
    assert night.trained == 1
    assert "a run was lost" in night.loop.status.why
    assert "No space left on device" in night.loop.status.why
    night.ahead += 20.0
    night.step()
    assert (night.trained, night.loop.status.state) == (1, "held")


def test_it_rests_longer_each_time_and_goes_on_by_itself_once_the_machine_is_mended(night: Night) -> None:
    night.until_held()
    night.ahead += 40.0
    night.until(lambda: night.trained == 2)
    night.until_held()
    night.ahead += 40.0  # the second rest is longer than the first
    night.step()
    assert (night.trained, night.loop.status.state) == (2, "held")
    night.is_full = False
    night.ahead += 40.0
    night.until(lambda: isinstance(night.ledger.find(0), Concluded))
    assert night.trained == 2 + len(night.ledger.measurements(night.ledger.best().tree))
