"""A stand-in for NVIDIA's library, compiled from nvml.c: what the real binding loads where there is no driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml.c")


def environment(folder: Path) -> dict[str, str]:
    """For a child that finds it; what the GPU does is the file NVML_STATE. Skips where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to build the stand-in for libnvidia-ml.so.1")
    library = folder / "lib" / "libnvidia-ml.so.1"
    library.parent.mkdir(exist_ok=True)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)], check=True)
    state = folder / "gpu"
    state.touch()
    return {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "NVML_STATE": str(state)}
