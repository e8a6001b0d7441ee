"""What NVIDIA's driver says of a GPU: who else computes on it, what slows it down, whether it is still there.

Asks only, and changes nothing; parts of a GPU (MIG) are asked by their own names. Without the driver there is nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from autoresearchd.experiment import Device
from autoresearchd.run import proc
from autoresearchd.run.target import visible_gpus

logger = structlog.get_logger()
SLOWED = {
    0x20: "thermal slowdown by the driver",
    0x40: "thermal slowdown by the hardware",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReason that mean trouble; that the power cap is reached (0x4) is how a busy GPU is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One GPU at one moment, runs of our own daemon left out."""

    foreign: Mapping[int, str]
    """Process ids of others that compute there, each with its name and memory."""
    unknown: frozenset[int]
    """Ids that mean nothing here: they have ended, or are numbers of another pid namespace and may be our own."""
    slowed: tuple[str, ...] = ()
    lost: str = ""
    """What the driver says of a GPU that is gone."""
    used_mib: float | None = None


class Driver:
    """The driver's library, loaded."""

    def __init__(self, root: int | None = None) -> None:
        """`root` is the daemon whose runs are left out; default: this process.

        Raises: LookupError where there is no driver, or it does not work.
        """
        import pynvml

        self._nvml: Any = pynvml
        self._root = root
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise LookupError(str(error)) from error

    def look(self, device: Device) -> Sight | None:
        """A CUDA device as it is now; None where the driver cannot say."""
        nvml = self._nvml
        try:
            handle = self._handle(device)
            running = self._told(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
            reasons = self._told(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0
            memory = self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2))
        except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired) as error:
            return Sight(foreign={}, unknown=frozenset(), lost=str(error))
        except nvml.NVMLError as error:
            logger.debug("gpu_not_seen", device=device.name, why=str(error))
            return None
        whose = {process.pid: proc.whose(process.pid, self._root) for process in running}
        return Sight(
            foreign={p.pid: _named(p.pid, p.usedGpuMemory) for p in running if whose[p.pid] is proc.Whose.FOREIGN},
            unknown=frozenset(pid for pid, owner in whose.items() if owner is proc.Whose.UNKNOWN),
            slowed=tuple(words for bit, words in SLOWED.items() if reasons & bit),
            used_mib=None if memory is None else memory.used / 2**20,
        )

    def again(self) -> None:
        """Load it anew, after a GPU was lost: what it knows of that one does not change otherwise."""
        with contextlib.suppress(self._nvml.NVMLError):  # then the next look says what is wrong
            self._nvml.nvmlShutdown()
            self._nvml.nvmlInit()

    def _told(self, ask: Callable[[], Any]) -> Any:
        """The answer; None for what this GPU, or a part of one, does not tell us."""
        nvml = self._nvml
        try:
            return ask()
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission, nvml.NVMLError_FunctionNotFound):
            return None

    def _handle(self, device: Device) -> Any:
        """By the number that nvidia-smi counts with too, or by the name in CUDA_VISIBLE_DEVICES."""
        nvml, shown = self._nvml, visible_gpus(os.environ)
        word = str(device.index) if shown is None else shown[device.index]
        if word.isdigit():
            return nvml.nvmlDeviceGetHandleByIndex(int(word))
        if word.startswith("MIG-"):
            return nvml.nvmlDeviceGetHandleByUUID(word)
        return next((handle for handle, uuid in self._all() if uuid.startswith(word)), None) or self._missing()

    def _all(self) -> Iterator[tuple[Any, str]]:
        for index in range(self._nvml.nvmlDeviceGetCount()):
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            yield handle, self._nvml.nvmlDeviceGetUUID(handle)

    def _missing(self) -> Any:
        raise self._nvml.NVMLError(self._nvml.NVML_ERROR_NOT_FOUND)


def _named(pid: int, used: int | None) -> str:
    memory = "" if used is None else f", {used / 2**20:.0f} MiB"
    return f"{proc.name(pid) or 'a process'} (pid {pid}{memory})"
