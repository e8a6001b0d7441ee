"""What comes back from another machine: taken whole, of this very run, or not at all."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import CurvePoint, Device, Ending, Environment, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.incident import Disturbance, Incident
from autoresearchd.program import parse
from autoresearchd.run import parcel
from autoresearchd.run.parcel import Data, Live, Parcel, Probed, Refused

SPEC = RunSpec(
    run="run-1",
    tree=TreeOid("ab" * 20),
    seed=3,
    device=Device(name="slurm:4", model="cpu", index=4),
    environment=Environment("cpu/torch/20steps/1"),
)
MEASURED = Measurement(
    run=SPEC.run,
    tree=SPEC.tree,
    seed=SPEC.seed,
    environment=SPEC.environment,
    device="cpu:0",
    ending=Ending.FINISHED,
    metrics={"loss": 0.5},
    curve=(CurvePoint(step=1, seconds=0.5, train_loss=2.0),),
    started=1.0,
    train_seconds=2.0,
    wall_seconds=3.0,
    log_tail="said",
)
VALUES = st.recursive(st.none() | st.integers() | st.text(), st.lists)
PROGRAM = """
[program]
name = "toy"
editable = ["train.py"]
[train]
command = "python train.py"
data = "data"
[metric]
name = "loss"
evaluate = "python evaluate.py"
data = "held-out"
[[constraint]]
metric = "peak_memory_mib"
max = 5.0
[devices]
executor = "slurm"
[slurm]
extra = ["--account=lab"]
"""


def changed(**values: object) -> bytes:
    return json.dumps(json.loads(parcel.dump(MEASURED)) | values).encode()


def test_a_parcel_arrives_as_it_was_sent() -> None:
    data = Data(name="data", source="/shared/data", digest="0" * 64, size=5)
    sent = Parcel(program=parse(PROGRAM), folder="/home", lab="lab-1", baseline=SPEC.tree, spec=SPEC, data=(data,))
    assert parcel.parcel(parcel.dump(sent)) == sent


@pytest.mark.parametrize("place", ["../up", "", "a/b", ".hidden"])
def test_a_parcel_names_no_folder_outside_its_own(place: str) -> None:
    sent = Parcel(program=parse(PROGRAM), folder="/home", lab="lab-1", baseline=SPEC.tree, spec=SPEC)
    data = Data(name="data", source="/shared/data", digest=place, size=5)
    for spoilt in (
        dataclasses.replace(sent, lab=place),
        dataclasses.replace(sent, spec=dataclasses.replace(SPEC, run=place)),
        dataclasses.replace(sent, data=(data,)),
    ):
        with pytest.raises(CorruptRecord):
            parcel.parcel(parcel.dump(spoilt))


def test_a_measurement_counts_for_the_slot_that_it_was_started_on() -> None:
    assert parcel.measurement(parcel.dump(MEASURED), SPEC) == dataclasses.replace(MEASURED, device="slurm:4")


@given(st.integers(min_value=0, max_value=len(parcel.dump(MEASURED)) - 1))
def test_half_a_measurement_is_none(length: int) -> None:
    with pytest.raises(CorruptRecord):
        parcel.measurement(parcel.dump(MEASURED)[:length], SPEC)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"run": "run-2"},
        {"tree": "cd" * 20},
        {"seed": 4},
        {"environment": "another"},
        {"ending": "won"},
        {"metrics": {"loss": math.nan}},
        {"metrics": {"loss": math.inf}},
        {"metrics": {"loss": "0.1"}, "ending": "finished", "seed": "three"},
        {"metrics": {f"m{number}": 1.0 for number in range(200)}},
        {"metrics": {"lo\nss": 1.0}},
        {"metrics": {"\x1b[31m": 1.0}},
        {"train_seconds": -1.0},
        {"wall_seconds": math.nan},
        {"started": math.inf},
        {"curve": [{"step": -1, "seconds": 0.0, "train_loss": 1.0}]},
        {"curve": [{"step": 1, "seconds": 0.0, "train_loss": math.nan}]},
        {"curve": [{"step": step, "seconds": 0.0, "train_loss": 1.0} for step in range(2000)]},
        {"log_tail": "x" * 2**21},
    ],
)
def test_a_measurement_of_another_run_or_with_what_cannot_be_is_refused(spoilt: dict[str, object]) -> None:
    with pytest.raises(CorruptRecord):
        parcel.measurement(changed(**spoilt), SPEC)


def test_what_a_run_said_reaches_nobodys_terminal_as_an_order() -> None:
    spoilt = changed(
        log_tail="\x1b]0;owned\x07text\x00" * 2000,
        why="\x1b[2Jit\nfailed\u202e",
        ending="crash",
        incidents=[{"kind": "foreign", "what": "\x1b[1mpython\n"}] * 50,
    )
    found = parcel.measurement(spoilt, SPEC)
    assert found.why == "it failed"
    assert found.incidents == (Incident(kind=Disturbance.FOREIGN, what="python"),) * 16
    assert set(found.log_tail) <= set("text")
    assert len(found.log_tail) <= 4096


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_garbage_is_one_error(garbage: bytes) -> None:
    for read in (parcel.measurement, parcel.live, parcel.refused):
        with pytest.raises(CorruptRecord):
            read(garbage, SPEC)
    for read_alone in (parcel.parcel, parcel.probed):
        with pytest.raises(CorruptRecord):
            read_alone(garbage)


def test_progress_is_shown_for_the_run_as_it_was_started() -> None:
    there = dataclasses.replace(SPEC, device=Device(name="cpu:0"))
    progress = Progress(spec=there, started=5.0, step=2, train_seconds=1.0, fraction=0.5, phase="training\x1b[1m")
    found = parcel.live(parcel.dump(Live(progress=progress, tail="a\x1b[1mb", host="node-1")), SPEC)
    assert found == Live(progress=dataclasses.replace(progress, spec=SPEC, phase="training"), tail="ab", host="node-1")


@pytest.mark.parametrize("spoilt", [{"step": -1}, {"train_seconds": math.nan}, {"fraction": math.inf}, {"started": -1}])
def test_progress_with_what_cannot_be_is_refused(spoilt: dict[str, float]) -> None:
    said = json.loads(parcel.dump(Live(progress=Progress(spec=SPEC, started=5.0))))
    said["progress"] |= spoilt
    with pytest.raises(CorruptRecord):
        parcel.live(json.dumps(said).encode(), SPEC)


def test_a_refusal_is_of_this_run_and_says_why_on_one_line() -> None:
    assert parcel.refused(parcel.dump(Refused(run="run-1", why="a\nb", host="n")), SPEC).why == "a b"
    with pytest.raises(CorruptRecord):
        parcel.refused(parcel.dump(Refused(run="run-2", why="a")), SPEC)


def test_a_probe_without_an_environment_is_refused() -> None:
    probed = Probed(host="n", device=Device(name="cpu:0"), sandbox="landlock", environments={"": Environment("e")})
    assert parcel.probed(parcel.dump(probed)) == probed
    for environments in ({}, {"": Environment("two\nlines")}, {"large": Environment("e")}):
        with pytest.raises(CorruptRecord):
            parcel.probed(parcel.dump(dataclasses.replace(probed, environments=environments)))
