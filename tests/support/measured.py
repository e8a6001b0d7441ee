"""A lab in memory whose baseline is measured."""

from __future__ import annotations

from autoresearchd.experiment import Device, Ending
from tests.support.lab_model import LabModel

SIGMA = 0.01
CHANGES = range(8)
CPU = tuple(Device(name=f"cpu:{index}", model="test", index=index) for index in range(3))


def measured_lab(**kwargs: object) -> LabModel:
    """A lab whose baseline is measured and whose spread is known; two devices."""
    lab = LabModel(devices=CPU[:2], effects=dict.fromkeys(CHANGES, 0.0), **kwargs)  # type: ignore[arg-type]
    lab.step()
    noises = iter([-SIGMA, 0.0, SIGMA, -SIGMA / 2, SIGMA / 2, 0.0])
    while 0 not in lab.concluded:
        for run in sorted(lab.live):
            lab.end_run(run, Ending.FINISHED, next(noises))
        lab.step()
    lab.now += 10
    return lab


def finish_all(lab: LabModel, noise: float = 0.0) -> None:
    for run in sorted(lab.live):
        lab.end_run(run, Ending.FINISHED, noise)
    lab.step()
