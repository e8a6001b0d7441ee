"""Trainings of a command: what this machine loses is said in one sentence, with the way on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Environment, Measurement, RunSpec, TreeOid
from autoresearchd.foreground import Foreground
from tests.support.fakes import FakeExecutor, finished

TREE = TreeOid("a" * 40)


class Machine(FakeExecutor):
    """Loses the run of seed 1; one of seed 9 cannot be begun."""

    def start(self, spec: RunSpec) -> None:
        if spec.seed == 9:
            raise OSError(28, "No space left on device")
        super().start(spec)

    def poll(self, now: float) -> Sequence[Measurement]:
        for run in [run for run, spec in self.live.items() if spec.seed == 1]:
            del self.live[run]
        return super().poll(now)


@pytest.fixture
def trainings() -> Iterator[Foreground]:
    machine = Machine(lambda spec, now: finished(spec, "loss", 1.0, now=now))
    with closing(machine):
        devices = (Device(name="cpu:0"), Device(name="cpu:1"))
        yield Foreground(executor=machine, devices=devices, environment=Environment("test"), say=lambda _: None)


def test_each_is_trained_once(trainings: Foreground) -> None:
    assert sorted(run.seed for run in trainings.train([(TREE, 0), (TREE, 2), (TREE, 3)])) == [0, 2, 3]


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        (1, "the project alone: seed 1 was lost before it gave its number (the log says why); "),
        (9, "the project alone: seed 9 cannot be trained on cpu:1: [Errno 28] No space left on device; "),
    ],
)
def test_what_is_lost_is_said_with_the_way_on_and_what_was_measured_is_given_back(
    trainings: Foreground, seed: int, said: str
) -> None:
    measured: list[int] = []
    with pytest.raises(UserError) as raised:
        measured.extend(run.seed for run in trainings.train([(TREE, 0), (TREE, seed)], what="the project alone: "))
    assert str(raised.value) == said + "mend that and run the command again to go on"
    assert measured == ([0] if seed == 1 else [])
