"""Warm starts: which commands an interpreter that waits can become, and how it is called and told. Starts nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoresearchd.experiment import Device
from autoresearchd.program import Program
from autoresearchd.run import shim, target
from autoresearchd.run.spawn import ORDER

SLOW = ("torch", "torch._dynamo")
"""What takes seconds to import; the first step of an optimiser imports the second."""
_SOURCE = Path(shim.__file__).read_text("utf-8")
# In a namespace of its own, so that the command finds `__main__` as a fresh interpreter has it.
_BOOT = "import sys; shim = {'__name__': 'shim'}; exec(sys.argv[1], shim); shim['main'](int(sys.argv[2]), sys.argv[3:])"
_TORCH = re.compile(rb"^\s*(?:import|from)\s+torch\b", re.MULTILINE)


def modules_ahead(program: Program, device: Device, files: Iterable[bytes]) -> tuple[str, ...]:
    """What is worth importing ahead for a target with these files.

    Nothing on a CPU slot whose budget is time: what another run imports meanwhile would be taken from that budget.
    """
    if not program.devices.warm or not takes_no_time(program, device):
        return ()
    return SLOW if any(_TORCH.search(text) for text in files) else ()


def takes_no_time(program: Program, device: Device) -> bool:
    """Whether an import beside a training on a device costs that training nothing of its budget."""
    return program.train.cpu_steps is not None or device.is_cuda


def applies(words: tuple[str, ...]) -> bool:
    """Whether a command is a Python module or script run by the daemon's own interpreter, without options."""
    argv = target.argv(words)
    if argv == words or len(words) < 2:
        return False
    return (words[1] == "-m" and len(words) > 2) or (not words[1].startswith("-") and words[1].endswith(".py"))


def waiting(words: tuple[str, ...], ahead: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of an interpreter that waits for the order to become `words`."""
    return (target.argv(words)[0], "-c", _BOOT, _SOURCE, ORDER, *ahead)


def order(words: tuple[str, ...], environment: Mapping[str, str]) -> bytes:
    """What such an interpreter is told, once."""
    return json.dumps({"words": target.argv(words), "environment": dict(environment)}).encode() + b"\n"
