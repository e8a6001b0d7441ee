"""What the tests train on Ray: a lab whose trainings wait at their third step until they may go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from autoresearchd.equipment import parcel_for
from autoresearchd.experiment import Device, Measurement, RunSpec, TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.ledger.packs import pack
from autoresearchd.program import parse
from autoresearchd.ray_cluster import Ray
from autoresearchd.run import Bench, Executor, LocalExecutor
from autoresearchd.run.ray import RayExecutor
from tests.support.patience import until
from tests.support.projects import lab
from tests.support.raynodes import RayCluster

TRAIN = """
import json, os, random, time
from pathlib import Path

RATE = 1.0
GO = Path("@GO")
out, seed = Path(os.environ["AUTORESEARCH_OUT"]), int(os.environ["AUTORESEARCH_SEED"])
print("pid", os.getpid(), flush=True)
for step in range(1, 6):
    with (out / "metrics.jsonl").open("a") as curve:
        print(json.dumps({"step": step, "seconds": float(step), "train_loss": RATE / step}), file=curve)
    print("step", step, flush=True)
    while step == 3 and not GO.exists():
        time.sleep(0.02)
print("loss:", RATE + random.Random(seed).gauss(0, 0.001))
"""
PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 5
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[devices]
use = "cpu"
executor = "ray"
[sandbox]
mode = "none"
"""


def training(go: Path) -> str:
    """A train.py that waits until `go` is there."""
    return TRAIN.replace("@GO", str(go))


class Lab:
    """A lab whose trainings wait at their third step until `go`."""

    def __init__(self, folder: Path, cluster: RayCluster | str) -> None:
        self.folder, self._go = folder, folder / "go"
        self._address = cluster if isinstance(cluster, str) else cluster.address
        self.ledger: Ledger = lab(folder / "project", {"train.py": training(self._go)})
        self.program = parse(PROGRAM)
        self.tree = self.ledger.best().tree

    def go(self) -> None:
        self._go.touch()

    @contextlib.contextmanager
    def executor(self, **settings: object) -> Iterator[RayExecutor]:
        with contextlib.closing(self.unasked(lambda tree: pack(self.ledger.path, tree), **settings)) as found:
            found.probe(lambda: None)
            yield found

    def unasked(self, pack: Callable[[TreeOid], bytes], **settings: object) -> RayExecutor:
        """An executor of the cluster, before any node has said what it is."""
        return RayExecutor(
            Ray(address=self._address, cache=str(self.folder / "cache"), **settings),
            folder=self.folder / "ray",
            template=parcel_for(self.program, self.folder, self.ledger, self.tree, threads=1),
            pack=pack,
        )

    def spec(self, number: int, executor: RayExecutor, *, run: str = "") -> RunSpec:
        device = Device(name=f"ray:{number}", index=number)
        label = executor.probe(lambda: None).environments[""]
        return RunSpec(run=run or f"run-{number}", tree=self.tree, seed=number, device=device, environment=label)

    def measured_here(self, specs: Sequence[RunSpec]) -> list[Measurement]:
        """The same by the local executor."""
        work = self.folder / "runs"
        bench = Bench(program=self.program, folder=self.folder, work=work, checkout=self.ledger.checkout)
        with contextlib.closing(LocalExecutor(bench)) as local:
            for number, spec in enumerate(specs):
                local.start(replace(spec, device=Device(name=f"cpu:{number}", index=number)))
            return measured(local, lambda ended: len(ended) == len(specs))


def measured(executor: Executor, done: Callable[[list[Measurement]], bool]) -> list[Measurement]:
    """Poll until `done` of all that has ended so far."""
    ended: list[Measurement] = []

    def is_done() -> bool:
        ended.extend(executor.poll(time.time()))
        return done(ended)

    until(is_done, said=lambda: (ended, executor.progress()))
    return ended


def pids(executor: Executor) -> dict[str, int]:
    """Of the trainings that wait at their third step."""
    waiting = [progress.spec.run for progress in executor.progress() if progress.step == 3]
    return {run: int(executor.tail(run).split()[1]) for run in waiting}
