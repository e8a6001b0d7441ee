"""When promotion gets a device, and when a session waits for it."""

from __future__ import annotations

from dataclasses import replace

from autoresearchd.actions import ConcludeExperiment, Finish, OpenExperiment, Start
from autoresearchd.describe import Record, describe
from autoresearchd.experiment import Environment, Progress, RunSpec
from autoresearchd.figures import Figures
from autoresearchd.ladder import next_move
from autoresearchd.plan import plan
from autoresearchd.promotion import Ladder
from autoresearchd.rungs import Promote, Rung
from autoresearchd.screening import is_screened
from autoresearchd.status import Status
from autoresearchd.world import Ideas, Orders, Session, World
from bench.bisect import Slope
from tests.support.lab_model import LabModel
from tests.support.measured import measured_lab

RUNG = Rung(name="d2")


def ladder(share: float) -> Ladder:
    """Two kept commits that are looked at, and have not been trained on the rung."""
    slope = Slope(gains={"d2": [2.0, 2.0]})
    slope.step()
    return replace(slope.ladder(), share=share)


def world(lab: LabModel, *, share: float, rung: Rung = RUNG, **fields: object) -> World:
    """The lab's world with a ladder, of whose `share` of the devices' time 0.15 is allowed."""
    program = lab.program.model_copy(update={"scale": (rung,), "promote": Promote(share=0.15)})
    found = ladder(share)
    return replace(lab.world(), ladder=found, climb=next_move(found), program=program, **fields)  # type: ignore[arg-type]


def climbs(world: World) -> list[Start]:
    return [action for action in plan(world) if isinstance(action, Start) and action.scale]


def said(world: World) -> Status:
    return describe(world, Record(verdicts={}), Figures(), Session(started=0.0), pid=1)


def test_below_its_share_promotion_gets_one_device_and_the_others_go_on() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.propose(2)
    now = world(lab, share=0.1)
    (climb,) = climbs(now)
    assert (climb.scale, climb.device.name, climb.tree) == ("d2", "cpu:0", "baseline")
    assert sum(isinstance(action, OpenExperiment) for action in plan(now)) == 1, "the other device researches on"


def test_beyond_its_share_promotion_waits_even_where_no_idea_is_at_hand() -> None:
    assert climbs(world(measured_lab(), share=0.15)) == []


def test_when_nobody_has_an_idea_left_idle_devices_climb_beyond_the_share() -> None:
    silent = world(measured_lab(), share=0.9, ideas=Ideas(is_silent=True))
    assert [climb.device.name for climb in climbs(silent)] == ["cpu:0", "cpu:1"]
    lab = measured_lab()
    lab.propose(1)
    silent = replace(lab.world().ideas, is_silent=True)
    assert climbs(world(lab, share=0.9, ideas=silent)) == []


def test_when_the_budget_is_spent_all_devices_climb_before_the_session_ends() -> None:
    spent = world(measured_lab(), share=0.9, orders=Orders(remaining=0))
    assert [climb.device.name for climb in climbs(spent)] == ["cpu:0", "cpu:1"]
    assert not any(isinstance(action, Finish) for action in plan(spent))
    through = replace(spent, ladder=replace(ladder(0.9), line=()), climb=None)
    assert any(isinstance(action, Finish) for action in plan(through))


def test_a_rung_that_no_device_fits_is_waited_for_by_nobody() -> None:
    too_large = world(measured_lab(), share=0.0, rung=Rung(name="d2", memory_mib=80_000), orders=Orders(remaining=0))
    assert climbs(too_large) == []
    assert said(too_large).rung_why == "d2: no device that leads best fits it"
    assert said(world(measured_lab(), share=0.0)).rung_why == ""
    assert any(isinstance(action, Finish) for action in plan(too_large))


def test_a_run_on_a_rung_keeps_no_experiment_of_the_same_tree_from_its_verdict() -> None:
    lab = measured_lab()
    lab.propose(1)
    lab.step()
    now = lab.world()
    (item,) = now.opened
    spec = RunSpec(
        run="r", tree=item.experiment.tree, seed=1, device=now.devices[0], environment=Environment("rung"), scale="d2"
    )
    number = item.experiment.number
    alone = replace(now, live=(Progress(spec=spec, started=now.now),), orders=Orders(skips=frozenset({number})))
    assert any(isinstance(action, ConcludeExperiment) for action in plan(alone))
    assert is_screened(alone, item.experiment), "the first rung has not begun with it"


def test_nothing_climbs_while_paused_or_closing() -> None:
    assert climbs(world(measured_lab(), share=0.0, orders=Orders(paused=True))) == []
    assert climbs(world(measured_lab(), share=0.0, orders=Orders(closing="stopped by a person"))) == []
