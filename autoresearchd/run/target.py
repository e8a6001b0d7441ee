"""The contract with the target: what it is told, how it says its result, and what its exit means.

The one place that names AUTORESEARCH_* variables, files and exit codes. What it reads was written by untrusted code.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoresearchd.experiment import Device, Ending, RunSpec
from autoresearchd.program import Program
from autoresearchd.run.folders import open_untrusted
from autoresearchd.run.log import Log, one_line

RUN_VARIABLE, WORK_VARIABLE = "AUTORESEARCH_RUN", "AUTORESEARCH_WORK"
"""They also mark every process of a run, so that those which leave its group are found."""
RESULT_FILE, CURVE_FILE = "result.json", "metrics.jsonl"
EXIT_UNSTABLE, EXIT_TAMPERED = 3, 4
RESULT_BYTES = 2**20
MOST_METRICS = 64
CPU_SECONDS = "cpu_seconds"
"""What we measure where a budget is counted in steps: no busy machine changes it, and no training can say less."""
INHERITED = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "NVIDIA_VISIBLE_DEVICES",
             "NVIDIA_DRIVER_CAPABILITIES", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "SYSTEMROOT")  # fmt: skip
"""All that a run gets of the daemon's environment, beside PATH; no home, no keys."""
CACHES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "TORCH_EXTENSIONS_DIR": "extensions",
}
"""Where what is compiled once is found again."""
KARPATHY_NAMES = {"training_seconds": "train_seconds", "peak_vram_mb": "peak_memory_mib"}
"""karpathy/autoresearch's names for what we call otherwise; its "MB" are bytes / 2**20."""
_OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|^MemoryError\b"
    r"|can't allocate memory|Cannot allocate memory|std::bad_alloc",
    re.MULTILINE,
)
_LOST_ITS_WAY = re.compile(r"^FAIL$|\bloss\b.*\b(nan|inf|non-?finite|diverged|exploded)\b", re.IGNORECASE)
"""`FAIL` is all that karpathy/autoresearch's train.py says, with exit code 1, when its loss is NaN or above 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one command of a run works; absolute paths."""

    code: Path
    out: Path
    temporary: Path
    cache: Path
    """Survives the run: compiled kernels that later runs find again."""
    data: Path | None = None
    model: Path | None = None
    """What the training left, for the evaluation only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process of a run ended; a negative code is the signal that ended it."""

    code: int
    timed_out: bool = False
    flooded: str = ""
    """Which bound on its writing it broke."""
    oom_killed: bool = False
    """The kernel killed something of it for memory."""
    cpu_seconds: float = 0.0
    """Of processors, by it and all that it started."""


class _Result(BaseModel):
    """result.json as the target writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    run: str
    metrics: Annotated[dict[str, Any], Field(max_length=10_000)]


def variables(
    program: Program, spec: RunSpec, place: Place, *, work: Path, threads: int | None, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of one command; `inherited` is the daemon's own, of which an allow-list gets in."""
    path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
    found = {name: inherited[name] for name in INHERITED if name in inherited}
    found |= {
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(place.temporary),
        "AUTORESEARCH_CACHE": str(place.cache),
        **cache_variables(place.cache),
        RUN_VARIABLE: spec.run,
        WORK_VARIABLE: str(work),
        "AUTORESEARCH_SEED": str(spec.seed),
        "AUTORESEARCH_SECONDS": f"{program.train.seconds:g}",
        "AUTORESEARCH_OUT": str(place.out),
    }
    found |= _device_variables(program, spec, inherited)
    if threads is not None:
        found["AUTORESEARCH_THREADS"] = found["OMP_NUM_THREADS"] = str(threads)
        # Threads that spin while they wait slow a step 10 to 20 times where another process needs the core.
        found["OMP_WAIT_POLICY"] = "PASSIVE"
    if place.data is not None:
        found["AUTORESEARCH_DATA"] = str(place.data)
    if place.model is not None:
        found["AUTORESEARCH_MODEL"] = str(place.model)
    return found


def _device_variables(program: Program, spec: RunSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    if not spec.device.is_cuda:
        found = {"CUDA_VISIBLE_DEVICES": "", "AUTORESEARCH_DEVICE": "cpu"}
        return (
            found if program.train.cpu_steps is None else {**found, "AUTORESEARCH_STEPS": str(program.train.cpu_steps)}
        )
    # The run sees its one GPU only, so there it is the first.
    return {**gpu_variables(spec.device, inherited), "AUTORESEARCH_DEVICE": "cuda:0"}


def gpu_variables(device: Device, inherited: Mapping[str, str]) -> dict[str, str]:
    """What shows a process one GPU. nvidia-smi counts by PCI bus; so must CUDA."""
    shown, number = visible_gpus(inherited), device.index
    return {
        "CUDA_VISIBLE_DEVICES": str(number) if shown is None else shown[number],
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def cache_variables(cache: Path) -> dict[str, str]:
    """Where compilers keep what they have built."""
    return {name: str(cache / folder) for name, folder in CACHES.items()}


def visible_gpus(inherited: Mapping[str, str]) -> tuple[str, ...] | None:
    """What CUDA_VISIBLE_DEVICES shows, as CUDA reads it: up to the first that is no device; None if it is not set."""
    text = inherited.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    shown: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", word):
            break
        shown.append(word)
    return tuple(shown)


def argv(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of a command: `python` is the interpreter that the daemon runs in."""
    return (sys.executable, *words[1:]) if words[0] in ("python", "python3") else words


def read_result(out: Path, run: str) -> tuple[Mapping[str, float], str]:
    """The numbers of a result.json, and why there are none. It counts only as a regular file that names this run."""
    try:
        text = _read_untrusted(out)
        result = _Result.model_validate(json.loads(text))
    except FileNotFoundError:
        return {}, f"no {RESULT_FILE} was written"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return {}, one_line(f"{RESULT_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except (OSError, ValueError, RecursionError) as error:
        return {}, one_line(f"{RESULT_FILE} cannot be read: {error}")
    if result.run != run:
        return {}, one_line(f"{RESULT_FILE} is of another run ({result.run[:80]})")
    return _numbers(result.metrics), ""


def _read_untrusted(out: Path) -> bytes:
    folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        file = open_untrusted(RESULT_FILE, folder=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as stream:
        text = stream.read(RESULT_BYTES + 1)
    if len(text) > RESULT_BYTES:
        raise ValueError(f"it is larger than {RESULT_BYTES} bytes")
    return text


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for name, number in found.items():
        if isinstance(number, int | float) and not isinstance(number, bool):
            try:
                numbers[name] = float(number)
            except OverflowError:
                numbers[name] = math.inf
    return numbers


def tidy(found: Mapping[str, float], wanted: Iterable[str]) -> dict[str, float]:
    """Finite numbers under names of letters, digits and `_`; at most MOST_METRICS, those that are wanted first."""
    asked = set(wanted)
    tidied: dict[str, float] = {}
    for name, number in found.items():
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        if plain not in asked:
            plain = KARPATHY_NAMES.get(plain, plain)
        if math.isfinite(number) and re.fullmatch(r"[A-Za-z]\w{0,63}", plain):
            tidied.setdefault(plain, number)
    first = asked | set(KARPATHY_NAMES.values())
    chosen = sorted(tidied, key=lambda name: name not in first)[:MOST_METRICS]
    return {name: tidied[name] for name in chosen}


def failure(exit: Exit, log: Log) -> tuple[Ending, str] | None:
    """What an exit means, and why in one sentence; None where the command did what it should."""
    if exit.timed_out:
        return Ending.TIMEOUT, ""
    if exit.flooded:
        return Ending.CRASH, exit.flooded
    if exit.code == 0:
        return None
    why = log.last_error() or _spoken(exit.code)
    if exit.code == EXIT_UNSTABLE:
        return Ending.UNSTABLE, why
    if exit.oom_killed or out_of_memory(log):
        return Ending.OUT_OF_MEMORY, why
    if _LOST_ITS_WAY.search(why):
        return Ending.UNSTABLE, why
    return Ending.CRASH, why if exit.code > 0 else one_line(f"{_spoken(exit.code)}; {log.last_error()}".strip("; "))


def out_of_memory(log: Log) -> bool:
    """Whether the log speaks of memory that was not there."""
    return _OUT_OF_MEMORY.search(log.text()) is not None


def out_of_space(log: Log) -> bool:
    """Whether the log speaks of a disk that is full."""
    return "No space left on device" in log.text()


def _spoken(code: int) -> str:
    if code >= 0:
        return f"exit code {code}, and no word why"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
