"""The device nodes that a run on one GPU needs, and the GPU's name that holds where only these nodes are.

A driver may list more GPUs than this process may use: in a container, or under the device cgroup of a scheduler.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import NotYet
from autoresearchd.experiment import Device

DEV, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/gpus")
CONTROL, UVM = "nvidiactl", "nvidia-uvm"
SHARED = (CONTROL, UVM, "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps", "dxg", "nvmap", "nvhost-ctrl")
"""What every CUDA process opens; the last three are WSL's and Jetson's."""
WAKE = ("nvidia-modprobe", "-u", "-c=0")
WAKE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    uuid: str
    minor: int
    """N of /dev/nvidiaN; not always its place on the PCI bus."""


def wake(*, dev: Path = DEV) -> None:
    """Have the node made that CUDA alone needs, and that nobody has asked for since the machine was booted.

    A CUDA program does so itself, by a program that runs as root; from a sandbox it cannot.
    Raises: NotYet where it is not there then.
    """
    if not (dev / CONTROL).exists() or (dev / UVM).exists():
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # what counts is the node
        subprocess.run(WAKE, capture_output=True, timeout=WAKE_SECONDS, check=False)
    if not (dev / UVM).exists():
        raise NotYet(f"{dev / UVM} is not there, and without it no CUDA program starts in a sandbox: "
                     f"run `sudo {' '.join(WAKE)}`, after each boot")  # fmt: skip


def nodes(shown: str, *, dev: Path = DEV, driver: Path = DRIVER) -> tuple[Path, ...]:
    """The nodes for what CUDA_VISIBLE_DEVICES shows a run; all of them where the driver does not tell them apart."""
    shared = tuple(dev / name for name in SHARED if (dev / name).exists())
    gpu = _find(shown, dev, driver)
    own = sorted(dev.glob("nvidia[0-9]*")) if gpu is None else [dev / f"nvidia{gpu.minor}"]
    return (*shared, *(node for node in own if node.exists()))


def by_name(
    device: Device, environment: Mapping[str, str], *, dev: Path = DEV, driver: Path = DRIVER
) -> Mapping[str, str]:
    """The run's environment with its GPU by name: where the other nodes are missing, numbers mean something else."""
    gpu = _find(environment.get("CUDA_VISIBLE_DEVICES", ""), dev, driver) if device.is_cuda else None
    return environment if gpu is None else {**environment, "CUDA_VISIBLE_DEVICES": gpu.uuid}


def _find(shown: str, dev: Path, driver: Path) -> Gpu | None:
    gpus = [gpu for gpu in _listed(driver) if os.access(dev / f"nvidia{gpu.minor}", os.R_OK | os.W_OK)]
    if shown.isdigit():
        return gpus[int(shown)] if int(shown) < len(gpus) else None
    return next((gpu for gpu in gpus if shown and gpu.uuid.startswith(shown)), None)


def _listed(driver: Path) -> list[Gpu]:
    """In the order of the PCI bus, as nvidia-smi counts."""
    found = []
    for folder in sorted(driver.iterdir()) if driver.is_dir() else ():
        text = (folder / "information").read_text("utf-8", "replace")
        uuid, minor = re.search(r"GPU UUID:\s*(GPU-\S+)", text), re.search(r"Device Minor:\s*(\d+)", text)
        if uuid is None or minor is None or "?" in uuid[1]:
            return []
        found.append(Gpu(uuid=uuid[1], minor=int(minor[1])))
    return found
