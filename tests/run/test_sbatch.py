"""Slurm's commands: what they print, and a machine that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.cluster import Slurm
from autoresearchd.errors import ConfigError
from autoresearchd.program import parse
from autoresearchd.run.parcel import SLOWEST_BYTES, Data
from autoresearchd.run.sbatch import Cluster, Job, listed
from autoresearchd.run.slurm import job_seconds

PROGRAM = """
[program]
name = "toy"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
"""


def test_a_job_has_the_time_that_bringing_its_data_takes() -> None:
    program = parse(PROGRAM)
    data = Data(name="data", source="/data", digest="0" * 64, size=2**36)
    assert job_seconds(program, [data]) - job_seconds(program, []) == 2**36 / SLOWEST_BYTES


def test_what_squeue_prints_is_read_and_everything_else_left_out() -> None:
    said = "12|RUNNING|node-1|None|/labs/a|b\nslurm_load_jobs error: busy\n13|CANCELLED by 0|||\n|||\n14|PENDING|x\n"
    running, cancelled = listed(said)
    assert running == Job(number="12", state="RUNNING", nodes="node-1", reason="None", mark="/labs/a|b")
    assert cancelled.state == "CANCELLED"
    assert (running.is_over, cancelled.is_over) == (False, True)


@given(st.text())
def test_whatever_squeue_prints_is_no_exception(said: str) -> None:
    assert all(job.number.isdigit() for job in listed(said))


def test_a_job_that_could_not_be_launched_does_not_count_as_waiting() -> None:
    held, waiting = listed("1|PENDING||launch failed requeued held|m\n2|PENDING||Resources|m\n")
    assert held.is_stuck
    assert not waiting.is_stuck


def test_a_machine_without_slurm_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="sbatch is not on PATH"):
        Cluster(Slurm(), mark="m").submit("run", ("true",), folder=tmp_path, seconds=60)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ('[devices]\nexecutor = "slum"', "devices.executor"),
        ('[devices]\nexecutor = "slurm"\nuse = ["cuda:0"]', "devices"),
        ('[devices]\nexecutor = "slurm"\ncpu_pin = true', "devices"),
        ("[slurm]\nslots = 0", "slurm.slots"),
        ('[slurm]\nextra = ["-A lab"]', "slurm.extra"),
        ('[slurm]\nextra = ["--account=lab", "--comment=mine"]', "slurm.extra"),
        ('[slurm]\nextra = ["--arr=1-9"]', "slurm.extra"),
        ('[slurm]\nextra = ["--gres=gpu:1"]', "slurm.extra"),
        ('[slurm]\npartitions = "gpu"', "slurm.partitions"),
    ],
)
def test_a_mistake_about_the_cluster_names_its_key(mistake: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{PROGRAM}{mistake}")
    assert caught.value.key.startswith(named)
    assert "\n" not in str(caught.value)
