"""What goes to another machine for one run, and what comes back, as values and as JSON. Pure.

The machine is trusted as much as this one, its files are not: half-written, stale or of another run, they are a
CorruptRecord and never a Measurement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import CurvePoint, Device, Environment, Measurement, Progress, RunSpec, TreeOid
from autoresearchd.incident import Incident
from autoresearchd.program import Program
from autoresearchd.run.curve import MOST_POINTS
from autoresearchd.run.log import TAIL_CHARACTERS, WHY_CHARACTERS, one_line, plain
from autoresearchd.run.target import MOST_METRICS

PARCEL_FILE, PACK_FILE = "parcel.json", "tree.pack"
PROGRESS_FILE, MEASUREMENT_FILE = "progress.json", "measurement.json"
REFUSED_FILE, PROBED_FILE = "refused.json", "probed.json"
MOST_BYTES = 2**20
"""Of a file that comes back: a curve of MOST_POINTS and a log's end take a tenth."""
SLOWEST_BYTES = 8 * 2**20
"""A second, of data that a node reads over a network, writes and reads again for its hash."""
MOST_INCIDENTS = 16
OUR_METRICS = 2
"""Beyond those that a target may report: processor seconds, and the audit's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """One folder or file of data: the name that program.toml has for it, where it lies, and what it must hold."""

    name: str
    source: str
    """Absolute."""
    digest: str
    """As `depot.digest` tells it."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One run for another machine; the tree comes beside it as a pack. A probe asks only what that machine is."""

    program: Program
    folder: str
    """Where program.toml lies on the machine that sends it."""
    lab: str
    """A name without slashes, the same for every run of one lab: runs of a lab share compiled kernels on a machine."""
    baseline: TreeOid
    """The only tree whose compiled kernels others get."""
    spec: RunSpec
    ahead: tuple[str, ...] = ()
    """What its interpreters import while they wait; part of the environment."""
    threads: int | None = None
    """Of a CPU slot; None: as program.toml says, else all cores that the run may use."""
    data: tuple[Data, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a machine is for the runs of a program."""

    host: str
    device: Device
    sandbox: str
    environments: dict[str, Environment]
    """By rung; the first has the empty name."""
    ahead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How far a run is, and the end of what it says."""

    progress: Progress
    tail: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a machine would not do a run; nothing was measured."""

    run: str
    why: str
    host: str = ""


def bringing_seconds(data: Iterable[Data]) -> float:
    """How long a node that has none of it may take until the data is there."""
    return sum(some.size for some in data) / SLOWEST_BYTES


def dump(value: Parcel | Probed | Live | Refused | Measurement) -> bytes:
    """Any of them as JSON."""
    if isinstance(value, Measurement):
        value = replace(value, metrics=dict(value.metrics))
    kind: Any = type(value)
    return _adapter(kind).dump_json(value)


def parcel(data: bytes) -> Parcel:
    """What came with a run. Raises: CorruptRecord."""
    found: Parcel = _load(Parcel, data, PARCEL_FILE)
    if not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name) for name in (found.lab, found.spec.run)):
        raise CorruptRecord(PARCEL_FILE, "its lab or its run has a name that is no folder's")
    if not all(re.fullmatch(r"[0-9a-f]{64}", data.digest) for data in found.data):
        raise CorruptRecord(PARCEL_FILE, "its data has no hash")
    return found


def probed(data: bytes) -> Probed:
    """What a probe says. Raises: CorruptRecord."""
    found: Probed = _load(Probed, data, PROBED_FILE)
    words = (found.device.model, *found.environments, *found.environments.values())
    if "" not in found.environments or any(len(word) > WHY_CHARACTERS or one_line(word) != word for word in words):
        raise CorruptRecord(PROBED_FILE, "it names no environment")
    return replace(found, host=one_line(found.host), sandbox=one_line(found.sandbox))


def refused(data: bytes, spec: RunSpec) -> Refused:
    """Why a run was not done. Raises: CorruptRecord."""
    found: Refused = _load(Refused, data, REFUSED_FILE)
    if found.run != spec.run:
        raise CorruptRecord(REFUSED_FILE, "it is of another run")
    return replace(found, why=one_line(found.why), host=one_line(found.host))


def live(data: bytes, spec: RunSpec) -> Live:
    """How far a run is; its spec is ours. Raises: CorruptRecord."""
    found: Live = _load(Live, data, PROGRESS_FILE)
    progress = found.progress
    _refuse(PROGRESS_FILE, _another(progress.spec, spec) or _no_curve(progress.curve))
    numbers = (progress.started, progress.train_seconds, progress.fraction or 0.0)
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or progress.step < 0:
        raise CorruptRecord(PROGRESS_FILE, "it has a number that cannot be")
    progress = replace(progress, spec=spec, phase=one_line(progress.phase)[:40], incidents=_worded(progress.incidents))
    return Live(progress=progress, tail=plain(found.tail)[-TAIL_CHARACTERS:], host=one_line(found.host))


def measurement(data: bytes, spec: RunSpec) -> Measurement:
    """What a run gave, on the device that it was started for. Raises: CorruptRecord."""
    found: Measurement = _load(Measurement, data, MEASUREMENT_FILE)
    _refuse(MEASUREMENT_FILE, _another(found, spec) or _no_curve(found.curve) or next(_impossible(found), ""))
    return replace(
        found,
        device=spec.device.name,
        why=one_line(found.why),
        log_tail=plain(found.log_tail)[-TAIL_CHARACTERS:],
        incidents=_worded(found.incidents),
    )


def _refuse(where: str, why: str) -> None:
    if why:
        raise CorruptRecord(where, why)


def _another(found: Measurement | RunSpec, spec: RunSpec) -> str:
    names = ("run", "tree", "seed", "environment")
    wrong = next((name for name in names if getattr(found, name) != getattr(spec, name)), None)
    return f"its {wrong} is another than that of the run" if wrong else ""


def _worded(incidents: tuple[Incident, ...]) -> tuple[Incident, ...]:
    return tuple(replace(incident, what=one_line(incident.what)) for incident in incidents[:MOST_INCIDENTS])


def _no_curve(curve: tuple[CurvePoint, ...]) -> str:
    if len(curve) > MOST_POINTS or not all(map(_is_point, curve)):
        return "it has a curve that cannot be"
    return ""


def _is_point(point: CurvePoint) -> bool:
    return 0 <= point.step < 2**53 and math.isfinite(point.train_loss) and 0 <= point.seconds < math.inf


def _impossible(found: Measurement) -> Iterator[str]:
    names = found.metrics.keys()
    if len(names) > MOST_METRICS + OUR_METRICS or not all(
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", n) for n in names
    ):
        yield "it has metrics that cannot be"
    if not all(map(math.isfinite, found.metrics.values())):
        yield "a metric is no finite number"
    times = (found.started, found.train_seconds, found.wall_seconds, found.train_wall_seconds or 0.0)
    if not all(0 <= number < math.inf for number in times):
        yield "it has a time that cannot be"


def _load(kind: Any, data: bytes, where: str) -> Any:
    if len(data) > MOST_BYTES:
        raise CorruptRecord(where, f"it is larger than {MOST_BYTES} bytes")
    try:
        return _adapter(kind).validate_json(data)
    except ValidationError as error:
        raise CorruptRecord(where, one_line(error.errors(include_url=False)[0]["msg"])) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Milliseconds to make."""
    return TypeAdapter(kind)
