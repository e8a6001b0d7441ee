"""The sums of a session: device seconds by what they went into, whatever went on."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.experiment import Device, Environment, RunSpec, TreeOid
from autoresearchd.figures import Figures
from autoresearchd.status import Idle
from tests.support.fakes import finished

SPEC = RunSpec(run="r", tree=TreeOid("t"), seed=0, device=Device(name="cpu:0"), environment=Environment("here"))
RUN = replace(finished(SPEC, "loss", 1.0, now=0.0), wall_seconds=60.0)


def test_idle_time_goes_to_the_reason_it_began_with_and_counts_every_device() -> None:
    figures = Figures()
    figures.idle(1000.0, 2, Idle.NO_IDEA)
    figures.idle(1010.0, 1, Idle.PAUSED)
    figures.idle(1015.0, 0, Idle.PAUSED)
    figures.idle(1100.0, 0, Idle.NO_IDEA)
    assert figures.idle_seconds == {"no_idea": 20.0, "paused": 5.0}


def test_what_a_rung_took_is_a_part_of_what_trained() -> None:
    figures = Figures()
    figures.train(RUN, on_rung=False)
    figures.train(RUN, on_rung=True)
    assert (figures.busy_seconds, figures.scale_seconds) == (120.0, 60.0)


def test_of_disturbed_runs_the_number_is_kept_and_what_the_newest_suffered_from() -> None:
    figures = Figures()
    figures.disturb("python (pid 1)")
    figures.disturb("thermal slowdown")
    assert (figures.disturbed, figures.disturbed_why) == (2, "thermal slowdown")
