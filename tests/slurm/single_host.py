"""A real Slurm on this one host: munged, slurmctld and slurmd in a folder and on ports of their own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 300.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
CPUS = 4
"""More than the host has, perhaps: what the tests run mostly waits."""


class Unavailable(Exception):
    """Why there is no Slurm here."""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Bring it up; the path of its slurm.conf. Raises: Unavailable."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        raise Unavailable(f"{missing[0]} is not here: apt-get install slurm-wlm munge")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(_configuration(folder))
    plugin = "cgroup/v1" if _version() < (23, 2) else "disabled"
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
    files = (f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed"))
    with contextlib.ExitStack() as stack:
        _start(stack, folder, "munged", "--foreground", "--force", f"--socket={folder}/munge.sock", *files)
        _until(lambda: (folder / "munge.sock").exists(), folder)
        _start(stack, folder, "slurmctld", "-D", "-i")
        _start(stack, folder, "slurmd", "-D", "-N", "node")
        _until(lambda: "idle" in ask(conf, "sinfo", "--noheader", "--format=%T", check=False), folder)
        yield conf


def ask(conf: Path, *words: str, check: bool = True) -> str:
    """What one of Slurm's commands says."""
    done = subprocess.run(
        words, env={"PATH": _path(), "SLURM_CONF": str(conf)}, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def jobs(conf: Path) -> dict[str, str]:
    """The numbers of the jobs that wait or run, by name."""
    said = ask(conf, "squeue", "--noheader", "--format=%j|%A", "--states=PENDING,RUNNING")
    return dict(line.split("|") for line in said.split())


def _start(stack: contextlib.ExitStack, folder: Path, *words: str) -> None:
    with (folder / f"{words[0]}.out").open("ab") as out:
        process = subprocess.Popen(
            words, env={**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until(done: object, folder: Path) -> None:
    assert callable(done)
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            said = [path.read_text("utf-8", "replace").strip().splitlines()[-1:] for path in folder.glob("*.out")]
            raise Unavailable(f"Slurm does not come up: {said}")
        time.sleep(0.1)


def _configuration(folder: Path) -> str:
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [str(each.getsockname()[1]) for each in sockets]
    # A requeued job may start again after cred_expire seconds, 120 by default.
    return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
KillWait=10
MessageTimeout=60
ReturnToService=2
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS} State=UNKNOWN
PartitionName=main Nodes=node Default=YES State=UP
"""


def _version() -> tuple[int, ...]:
    said = subprocess.run(("slurmctld", "-V"), capture_output=True, text=True, env={"PATH": _path()}, check=True)
    return tuple(int(part) for part in said.stdout.split()[-1].split("-")[0].split(".")[:2])


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
