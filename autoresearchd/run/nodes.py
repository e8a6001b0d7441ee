"""The device nodes that a run on one GPU needs, and the GPU's name that holds where only these nodes are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.experiment import Device

DEV, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/gpus")
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps", "dxg", "nvmap", "nvhost-ctrl")
"""What every CUDA process opens; the last three are WSL's and Jetson's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    uuid: str
    minor: int
    """N of /dev/nvidiaN; not always its place on the PCI bus."""


def nodes(shown: str, *, dev: Path = DEV, driver: Path = DRIVER) -> tuple[Path, ...]:
    """The nodes for what CUDA_VISIBLE_DEVICES shows a run; all of them where the driver does not tell them apart."""
    shared = tuple(dev / name for name in SHARED if (dev / name).exists())
    gpu = _find(shown, driver)
    own = sorted(dev.glob("nvidia[0-9]*")) if gpu is None else [dev / f"nvidia{gpu.minor}"]
    return (*shared, *(node for node in own if node.exists()))


def by_name(device: Device, environment: Mapping[str, str], *, driver: Path = DRIVER) -> Mapping[str, str]:
    """The run's environment with its GPU by name: where the other nodes are missing, numbers mean something else."""
    gpu = _find(environment.get("CUDA_VISIBLE_DEVICES", ""), driver) if device.is_cuda else None
    return environment if gpu is None else {**environment, "CUDA_VISIBLE_DEVICES": gpu.uuid}


def _find(shown: str, driver: Path) -> Gpu | None:
    gpus = _listed(driver)
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
