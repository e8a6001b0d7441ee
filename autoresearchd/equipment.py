"""What runs train on: the executor that `[devices] executor` asks for, its devices, and their environment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from autoresearchd.errors import UserError
from autoresearchd.experiment import Device, Environment, RunSpec, TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.ledger.packs import pack
from autoresearchd.program import Program
from autoresearchd.run import Bench, Executor, LocalExecutor, depot, discover
from autoresearchd.run.clearing import Keep
from autoresearchd.run.fleet import Fleet
from autoresearchd.run.fleet import fleet as sorted_by_environment
from autoresearchd.run.heldout import held_out, real, refuse_seen
from autoresearchd.run.parcel import Data, Parcel
from autoresearchd.run.ray import RayExecutor
from autoresearchd.run.slurm import SlurmExecutor

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """An executor that is the caller's to close, and what it offers."""

    executor: Executor
    fleet: Fleet
    sandbox: str
    """What runs are kept in."""


def equip(
    program: Program,
    folder: Path,
    ledger: Ledger,
    waits: Callable[[], None] = lambda: None,
    *,
    tree: TreeOid | None = None,
    keep: Keep | None = None,
) -> Equipment:
    """Put together what program.toml asks for; `waits` is called every second that a cluster takes to answer, and while
    data is hashed for it.

    What measures is taken from `tree`, by default best's. `keep` is given what a finished run on this machine left.

    Raises: UserError where a device, a sandbox or a cluster that it asks for is not there, or trainings would see what
    is held out.
    """
    refuse_seen(program, folder)
    tree = tree or ledger.best().tree
    match program.devices.executor:
        case "local":
            return _local(program, folder, ledger, tree, keep)
        case "slurm":
            return _slurm(program, folder, ledger, tree, waits)
        case "ray":
            return _ray(program, folder, ledger, tree, waits)


def fleet(program: Program, folder: Path, ledger: Ledger, tree: TreeOid) -> Fleet:
    """The devices of this machine, and what runs there count for where this tree has the code that measures.

    Raises: UserError when program.toml asks for some that are not there.
    """
    protected, editable = ledger.files(tree, program.is_protected), ledger.files(tree, program.may_edit)
    devices = discover(program.devices)
    return sorted_by_environment(program, devices, folder=folder, protected=protected, editable=editable.values())


def _local(program: Program, folder: Path, ledger: Ledger, tree: TreeOid, keep: Keep | None) -> Equipment:
    ours, work = fleet(program, folder, ledger, tree), ledger.path / "autoresearchd" / "runs"
    bench = Bench(program=program, folder=folder, work=work, checkout=ledger.checkout, ahead=ours.ahead)
    executor = LocalExecutor(bench, keep=keep)
    return Equipment(executor=executor, fleet=ours, sandbox=executor.sandbox)


def _slurm(program: Program, folder: Path, ledger: Ledger, tree: TreeOid, waits: Callable[[], None]) -> Equipment:
    settings = program.slurm
    program = _within(program, settings.memory_mib)
    executor = SlurmExecutor(
        settings,
        folder=_shared(program, folder, ledger),
        template=parcel_for(program, folder, ledger, tree, threads=settings.cpus, waits=waits),
        pack=lambda tree: pack(ledger.path, tree),
    )
    return _far("slurm", executor, lambda: settings.slots, waits)


def _ray(program: Program, folder: Path, ledger: Ledger, tree: TreeOid, waits: Callable[[], None]) -> Equipment:
    executor = RayExecutor(
        program.ray,
        folder=ledger.path.resolve() / "autoresearchd" / "ray",
        template=parcel_for(program, folder, ledger, tree, threads=max(1, int(program.ray.cpus)), waits=waits),
        pack=lambda tree: pack(ledger.path, tree),
    )
    return _far("ray", executor, lambda: executor.slots, waits)


def _far(
    kind: str, executor: SlurmExecutor | RayExecutor, slots: Callable[[], int], waits: Callable[[], None]
) -> Equipment:
    """What a cluster offers, once one of its nodes has said what it is."""
    try:
        log.info("cluster_asked", then="it goes on when a node has answered")
        probed = executor.probe(waits)
    except BaseException:
        executor.close()
        raise
    log.info("cluster_answered", host=probed.host, environment=probed.environments[""], sandbox=probed.sandbox)
    found = Fleet(
        environment=probed.environments[""],
        devices=far_devices(kind, slots(), probed.device),
        screens={},
        ahead=probed.ahead,
        scales={name: label for name, label in probed.environments.items() if name},
    )
    return Equipment(executor=executor, fleet=found, sandbox=probed.sandbox)


def _within(program: Program, memory_mib: int | None) -> Program:
    """With runs bounded a little below what their job gets: what runs out of memory then says so, and is measured."""
    if memory_mib is None or program.sandbox.memory_mib is not None:
        return program
    bound = program.sandbox.model_copy(update={"memory_mib": max(64, memory_mib * 9 // 10)})
    return program.model_copy(update={"sandbox": bound})


def far_devices(kind: str, count: int, like: Device) -> tuple[Device, ...]:
    """Slots of a cluster, each of them some device like that of the node that was asked: `slurm:0`, `cuda:slurm-0`."""
    named = f"cuda:{kind}-" if like.is_cuda else f"{kind}:"
    return tuple(replace(like, name=f"{named}{slot}", index=slot) for slot in range(count))


def parcel_for(
    program: Program,
    folder: Path,
    ledger: Ledger,
    tree: TreeOid,
    *,
    threads: int | None,
    waits: Callable[[], None] = lambda: None,
) -> Parcel:
    """What every run of a lab is sent with, all but its own spec: a probe of `tree` stands in its place.

    Reads all the data once, and calls `waits` meanwhile. Raises: UserError where some is not there.
    """
    names = dict.fromkeys(name for name in (program.train.data, *held_out(program)) if name is not None)
    spec = RunSpec(run="probe", tree=tree, seed=0, device=Device(name="cluster", index=0), environment=Environment(""))
    return Parcel(
        program=program,
        folder=str(folder),
        lab=lab_name(ledger.path),
        baseline=ledger.baseline_tree() or tree,
        spec=spec,
        threads=threads,
        data=tuple(_data(folder, name, waits) for name in names),
    )


def lab_name(lab: Path) -> str:
    """A name for a lab that no other of this machine has, fit for a folder."""
    return f"lab-{hashlib.sha256(str(lab.resolve()).encode()).hexdigest()[:16]}"


def _shared(program: Program, folder: Path, ledger: Ledger) -> Path:
    """The lab's own folder among those that every node sees."""
    if program.slurm.folder is None:
        return ledger.path.resolve() / "autoresearchd" / "slurm"
    return (folder / Path(program.slurm.folder).expanduser()).resolve() / lab_name(ledger.path)


def _data(folder: Path, name: str, waits: Callable[[], None]) -> Data:
    place = real(folder, name)
    try:
        found, size = depot.digest(place, waits), depot.size(place)
    except OSError as error:
        raise UserError(
            f"the data {place} cannot be read ({error.strerror}); `autoresearchd doctor` says more"
        ) from error
    log.info("data_hashed", data=name, digest=found[:16])
    return Data(name=name, source=str(place), digest=found, size=size)
