"""Runs on a real Slurm of one host, and what becomes of them when jobs are requeued, cancelled or forgotten."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoresearchd.cluster import Slurm
from autoresearchd.doctor import examine
from autoresearchd.equipment import Equipment, equip
from autoresearchd.errors import UserError
from autoresearchd.experiment import Ending, Measurement, RunSpec
from autoresearchd.ledger import Ledger
from autoresearchd.program import load
from autoresearchd.run.sbatch import Cluster
from tests.slurm.single_host import PATIENCE, ask, jobs
from tests.support.projects import project

TARGET = """
import json, os, random, time
from pathlib import Path
out, data = Path(os.environ["AUTORESEARCH_OUT"]), Path(os.environ["AUTORESEARCH_DATA"])
random.seed(int(os.environ["AUTORESEARCH_SEED"]))
with open(out / "metrics.jsonl", "a") as curve:
    for step in range(1, int(os.environ["AUTORESEARCH_STEPS"]) + 1):
        print(json.dumps({"step": step, "seconds": step * 0.01, "train_loss": 1 / step}), file=curve, flush=True)
        while int((data / "stop").read_text() or step) == step:
            time.sleep(0.05)
print(f"loss={random.random() + float((data / 'numbers').read_text())}")
"""
PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 20
data = "data"
[metric]
name = "loss"
pattern = '^loss=(\\S+)$'
[devices]
use = "cpu"
cpu_threads = 1
executor = "slurm"
[slurm]
slots = 2
cache = "{cache}"
poll_seconds = 0.2
"""


@dataclass(frozen=True)
class Site:
    """A lab whose runs go to the cluster."""

    folder: Path
    ledger: Ledger
    ours: Equipment

    @property
    def data(self) -> Path:
        """Where the node has the data of the lab."""
        (place,) = self.folder.glob("cache/data/*/data")
        return place

    def stop_at(self, step: int) -> None:
        """Have every training wait there; the size of no file changes, by which data is told."""
        (self.data / "stop").write_text(f"{step:02}")

    def start(self, run: str, seed: int = 5) -> RunSpec:
        spec = RunSpec(
            run=run,
            tree=self.ledger.best().tree,
            seed=seed,
            device=self.ours.fleet.devices[0],
            environment=self.ours.fleet.environment,
        )
        self.ours.executor.start(spec)
        return spec

    def wait(self, done: Callable[[], object]) -> list[Measurement]:
        """Poll until it is true; what has ended meanwhile."""
        ended: list[Measurement] = []
        end = time.monotonic() + PATIENCE
        while True:
            ended += self.ours.executor.poll(time.time())
            if done():
                return ended
            assert time.monotonic() < end, f"it never happened: {self.ours.executor.progress()}"
            select.select([self.ours.executor.fileno()], [], [], 0.2)

    def finish(self) -> list[Measurement]:
        """What all live runs give."""
        return self.wait(lambda: not self.ours.executor.progress())

    def trains(self, step: int) -> bool:
        return any(live.step >= step for live in self.ours.executor.progress())


def far(folder: Path, program: str = PROGRAM) -> Ledger:
    home = project(folder, {"train.py": TARGET}, program=program.format(cache=folder / "cache"))
    (home / "data").mkdir()
    (home / "data" / "numbers").write_text("0.25")
    (home / "data" / "stop").write_text("00")
    return Ledger.init(folder / "experiments.git", project_path=home)


@contextlib.contextmanager
def equipped(folder: Path, ledger: Ledger) -> Iterator[Site]:
    ours = equip(load(folder / "program.toml"), folder, ledger)
    with contextlib.closing(ours.executor):
        yield Site(folder, ledger, ours)


def emptied(slurm: Path) -> None:
    """Wait until no job is left."""
    end = time.monotonic() + PATIENCE
    while left := jobs(slurm):
        assert time.monotonic() < end, left
        time.sleep(0.1)


@pytest.fixture
def site(slurm: Path, tmp_path: Path) -> Iterator[Site]:
    with equipped(tmp_path, far(tmp_path)) as site:
        yield site
    emptied(slurm)


def test_a_run_gives_the_same_number_on_slurm_as_here(site: Site) -> None:
    site.start("far")
    (far_away,) = site.finish()
    local = (site.folder / "program.toml").read_text().replace('executor = "slurm"', "")
    (site.folder / "program.toml").write_text(local)
    with equipped(site.folder, site.ledger) as here:
        here.start("near")
        (near,) = here.finish()
    assert far_away.ending is near.ending is Ending.FINISHED
    assert far_away.metrics["loss"] == near.metrics["loss"]
    assert far_away.environment == near.environment
    assert [point.train_loss for point in far_away.curve] == [point.train_loss for point in near.curve]
    assert far_away.device == "slurm:0"


def test_a_job_requeued_while_it_trains_gives_one_measurement(slurm: Path, site: Site) -> None:
    site.stop_at(7)
    site.start("run-1")
    assert not site.wait(lambda: site.trains(7))
    ask(slurm, "scontrol", "requeue", jobs(slurm)["run-1"])
    first = site.ours.executor.progress()[0].started
    assert not site.wait(lambda: site.ours.executor.progress()[0].started != first and site.trains(7))
    site.stop_at(0)
    (measured,) = site.finish()
    assert measured.ending is Ending.FINISHED
    assert [point.step for point in measured.curve] == list(range(1, 21))


def test_a_run_whose_job_is_cancelled_is_no_measurement_and_can_be_done_again(slurm: Path, site: Site) -> None:
    site.stop_at(7)
    site.start("run-1")
    assert not site.wait(lambda: site.trains(7))
    ask(slurm, "scancel", jobs(slurm)["run-1"])
    assert not site.finish()
    site.stop_at(0)
    site.start("run-2")
    assert [run.run for run in site.finish()] == ["run-2"]
    assert not [path for path in site.folder.glob("cache/labs/*/*") if path.name not in ("cache", "locks")]


def test_a_pruned_run_leaves_no_job(slurm: Path, site: Site) -> None:
    site.stop_at(7)
    site.start("run-1")
    assert not site.wait(lambda: site.trains(7))
    site.ours.executor.kill("run-1")
    assert not site.ours.executor.progress()
    assert not site.wait(lambda: not jobs(slurm))


def test_data_that_has_changed_since_the_daemon_started_is_not_trained_on(site: Site) -> None:
    site.stop_at(7)
    spec = site.start("run-1")
    assert not site.wait(lambda: site.trains(7))
    (site.folder / "data" / "numbers").write_text("0.75")  # and the daemon does not know
    site.stop_at(0)
    (measured,) = site.finish()
    assert 0.25 <= measured.metrics["loss"] < 1.25
    for copy in site.folder.glob("cache/data/*"):
        copy.rename(site.folder / copy.name)  # as on a node that has no copy yet
    site.start("run-2")
    assert not site.finish()
    with pytest.raises(OSError, match=r"holds other data .* than the daemon saw"):
        site.ours.executor.start(spec)


def test_a_job_that_a_killed_daemon_left_in_the_queue_is_cancelled_and_nobody_elses(
    slurm: Path, tmp_path: Path
) -> None:
    ledger, shared = far(tmp_path), tmp_path / "experiments.git" / "autoresearchd" / "slurm"
    for name, mark in (("left", shared), ("of-another-lab", tmp_path / "elsewhere")):
        ask(slurm, "sbatch", "--hold", f"--job-name={name}", f"--comment={mark}", "--wrap=true", "--output=/dev/null")
    with equipped(tmp_path, ledger) as site:
        assert not site.wait(lambda: "left" not in jobs(slurm))
        other = jobs(slurm)
        ask(slurm, "scancel", *other.values())
    assert "of-another-lab" in other


def test_a_daemon_that_ends_takes_its_jobs_with_it(slurm: Path, tmp_path: Path) -> None:
    with equipped(tmp_path, far(tmp_path)) as site:
        site.stop_at(7)
        site.start("run-1")
        assert not site.wait(lambda: site.trains(7))
    emptied(slurm)
    assert not list((tmp_path / "experiments.git" / "autoresearchd" / "slurm").iterdir())


def test_a_cluster_that_gives_no_node_is_said_in_one_sentence(slurm: Path, tmp_path: Path) -> None:
    ledger = far(tmp_path, PROGRAM + 'partition = "nowhere"\n')
    with pytest.raises(UserError, match=r"no node of the cluster can be used: sbatch: .*invalid partition"):
        equip(load(tmp_path / "program.toml"), tmp_path, ledger)


def test_a_job_gets_no_key_of_the_daemons(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    monkeypatch.setenv("SBATCH_EXPORT", "ALL")
    Cluster(Slurm(), mark="keys").submit("env", ("sh", "-c", "env > seen; mv seen done"), folder=tmp_path, seconds=60)
    end = time.monotonic() + PATIENCE
    while not (tmp_path / "done").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "SLURM_JOB_ID=" in (tmp_path / "done").read_text()
    assert "secret" not in (tmp_path / "done").read_text()
    emptied(slurm)


def test_doctor_asks_the_cluster(slurm: Path, tmp_path: Path) -> None:
    far(tmp_path)
    assert [(found.state, found.name) for found in examine(tmp_path / "program.toml") if found.name == "devices"] == [
        ("ok", "devices")
    ]
    (tmp_path / "program.toml").write_text((tmp_path / "program.toml").read_text() + 'partition = "nowhere"\n')
    (missing,) = [found for found in examine(tmp_path / "program.toml") if found.name == "devices"]
    assert missing.state == "missing"
    assert "nowhere" in missing.what
